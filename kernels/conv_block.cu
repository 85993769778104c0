// Convolution + bias + activation + max-pool in one pass: the unpooled output, several times the size of what
// goes in and out, is never stored. Backward passes: conv_block_dinput.cu, conv_block_dweight.cu.
//
//   2 x 2 windows, few input channels   each thread pools the quads of conv_quads.cuh in registers
//   1 x 1 windows                       conv2d, then bias and activation in place
//   other windows                       a thread for each pooled element goes through its window, four
//                                       positions at a time
//
// The activation comes after the maximum: relu is monotone, and GELU falls and then rises, so its maximum
// over a window is at the largest or the smallest value.

#include "kernels/conv_block_windows.cuh"
#include "kernels/conv_quads.cuh"
#include "kernels/gpu_math.cuh"
#include "kernels/gpu_ops.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

// Where the pass leaves its results; winner and slope may be null.
struct Pooled {
  float* y;
  uint8_t* winner;
  float* slope;
};

// The largest and the smallest of the values met so far, each with the position where it first stood, and
// their sum, which is NaN where one of them was: comparisons would lose it.
struct Extremes {
  float high, low, sum;
  int high_at = 0, low_at = 0;
  __device__ explicit Extremes(float first) : high(first), low(first), sum(first) {}
  __device__ void meet(float value, int position) {
    sum += value;
    if (value > high) {
      high = value;
      high_at = position;
    }
    if (value < low) {
      low = value;
      low_at = position;
    }
  }
};

struct Result {
  float y, slope;
  uint8_t winner;
};

template <Activation kActivation>
__device__ Result finished(const Extremes& e) {
  float value = e.high, slope = 1.0f;
  int winner = e.high_at;
  if constexpr (kActivation == Activation::relu) {
    value = e.high > 0.0f ? e.high : 0.0f;
    winner = e.high > 0.0f ? winner : kDead;
  }
  if constexpr (kActivation == Activation::gelu) {
    // GELU falls up to its valley and rises after it, and is negative below 0. The smallest value wins where
    // all lie on the falling side; where the extremes lie on either side of the valley, below 0, both are
    // evaluated.
    constexpr float kValley = -0.751791525f;
    const bool falling = e.high <= kValley;
    float z = falling ? e.low : e.high;
    winner = falling ? e.low_at : e.high_at;
    Normal n = normal_of(z);
    if (e.high > kValley && e.high < 0.0f && e.low < kValley) {
      const Normal other = normal_of(e.low);
      if (e.low * other.cdf > z * n.cdf) {
        z = e.low;
        n = other;
        winner = e.low_at;
      }
    }
    value = z * n.cdf;
    slope = fmaf(z, n.pdf, n.cdf);
  }
  return {e.sum == e.sum ? value : e.sum, slope, static_cast<uint8_t>(winner)};
}

__device__ void store(const Result& result, const Pooled& to, int64_t at) {
  to.y[at] = result.y;
  if (to.winner) to.winner[at] = result.winner;
  if (to.slope) to.slope[at] = result.slope;
}

// `vectors`: rows of all outputs are aligned for 4 channels at a time. Single values would cost four times
// the transactions: the channels of one thread are neighbours, those of one warp are not.
template <bool k3x3, Activation kActivation>
__global__ void __launch_bounds__(128, 5) block_quad_kernel(QuadShape s, bool vectors, const float* x,
                                                            const float* w, const float* bias, Pooled to) {
  const QuadPlace at(s);
  float z[4][kQuadChannels];
  quad_sums<k3x3>(s, at, x, w, bias, z);
  if (!at.valid) return;
  const int64_t first = (at.image * s.quads_h * s.quads_w + at.quad) * s.conv.cout + at.o;
#pragma unroll
  for (int group = 0; group < kQuadChannels; group += 4) {
    Result results[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      Extremes e(z[0][group + i]);
      e.meet(z[1][group + i], 1);
      e.meet(z[2][group + i], 2);
      e.meet(z[3][group + i], 3);
      results[i] = finished<kActivation>(e);
    }
    if (vectors && at.o + group < s.conv.cout) {
      *reinterpret_cast<float4*>(to.y + first + group) =
          make_float4(results[0].y, results[1].y, results[2].y, results[3].y);
      if (to.slope) {
        *reinterpret_cast<float4*>(to.slope + first + group) =
            make_float4(results[0].slope, results[1].slope, results[2].slope, results[3].slope);
      }
      if (to.winner) {
        *reinterpret_cast<uchar4*>(to.winner + first + group) =
            make_uchar4(results[0].winner, results[1].winner, results[2].winner, results[3].winner);
      }
      continue;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (at.o + group + i < s.conv.cout) store(results[i], to, first + group + i);
    }
  }
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
    store(finished<kActivation>(e), to, i);
  }
}

// to.y holds the convolution.
template <Activation kActivation>
__global__ void block_point_kernel(const float* bias, int64_t channels, Pooled to, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step())
    store(finished<kActivation>(Extremes(bias ? to.y[i] + bias[i % channels] : to.y[i])), to, i);
}

template <Activation kActivation>
void run(Stream& stream, const ConvBlock& b, const float* x, const float* w, const float* bias,
         const Pooled& to) {
  constexpr int kThreads = 128;
  const int64_t count = b.pooled();
  if (b.pool_h == 1 && b.pool_w == 1) {
    conv2d(stream, b.conv, x, w, to.y);
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

void conv_block(Stream& stream, const ConvBlock& b, const float* x, const float* w, const float* bias,
                float* y, uint8_t* winner, float* slope) {
  if (b.pooled() == 0) return;
  const Pooled to{y, winner, slope};
  switch (b.activation) {
    case Activation::none:
      return run<Activation::none>(stream, b, x, w, bias, to);
    case Activation::relu:
      return run<Activation::relu>(stream, b, x, w, bias, to);
    case Activation::gelu:
      return run<Activation::gelu>(stream, b, x, w, bias, to);
  }
}

}  // namespace caltrop::CALTROP_WORLD
