// Backward passes of the convolution block for many input channels. For one window row ky, the (kx, channel)
// values under a position are one contiguous run of the image, and of a filter laid out by output channel.
//
// D-input: the events of a window are sorted by position; for each position the runs of its filters are
// summed in registers and added to the image once. D-weight: for each output channel the runs under its
// winners, one per window, are summed in registers.

#if defined(CALTROP_CONV_BLOCK_RUNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_CONV_BLOCK_RUNS_INL_H_
#undef CALTROP_CONV_BLOCK_RUNS_INL_H_
#else
#define CALTROP_CONV_BLOCK_RUNS_INL_H_
#endif

#include "kernels/conv_block_events.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// Vectors of a run that are summed in registers at a time.
inline constexpr int kRunVectors = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 12 : 8;

// Calls body.template operator()<N>(first float) over a run of `floats` (a multiple of 16).
template <typename Body>
HWY_INLINE void for_run_blocks(int64_t floats, const Body& body) {
  int64_t at = 0;
  for (; at + kRunVectors * kLanes <= floats; at += kRunVectors * kLanes)
    body.template operator()<kRunVectors>(at);
  for (; at + 4 * kLanes <= floats; at += 4 * kLanes) body.template operator()<4>(at);
  for (; at < floats; at += kLanes) body.template operator()<1>(at);
}

// sums += sum over events of g * runs[offset]
template <int N>
HWY_INLINE void add_runs(Vec (&sums)[N], int64_t events, const float* g, const int32_t* offset,
                         const float* runs) {
  const Floats d;
  for (int64_t e = 0; e < events; ++e) {
    const Vec each = hn::Set(d, g[e]);
    const float* run = runs + offset[e];
    asm(""
        : "+r"(
            run));  // one base register: left alone, g++ keeps an index register for each vector and spills
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) sums[v] = hn::MulAdd(each, hn::LoadU(d, run + v * kLanes), sums[v]);
  }
}

// to += the sum of runs over the events.
template <int N>
HWY_INLINE void accumulate_runs(int64_t events, const float* g, const int32_t* offset, const float* runs,
                                float* to) {
  const Floats d;
  Vec sums[N];
#pragma GCC unroll 16
  for (int v = 0; v < N; ++v) sums[v] = hn::LoadU(d, to + v * kLanes);
  add_runs(sums, events, g, offset, runs);
#pragma GCC unroll 16
  for (int v = 0; v < N; ++v) hn::StoreU(sums[v], d, to + v * kLanes);
}

// dx of one padded image. filters: (cout, kh, run) with padded runs. Events are sorted by window and
// position: those of (window, position) stand at starts[window * positions + position] and after.
void runs_dinput(const ConvBlock& b, const Runs& r, const Events& events, const float* filters, float* dx) {
  const Conv2d& s = b.conv;
  for (size_t list = 0; list < r.corners.size(); ++list) {
    const int64_t begin = events.starts[list], count = events.starts[list + 1] - begin;
    if (count == 0) continue;
    float* corner = dx + r.corners[list];
    for (int64_t ky = 0; ky < s.kh; ++ky) {
      for_run_blocks(r.padded, [&]<int N>(int64_t at) HWY_ATTR {
        accumulate_runs<N>(count, events.g + begin, events.offset + begin, filters + ky * r.padded + at,
                           corner + ky * s.w * s.cin + at);
      });
    }
  }
}

// dw (cout, kh, run) += the runs of one padded image under its winners. Events are sorted by output channel.
void runs_dweight(const ConvBlock& b, const Runs& r, const Events& events, const float* image, float* dw) {
  const Conv2d& s = b.conv;
  for (int64_t o = 0; o < s.cout; ++o) {
    const int64_t begin = events.starts[o], count = events.starts[o + 1] - begin;
    for (int64_t ky = 0; ky < s.kh; ++ky) {
      for_run_blocks(r.padded, [&]<int N>(int64_t at) HWY_ATTR {
        accumulate_runs<N>(count, events.g + begin, events.offset + begin, image + ky * s.w * s.cin + at,
                           dw + (o * s.kh + ky) * r.padded + at);
      });
    }
  }
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
