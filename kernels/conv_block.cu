// Convolution + bias + activation + max-pool in one pass: the unpooled output, several times the size of what
// goes in and out, is never stored. Backward passes: conv_block_dinput.cu, conv_block_dweight.cu.
//
//   2 x 2 windows, few input channels   each thread pools the quads of conv_quads.cuh in registers
//   1 x 1 windows                       conv2d, then bias and activation in place
//   other windows                       a thread for each pooled element goes through its window, four
//                                       positions at a time

#include "kernels/conv_block_pooled.cuh"
#include "kernels/conv_block_windows.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

template <bool k3x3, Activation kActivation>
__global__ void __launch_bounds__(128, 5) block_quad_kernel(QuadShape s, bool vectors, const float* x,
                                                            const float* w, const float* bias, Pooled to) {
  const QuadPlace at(s);
  float z[4][kQuadChannels];
  quad_sums<k3x3>(s, at, x, w, bias, z);
  store_quad<kActivation>(s, at, at.o, s.conv.cout, vectors, z, to);
}

template <Activation kActivation>
__global__ void block_window_kernel(WindowShape s, const float* x, const float* w, const float* bias,
                                    Pooled to, int64_t count) {
  const ConvShape& conv = s.conv;
  const int positions = s.pool_h * s.pool_w;
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const int64_t window = i / conv.cout, row = window / s.out_w, n = row / s.out_h;
    const int o = static_cast<int>(i - window * conv.cout);
    const int top = static_cast<int>(row - n * s.out_h) * s.pool_h,
              left = static_cast<int>(window - row * s.out_w) * s.pool_w;
    const float* image = x + n * conv.h * conv.w * conv.cin;
    const float start = bias ? bias[o] : 0.0f;
    Extremes e(0.0f);
    for (int first = 0; first < positions; first += 4) {
      float z[4] = {start, start, start, start};
      int ys[4], xs[4];
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const int position = first + p < positions ? first + p : first;
        const int down = position / s.pool_w;
        ys[p] = (top + down) * conv.stride_h - conv.pad_h;
        xs[p] = (left + position - down * s.pool_w) * conv.stride_w - conv.pad_w;
      }
      const float* weights = w + o;
      for (int ky = 0; ky < conv.kh; ++ky) {
        for (int kx = 0; kx < conv.kw; ++kx) {
          const float* from[4];
          bool inside[4];
#pragma unroll
          for (int p = 0; p < 4; ++p) {
            const int iy = ys[p] + ky, ix = xs[p] + kx;
            inside[p] = iy >= 0 && iy < conv.h && ix >= 0 && ix < conv.w;
            from[p] = image + (inside[p] ? (static_cast<int64_t>(iy) * conv.w + ix) * conv.cin : 0);
          }
          for (int c = 0; c < conv.cin; ++c, weights += conv.cout) {
            const float weight = *weights;
#pragma unroll
            for (int p = 0; p < 4; ++p) z[p] = fmaf(inside[p] ? from[p][c] : 0.0f, weight, z[p]);
          }
        }
      }
      if (first == 0) e = Extremes(z[0]);
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        if (first + p > 0 && first + p < positions) e.meet(z[p], first + p);
      }
    }
    store_pooled(finished<kActivation>(e), to, i);
  }
}

// For 1 x 1 windows: to.y holds the convolution.
template <Activation kActivation>
__global__ void block_point_kernel(const float* bias, int64_t channels, Pooled to, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step())
    store_pooled(finished<kActivation>(Extremes(bias ? to.y[i] + bias[i % channels] : to.y[i])), to, i);
}

template <Activation kActivation>
void run(Stream& stream, const ConvBlock& b, const float* x, const float* w, const float* bias,
         const Pooled& to) {
  constexpr int kThreads = 128;
  const int64_t count = b.pooled();
  if (b.pool_h == 1 && b.pool_w == 1) {
    launch("conv_block", block_point_kernel<kActivation>, grid_for(count, kThreads), kThreads, 0, stream,
           bias, b.conv.cout, to, count);
    return;
  }
  if (b.pool_h == 2 && b.pool_w == 2) {
    const QuadShape s(b.conv, b.out_h(), b.out_w());
    if (s.fits()) {
      const bool vectors = b.conv.cout % 4 == 0 && is_aligned16(to.y, to.slope) &&
                           reinterpret_cast<uintptr_t>(to.winner) % 4 == 0;
      launch("conv_block",
             is_3x3(b.conv) ? block_quad_kernel<true, kActivation> : block_quad_kernel<false, kActivation>,
             s.grid(), s.block(), s.shared_bytes(), stream, s, vectors, x, w, bias, to);
      return;
    }
  }
  launch("conv_block", block_window_kernel<kActivation>, grid_for(count, kThreads), kThreads, 0, stream,
         WindowShape(b), x, w, bias, to, count);
}

}  // namespace

void GpuBackend::conv_block(const ConvBlock& b, const float* x, const float* w, const float* bias, float* y,
                            uint8_t* winner, float* slope) {
  const Stream::Op range(stream_, "conv_block");
  if (b.pooled() == 0) return;
  if (b.pool_h == 1 && b.pool_w == 1) conv2d(b.conv, x, w, y, {});
  const Pooled to{y, winner, slope};
  switch (b.activation) {
    case Activation::none:
      return run<Activation::none>(stream_, b, x, w, bias, to);
    case Activation::relu:
      return run<Activation::relu>(stream_, b, x, w, bias, to);
    case Activation::gelu:
      return run<Activation::gelu>(stream_, b, x, w, bias, to);
  }
}

}  // namespace caltrop::CALTROP_WORLD
