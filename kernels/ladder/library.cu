// cuBLAS and cuDNN as yardsticks. They are loaded at run time, so that the program starts on machines without
// them. Both keep fp32 products and sums (no TF32). cuDNN's convolution is the fastest of its algorithms for
// the problem, found by its own timing, and may use as much workspace as it asks for.
#include "kernels/ladder/library.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <vector>
#ifdef CALTROP_CUBLAS
#include <cublas_v2.h>
#endif
#ifdef CALTROP_CUDNN
#include <cudnn.h>
#endif

#include "kernels/error.h"

namespace caltrop::gpu::ladder {
namespace {

// A shared library, from where the loader looks or from where it was found at build time.
class Shared {
 public:
  Shared(const char* name, const char* path) : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) handle_ = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  bool here() const { return handle_ != nullptr; }
  template <typename F>
  F* function(const char* symbol) const {
    void* address = handle_ ? dlsym(handle_, symbol) : nullptr;
    if (!address) throw Error(std::string("[") + name_ + "] has no " + symbol);
    return reinterpret_cast<F*>(address);
  }

 private:
  const char* name_;
  void* handle_;  // stays open until the program ends
};

// Calls a library's function by its declared type; an Error with its name when it fails.
#define CALTROP_CALL(library, name, ...) check((library).function<decltype(name)>(#name)(__VA_ARGS__), #name)
#define CALTROP_DIGITS(number) #number
#define CALTROP_TEXT(number) CALTROP_DIGITS(number)

#ifdef CALTROP_CUBLAS
const Shared& cublas() {
  static const Shared library("libcublas.so." CALTROP_TEXT(CUBLAS_VER_MAJOR), CALTROP_CUBLAS);
  return library;
}
void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(std::string("[cuBLAS] ") + call + ": " +
                cublas().function<decltype(cublasGetStatusString)>("cublasGetStatusString")(status));
}

class CublasMatmul final : public Library {
 public:
  CublasMatmul(Stream& stream, const LadderProblem& problem)
      : m_(static_cast<int>(problem.m)), n_(static_cast<int>(problem.n)), k_(static_cast<int>(problem.k)) {
    CALTROP_CALL(cublas(), cublasCreate_v2, &handle_);
    CALTROP_CALL(cublas(), cublasSetStream_v2, handle_, native_stream(stream));
    CALTROP_CALL(cublas(), cublasSetMathMode, handle_, CUBLAS_PEDANTIC_MATH);
  }
  ~CublasMatmul() override { cublas().function<decltype(cublasDestroy_v2)>("cublasDestroy_v2")(handle_); }
  // cuBLAS counts down columns: its c, b and a are our rows, and c^T = b^T a^T.
  void run(const float* a, const float* b, float* c) override {
    const float one = 1.0f, zero = 0.0f;
    CALTROP_CALL(cublas(), cublasSgemm_v2, handle_, CUBLAS_OP_N, CUBLAS_OP_N, n_, m_, k_, &one, b, n_, a, k_,
                 &zero, c, n_);
  }

 private:
  cublasHandle_t handle_ = nullptr;
  int m_, n_, k_;
};
#endif

#ifdef CALTROP_CUDNN
const Shared& cudnn() {
  static const Shared library("libcudnn.so." CALTROP_TEXT(CUDNN_MAJOR), CALTROP_CUDNN);
  return library;
}
void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw Error(std::string("[cuDNN] ") + call + ": " +
                cudnn().function<decltype(cudnnGetErrorString)>("cudnnGetErrorString")(status));
}

class CudnnHandle {
 public:
  explicit CudnnHandle(Stream& stream) {
    CALTROP_CALL(cudnn(), cudnnCreate, &handle_);
    CALTROP_CALL(cudnn(), cudnnSetStream, handle_, native_stream(stream));
  }
  ~CudnnHandle() { cudnn().function<decltype(cudnnDestroy)>("cudnnDestroy")(handle_); }
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  operator cudnnHandle_t() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

class TensorShape {
 public:
  TensorShape(cudnnTensorFormat_t format, int64_t n, int64_t c, int64_t h, int64_t w) {
    CALTROP_CALL(cudnn(), cudnnCreateTensorDescriptor, &shape_);
    CALTROP_CALL(cudnn(), cudnnSetTensor4dDescriptor, shape_, format, CUDNN_DATA_FLOAT, static_cast<int>(n),
                 static_cast<int>(c), static_cast<int>(h), static_cast<int>(w));
  }
  ~TensorShape() {
    cudnn().function<decltype(cudnnDestroyTensorDescriptor)>("cudnnDestroyTensorDescriptor")(shape_);
  }
  TensorShape(const TensorShape&) = delete;
  TensorShape& operator=(const TensorShape&) = delete;
  operator cudnnTensorDescriptor_t() const { return shape_; }

