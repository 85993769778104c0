// The ways to compute a convolution, of which conv2d.cu takes one by the shape. Arguments as in backend.h.
#pragma once

#include "kernels/conv_geometry.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {

// conv2d_gemm.cu: any shape.
void conv2d_gemm(Stream& stream, const Conv2d& shape, const float* x, const float* w, float* y);
void conv2d_dinput_gemm(Stream& stream, const Conv2d& shape, const float* g, const float* w, float* dx);
void conv2d_dweight_gemm(Stream& stream, const Conv2d& shape, const float* x, const float* g, float* dw);

// conv2d_mma.cu: channels in fours, at least one image, and sums long enough that errors of the split stay
// below those of a plain sum. See conv2d.cu.
void conv2d_mma(Stream& stream, const Conv2d& shape, const float* x, const float* w, float* y);
void conv2d_dinput_mma(Stream& stream, const Conv2d& shape, const float* g, const float* w, float* dx);
void conv2d_dweight_mma(Stream& stream, const Conv2d& shape, const float* x, const float* g, float* dw);

// conv2d_direct.cu: few input channels. False where the shape does not fit, and nothing was done.
bool conv2d_direct(Stream& stream, const Conv2d& shape, const float* x, const float* w, float* y);

// conv2d_cudnn.cu: where cuDNN was asked for (devices.h). False elsewhere, and nothing was done.
bool conv2d_cudnn(GpuBackend& backend, const Conv2d& shape, const float* x, const float* w, float* y);
bool conv2d_dinput_cudnn(GpuBackend& backend, const Conv2d& shape, const float* g, const float* w, float* dx);
bool conv2d_dweight_cudnn(GpuBackend& backend, const Conv2d& shape, const float* x, const float* g,
                          float* dw);

}  // namespace caltrop::CALTROP_WORLD
