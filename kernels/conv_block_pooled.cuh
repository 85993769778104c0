// How a convolution block ends, for the kernels of conv_block.cu and conv_blocks.cu: the largest value of a
// window under its activation.
//
// The activation comes after the maximum: relu is monotone, and GELU falls and then rises, so its maximum
// over a window is at the largest or the smallest value.
#pragma once

#include "kernels/conv_quads.cuh"
#include "kernels/gpu_math.cuh"

namespace caltrop::CALTROP_WORLD {

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

__device__ inline void store_pooled(const Result& result, const Pooled& to, int64_t at) {
  to.y[at] = result.y;
  if (to.winner) to.winner[at] = result.winner;
  if (to.slope) to.slope[at] = result.slope;
}

// The quad's maxima of `cout` channels, from channel `o` on. `vectors`: rows of all outputs are aligned for 4
// channels at a time. Single values would cost four times the transactions: the channels of one thread are
// neighbours, those of one warp are not.
template <Activation kActivation>
__device__ void store_quad(const QuadShape& s, const QuadPlace& at, int o, int cout, bool vectors,
                           const float (&z)[4][kQuadChannels], const Pooled& to) {
  if (!at.valid) return;
  const int64_t first = (at.image * s.quads_h * s.quads_w + at.quad) * cout + o;
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
    if (vectors && o + group < cout) {
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
      if (o + group + i < cout) store_pooled(results[i], to, first + group + i);
    }
  }
}

}  // namespace caltrop::CALTROP_WORLD