 private:
  cudnnTensorDescriptor_t shape_ = nullptr;
};

// cuDNN's weights of an NHWC convolution lie as (cout,kh,kw,cin), ours as (kh,kw,cin,cout).
std::vector<float> reordered(const Conv2d& s, const std::vector<float>& w) {
  std::vector<float> out(w.size());
  const int64_t terms = s.kh * s.kw * s.cin;
  for (int64_t t = 0; t < terms; ++t)
    for (int64_t o = 0; o < s.cout; ++o)
      out[static_cast<size_t>(o * terms + t)] = w[static_cast<size_t>(t * s.cout + o)];
  return out;
}

class CudnnConv2d final : public Library {
 public:
  CudnnConv2d(Stream& stream, const Conv2d& s, const std::vector<float>& w)
      : handle_(stream),
        x_(CUDNN_TENSOR_NHWC, s.n, s.cin, s.h, s.w),
        y_(CUDNN_TENSOR_NHWC, s.n, s.cout, s.out_h(), s.out_w()),
        weights_(stream, static_cast<int64_t>(w.size())) {
    stream.upload(weights_.data(), reordered(s, w).data(), w.size() * sizeof(float));
    CALTROP_CALL(cudnn(), cudnnCreateFilterDescriptor, &filter_);
    CALTROP_CALL(cudnn(), cudnnSetFilter4dDescriptor, filter_, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC,
                 static_cast<int>(s.cout), static_cast<int>(s.cin), static_cast<int>(s.kh),
                 static_cast<int>(s.kw));
    CALTROP_CALL(cudnn(), cudnnCreateConvolutionDescriptor, &convolution_);
    CALTROP_CALL(cudnn(), cudnnSetConvolution2dDescriptor, convolution_, static_cast<int>(s.pad_h),
                 static_cast<int>(s.pad_w), static_cast<int>(s.stride_h), static_cast<int>(s.stride_w), 1, 1,
                 CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT);
    CALTROP_CALL(cudnn(), cudnnSetConvolutionMathType, convolution_, CUDNN_FMA_MATH);
    int found = 0;
    cudnnConvolutionFwdAlgoPerf_t fastest;
    CALTROP_CALL(cudnn(), cudnnFindConvolutionForwardAlgorithm, handle_, x_, filter_, convolution_, y_, 1,
                 &found, &fastest);
    if (found == 0) throw Error("[cuDNN] no algorithm fits the convolution");
    check(fastest.status, "cudnnFindConvolutionForwardAlgorithm");
    algorithm_ = fastest.algo;
    CALTROP_CALL(cudnn(), cudnnGetConvolutionForwardWorkspaceSize, handle_, x_, filter_, convolution_, y_,
                 algorithm_, &bytes_);
    workspace_ = std::make_unique<Scratch<char>>(stream, static_cast<int64_t>(bytes_));
  }
  ~CudnnConv2d() override {
    cudnn().function<decltype(cudnnDestroyConvolutionDescriptor)>("cudnnDestroyConvolutionDescriptor")(
        convolution_);
    cudnn().function<decltype(cudnnDestroyFilterDescriptor)>("cudnnDestroyFilterDescriptor")(filter_);
  }
  void run(const float* x, const float*, float* y) override {
    const float one = 1.0f, zero = 0.0f;
    CALTROP_CALL(cudnn(), cudnnConvolutionForward, handle_, &one, x_, x, filter_, weights_.data(),
                 convolution_, algorithm_, workspace_->data(), bytes_, &zero, y_, y);
  }

 private:
  CudnnHandle handle_;
  TensorShape x_, y_;
  cudnnFilterDescriptor_t filter_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  cudnnConvolutionFwdAlgo_t algorithm_{};
  size_t bytes_ = 0;
  Scratch<float> weights_;
  std::unique_ptr<Scratch<char>> workspace_;
};

class CudnnSoftmax final : public Library {
 public:
  CudnnSoftmax(Stream& stream, const LadderProblem& p)
      : handle_(stream), rows_(CUDNN_TENSOR_NCHW, p.m, p.n, 1, 1) {}
  void run(const float* x, const float*, float* y) override {
    const float one = 1.0f, zero = 0.0f;
    CALTROP_CALL(cudnn(), cudnnSoftmaxForward, handle_, CUDNN_SOFTMAX_ACCURATE, CUDNN_SOFTMAX_MODE_INSTANCE,
                 &one, rows_, x, &zero, rows_, y);
  }

 private:
  CudnnHandle handle_;
  TensorShape rows_;
};
#endif

}  // namespace

std::string library_name(Ladder ladder) {
  if (ladder == Ladder::matmul) {
#ifdef CALTROP_CUBLAS
    if (cublas().here())
      return "cuBLAS " + std::to_string(CUBLAS_VER_MAJOR) + "." + std::to_string(CUBLAS_VER_MINOR);
#endif
  } else {
#ifdef CALTROP_CUDNN
    if (cudnn().here()) return "cuDNN " + std::to_string(CUDNN_MAJOR) + "." + std::to_string(CUDNN_MINOR);
#endif
  }
  return "";
}

std::unique_ptr<Library> open_library([[maybe_unused]] Stream& stream, const LadderProblem& problem,
                                      [[maybe_unused]] const LadderOperands& operands) {
  if (problem.ladder == Ladder::matmul) {
#ifdef CALTROP_CUBLAS
    return std::make_unique<CublasMatmul>(stream, problem);
#endif
  } else {
#ifdef CALTROP_CUDNN
    if (problem.ladder == Ladder::conv2d)
      return std::make_unique<CudnnConv2d>(stream, problem.conv, operands.right);
    return std::make_unique<CudnnSoftmax>(stream, problem);
#endif
  }
  return nullptr;
}

}  // namespace caltrop::gpu::ladder
