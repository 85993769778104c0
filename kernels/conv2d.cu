// Convolution and its adjoints: which path computes a shape. The choice depends on one image's sizes alone,
// never on their number, so that an image has the same bits in every batch.

#include "kernels/conv2d_paths.cuh"

namespace caltrop::CALTROP_WORLD {

void conv2d(Stream& stream, const Conv2d& s, const float* x, const float* w, float* y) {
  constexpr int64_t kFewChannels = 16;
  if (s.cin < kFewChannels && conv2d_direct(stream, s, x, w, y)) return;
  conv2d_gemm(stream, s, x, w, y);
}

void conv2d_dinput(Stream& stream, const Conv2d& s, const float* g, const float* w, float* dx) {
  conv2d_dinput_gemm(stream, s, g, w, dx);
}

void conv2d_dweight(Stream& stream, const Conv2d& s, const float* x, const float* g, float* dw) {
  conv2d_dweight_gemm(stream, s, x, g, dw);
}

}  // namespace caltrop::CALTROP_WORLD
