// Backward passes of the convolution block for few input channels: an event adds one multiple of the filter,
// embedded at the winner's place in the patch that the window sees, to the gradient of that patch. The
// embedded filters of every position lie in one table, so that an event is one multiply-add of a short
// vector, whatever the position; d-weight adds multiples of the patch to the same table.

#if defined(CALTROP_CONV_BLOCK_PATCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_CONV_BLOCK_PATCH_INL_H_
#undef CALTROP_CONV_BLOCK_PATCH_INL_H_
#else
#define CALTROP_CONV_BLOCK_PATCH_INL_H_
#endif

#include "kernels/conv_block_events.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// Calls body.template operator()<N>() with N = vectors of a patch.
template <int N = 1, typename Body>
HWY_INLINE void for_patch_vectors(int64_t vectors, const Body& body) {
  if constexpr (N * kLanes <= kPatchLimit) {
    if (vectors == N) return body.template operator()<N>();
    for_patch_vectors<N + 1>(vectors, body);
  }
}

// Where the patches of each channel begin in a table.
HWY_INLINE void channel_bases(const Patch& p, int64_t channels, int32_t* base) {
  for (int64_t c = 0; c < channels; ++c) base[c] = static_cast<int32_t>(c * p.positions * p.size);
}

// The events of one window: scaled gradients, and where each (channel, position) stands in a table of
// patches. A dead one becomes a zero at position 0.
HWY_INLINE void window_events(const Patch& p, int64_t channels, const Pooled8& from, const int32_t* base,
                              float* scaled, int32_t* offset) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint8_t, Floats> d8;
  const auto size = hn::Set(di, static_cast<int32_t>(p.size));
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t count = std::min(kLanes, channels - c);
    HWY_ALIGN uint8_t some[HWY_MAX_BYTES] = {};
    if (count < kLanes) std::copy_n(from.winner + c, count, some);
    const auto winner = hn::PromoteTo(di, hn::LoadU(d8, count < kLanes ? some : from.winner + c));
    const auto dead = hn::Eq(winner, hn::Set(di, kDead));
    Vec g = load_some(from.g + c, count);
    if (from.slope) g = hn::Mul(g, load_some(from.slope + c, count));
    hn::StoreU(hn::IfThenZeroElse(hn::RebindMask(d, dead), g), d, scaled + c);
    const auto position = hn::Mul(hn::IfThenZeroElse(dead, winner), size);
    hn::StoreU(hn::Add(hn::LoadU(di, base + c), position), di, offset + c);
  }
}

// dx of one padded image (rows of p.images_w floats), from the table of embedded filters.
void patch_dinput(const ConvBlock& b, const Patch& p, const Pooled8& from, const float* filters,
                  EventSpace space, float* dx) {
  const Conv2d& s = b.conv;
  float* const scaled = space.scaled;
  int32_t *const offset = space.offset, *const base = space.base;
  channel_bases(p, s.cout, base);
  const Floats d;
  const hn::CappedTag<float, 4> quarter;
  const auto window = [&]<int N>(int64_t oy, int64_t ox) HWY_ATTR {
    window_events(p, s.cout, from.at((oy * b.out_w() + ox) * s.cout), base, scaled, offset);
    // Four chains of sums hide the latency of the multiply-adds.
    Vec sums[4][N];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) sums[k][v] = hn::Zero(d);
    }
    int64_t c = 0;
    for (; c + 4 <= s.cout; c += 4) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const Vec each = hn::Set(d, scaled[c + k]);
        const float* filter = filters + offset[c + k];
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v)
          sums[k][v] = hn::MulAdd(each, hn::Load(d, filter + v * kLanes), sums[k][v]);
      }
    }
    for (; c < s.cout; ++c) {
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) {
        sums[0][v] =
            hn::MulAdd(hn::Set(d, scaled[c]), hn::Load(d, filters + offset[c] + v * kLanes), sums[0][v]);
      }
    }
    HWY_ALIGN float patch[N * kLanes];
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) {
      hn::Store(hn::Add(hn::Add(sums[0][v], sums[1][v]), hn::Add(sums[2][v], sums[3][v])), d,
                patch + v * kLanes);
    }
    float* corner = dx + oy * b.pool_h * s.stride_h * p.images_w + ox * b.pool_w * s.stride_w * s.cin;
    for (int64_t y = 0; y < p.h; ++y) {
      for (int64_t i = 0; i < p.row; i += static_cast<int64_t>(hn::Lanes(quarter))) {
        float* to = corner + y * p.images_w + i;
        hn::StoreU(hn::Add(hn::LoadU(quarter, to), hn::LoadU(quarter, patch + y * p.row + i)), quarter, to);
      }
    }
  };
  for_patch_vectors(p.size / kLanes, [&]<int N>() HWY_ATTR {
    for (int64_t oy = 0; oy < b.out_h(); ++oy) {
      // Every second window first: neighbours overlap, and a load right behind an overlapping store has to
      // wait.
      for (int64_t odd = 0; odd < 2; ++odd) {
        for (int64_t ox = odd; ox < b.out_w(); ox += 2) window.template operator()<N>(oy, ox);
      }
    }
  });
}

// Adds the events of one padded image to `table` (cout, positions, size), and to dbias.
void patch_dweight(const ConvBlock& b, const Patch& p, const float* image, const Pooled8& from,
                   EventSpace space, float* table, float* dbias) {
  const Conv2d& s = b.conv;
  float* const scaled = space.scaled;
  int32_t *const offset = space.offset, *const base = space.base;
  channel_bases(p, s.cout, base);
  const Floats d;
  const hn::CappedTag<float, 4> quarter;
  const int64_t channels =
      s.cout;  // a local: stores to the table could change s as far as the compiler knows
  for_patch_vectors(p.size / kLanes, [&, channels]<int N>() HWY_ATTR {
    HWY_ALIGN float patch[N * kLanes] = {};
    for (int64_t window = 0; window < b.out_h() * b.out_w(); ++window) {
      window_events(p, s.cout, from.at(window * s.cout), base, scaled, offset);
      const float* corner = image + window / b.out_w() * b.pool_h * s.stride_h * p.images_w +
                            window % b.out_w() * b.pool_w * s.stride_w * s.cin;
      for (int64_t y = 0; y < p.h; ++y) {
        for (int64_t i = 0; i < p.row; i += static_cast<int64_t>(hn::Lanes(quarter))) {
          hn::StoreU(hn::LoadU(quarter, corner + y * p.images_w + i), quarter, patch + y * p.row + i);
        }
      }
      Vec seen[N];
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) seen[v] = hn::Load(d, patch + v * kLanes);
#pragma GCC unroll 4
      for (int64_t c = 0; c < channels; ++c) {
        const Vec each = hn::Set(d, scaled[c]);
        float* to = table + offset[c];
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) {
          hn::Store(hn::MulAdd(each, seen[v], hn::Load(d, to + v * kLanes)), d, to + v * kLanes);
        }
      }
      for (int64_t c = 0; c < channels; ++c) dbias[c] += scaled[c];
    }
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
