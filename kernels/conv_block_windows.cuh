// The pooled windows of a convolution block, as its kernels see them, and what one passes back: its gradient
// times the slope of the activation, to the position that won. That is called an event.
#pragma once

#include "kernels/conv_geometry.cuh"
#include "kernels/gpu.cuh"

namespace caltrop::CALTROP_WORLD {

struct WindowShape {
  ConvShape conv;
  int pool_h, pool_w;
  int64_t out_h, out_w;
  FastDivide by_pool_h, by_pool_w, by_stride_h, by_stride_w;
  explicit WindowShape(const ConvBlock& b)
      : conv(b.conv),
        pool_h(static_cast<int>(b.pool_h)),
        pool_w(static_cast<int>(b.pool_w)),
        out_h(b.out_h()),
        out_w(b.out_w()),
        by_pool_h(b.pool_h),
        by_pool_w(b.pool_w),
        by_stride_h(b.conv.stride_h),
        by_stride_w(b.conv.stride_w) {}
};

struct Events {
  const float* g;
  const uint8_t* winner;
  const float* slope;  // null where every live slope is 1
  __device__ float scaled(int64_t at) const { return slope ? g[at] * slope[at] : g[at]; }
};

}  // namespace caltrop::CALTROP_WORLD
