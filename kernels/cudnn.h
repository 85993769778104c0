// cuDNN's descriptors as types that clean up after themselves. Only where CALTROP_CUDNN_LIBRARY is defined: its
// headers were found at build time. All values are fp32.
#pragma once

#include <cudnn.h>

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/gpu_runtime.h"
#include "kernels/shared_library.h"

namespace caltrop::gpu {

inline const SharedLibrary& cudnn() {
  static const SharedLibrary library("libcudnn.so." CALTROP_TEXT(CUDNN_MAJOR), CALTROP_CUDNN_LIBRARY);
  return library;
}
inline void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw Error(std::string("[cuDNN] ") + call + ": " +
                cudnn().function<decltype(cudnnGetErrorString)>("cudnnGetErrorString")(status));
}

class CudnnHandle {
 public:
  CudnnHandle() { CALTROP_CALL(cudnn(), cudnnCreate, &handle_); }
  ~CudnnHandle() { cudnn().function<decltype(cudnnDestroy)>("cudnnDestroy")(handle_); }
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  // Its work goes to `stream` from now on.
  cudnnHandle_t on(Stream& stream) const {
    CALTROP_CALL(cudnn(), cudnnSetStream, handle_, native_stream(stream));
    return handle_;
  }

 private:
  cudnnHandle_t handle_ = nullptr;
};

class CudnnTensor {
 public:
  CudnnTensor(cudnnTensorFormat_t format, int64_t n, int64_t c, int64_t h, int64_t w) {
    CALTROP_CALL(cudnn(), cudnnCreateTensorDescriptor, &shape_);
    CALTROP_CALL(cudnn(), cudnnSetTensor4dDescriptor, shape_, format, CUDNN_DATA_FLOAT, static_cast<int>(n),
                 static_cast<int>(c), static_cast<int>(h), static_cast<int>(w));
  }
  ~CudnnTensor() {
    cudnn().function<decltype(cudnnDestroyTensorDescriptor)>("cudnnDestroyTensorDescriptor")(shape_);
  }
  CudnnTensor(const CudnnTensor&) = delete;
  CudnnTensor& operator=(const CudnnTensor&) = delete;
  operator cudnnTensorDescriptor_t() const { return shape_; }

 private:
  cudnnTensorDescriptor_t shape_ = nullptr;
};

// A convolution of NHWC images with its tensors. Its filter lies as (cout,kh,kw,cin), ours as
// (kh,kw,cin,cout): the caller turns one into the other. Products and sums stay fp32 (no TF32).
class CudnnConvolution {
 public:
  explicit CudnnConvolution(const Conv2d& s)
      : x(CUDNN_TENSOR_NHWC, s.n, s.cin, s.h, s.w), y(CUDNN_TENSOR_NHWC, s.n, s.cout, s.out_h(), s.out_w()) {
    CALTROP_CALL(cudnn(), cudnnCreateFilterDescriptor, &filter);
    CALTROP_CALL(cudnn(), cudnnSetFilter4dDescriptor, filter, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC,
                 static_cast<int>(s.cout), static_cast<int>(s.cin), static_cast<int>(s.kh),
                 static_cast<int>(s.kw));
    CALTROP_CALL(cudnn(), cudnnCreateConvolutionDescriptor, &convolution);
    CALTROP_CALL(cudnn(), cudnnSetConvolution2dDescriptor, convolution, static_cast<int>(s.pad_h),
                 static_cast<int>(s.pad_w), static_cast<int>(s.stride_h), static_cast<int>(s.stride_w), 1, 1,
                 CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT);
    CALTROP_CALL(cudnn(), cudnnSetConvolutionMathType, convolution, CUDNN_FMA_MATH);
  }
  ~CudnnConvolution() {
    cudnn().function<decltype(cudnnDestroyConvolutionDescriptor)>("cudnnDestroyConvolutionDescriptor")(
        convolution);
    cudnn().function<decltype(cudnnDestroyFilterDescriptor)>("cudnnDestroyFilterDescriptor")(filter);
  }
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;

  CudnnTensor x, y;
  cudnnFilterDescriptor_t filter = nullptr;
  cudnnConvolutionDescriptor_t convolution = nullptr;
};

}  // namespace caltrop::gpu
