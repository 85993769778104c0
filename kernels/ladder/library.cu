// cuBLAS and cuDNN as yardsticks. They are loaded at run time, so that the program starts on machines without
// them. Both keep fp32 products and sums (no TF32). cuDNN's convolution is the fastest of its algorithms for
// the problem, found by its own timing, and may use as much workspace as it asks for.
#include "kernels/ladder/library.h"

#include <cuda_runtime_api.h>

#include <vector>
#ifdef CALTROP_CUBLAS
#include <cublas_v2.h>
#endif

#include "kernels/error.h"
#ifdef CALTROP_CUDNN_LIBRARY
#include "kernels/cudnn.h"
#endif
#include "kernels/shared_library.h"

namespace caltrop::gpu::ladder {
namespace {

#ifdef CALTROP_CUDNN_LIBRARY
using gpu::check;  // of a cuDNN call; below stands that of a cuBLAS call
#endif

#ifdef CALTROP_CUBLAS
const SharedLibrary& cublas() {
  static const SharedLibrary library("libcublas.so." CALTROP_TEXT(CUBLAS_VER_MAJOR), CALTROP_CUBLAS);
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

#ifdef CALTROP_CUDNN_LIBRARY
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
      : stream_(stream), shapes_(s), weights_(stream, static_cast<int64_t>(w.size())) {
    stream.upload(weights_.data(), reordered(s, w).data(), w.size() * sizeof(float));
    int found = 0;
    cudnnConvolutionFwdAlgoPerf_t fastest;
    CALTROP_CALL(cudnn(), cudnnFindConvolutionForwardAlgorithm, handle_.on(stream), shapes_.x, shapes_.filter,
                 shapes_.convolution, shapes_.y, 1, &found, &fastest);
    if (found == 0) throw Error("[cuDNN] no algorithm fits the convolution");
    check(fastest.status, "cudnnFindConvolutionForwardAlgorithm");
    algorithm_ = fastest.algo;
    bytes_ = fastest.memory;
    workspace_ = std::make_unique<Scratch<char>>(stream, static_cast<int64_t>(bytes_));
  }
  void run(const float* x, const float*, float* y) override {
    const float one = 1.0f, zero = 0.0f;
    CALTROP_CALL(cudnn(), cudnnConvolutionForward, handle_.on(stream_), &one, shapes_.x, x, shapes_.filter,
                 weights_.data(), shapes_.convolution, algorithm_, workspace_->data(), bytes_, &zero,
                 shapes_.y, y);
  }

 private:
  Stream& stream_;
  CudnnHandle handle_;
  CudnnConvolution shapes_;
  cudnnConvolutionFwdAlgo_t algorithm_{};
  size_t bytes_ = 0;
  Scratch<float> weights_;
  std::unique_ptr<Scratch<char>> workspace_;
};

class CudnnSoftmax final : public Library {
 public:
  CudnnSoftmax(Stream& stream, const LadderProblem& p)
      : stream_(stream), rows_(CUDNN_TENSOR_NCHW, p.m, p.n, 1, 1) {}
  void run(const float* x, const float*, float* y) override {
    const float one = 1.0f, zero = 0.0f;
    CALTROP_CALL(cudnn(), cudnnSoftmaxForward, handle_.on(stream_), CUDNN_SOFTMAX_ACCURATE,
                 CUDNN_SOFTMAX_MODE_INSTANCE, &one, rows_, x, &zero, rows_, y);
  }

 private:
  Stream& stream_;
  CudnnHandle handle_;
  CudnnTensor rows_;
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
#ifdef CALTROP_CUDNN_LIBRARY
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
#ifdef CALTROP_CUDNN_LIBRARY
    if (problem.ladder == Ladder::conv2d)
      return std::make_unique<CudnnConv2d>(stream, problem.conv, operands.right);
    return std::make_unique<CudnnSoftmax>(stream, problem);
#endif
  }
  return nullptr;
}

}  // namespace caltrop::gpu::ladder
