// Forward pass of the convolution block: windows of 2x2, by far the most common, are reduced in registers;
// other windows by way of rows of outputs that stay in the first-level cache. Deep blocks are convolved whole
// (convolution.h), then pooled.

#if defined(CALTROP_CONV_BLOCK_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_CONV_BLOCK_FORWARD_INL_H_
#undef CALTROP_CONV_BLOCK_FORWARD_INL_H_
#else
#define CALTROP_CONV_BLOCK_FORWARD_INL_H_
#endif

#include "kernels/conv-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

using Ints = hn::RebindToSigned<Floats>;
using IntVec = hn::Vec<Ints>;

HWY_INLINE void store_bytes(IntVec v, uint8_t* to, int64_t count) {
  const hn::Rebind<uint8_t, Floats> d;
  const auto bytes = hn::DemoteTo(d, v);
  if (count >= kLanes) {
    hn::StoreU(bytes, d, to);
  } else {
    HWY_ALIGN uint8_t all[HWY_MAX_BYTES];
    hn::StoreU(bytes, d, all);
    std::copy_n(all, count, to);
  }
}

// The largest and smallest of the values met so far, each with the position where it first stood (where kPlaces:
// a backward pass will ask), and their sum, which is NaN where any of them was: comparisons would lose it.
template <bool kPlaces>
struct Extremes {
  Vec high, low, sum;
  IntVec high_at, low_at, position;

  HWY_INLINE explicit Extremes(Vec first)
      : high(first),
        low(first),
        sum(first),
        high_at(hn::Zero(Ints())),
        low_at(hn::Zero(Ints())),
        position(hn::Zero(Ints())) {}

  template <Activation act>
  HWY_INLINE void meet(Vec v) {
    sum = hn::Add(sum, v);
    if constexpr (!kPlaces) {
      high = hn::Max(v, high);
      if (act == Activation::gelu) low = hn::Min(v, low);
      return;
    }
    const Ints d;
    position = hn::Add(position, hn::Set(d, 1));
    const Mask above = hn::Gt(v, high);
    high = hn::IfThenElse(above, v, high);
    high_at = hn::IfThenElse(hn::RebindMask(d, above), position, high_at);
    if (act == Activation::gelu) {
      const Mask below = hn::Lt(v, low);
      low = hn::IfThenElse(below, v, low);
      low_at = hn::IfThenElse(hn::RebindMask(d, below), position, low_at);
    }
  }
};

// What a window leaves behind, for `count` channels.
struct Pooled {
  float* y;
  uint8_t* winner;
  float* slope;
  HWY_INLINE Pooled at(int64_t i) const {
    return {y + i, winner ? winner + i : nullptr, slope ? slope + i : nullptr};
  }
};

template <Activation act, bool kPlaces>
HWY_INLINE void finish(const Extremes<kPlaces>& e, const Pooled& to, int64_t count) {
  const Floats d;
  const Ints di;
  const auto store = [&](Vec y) HWY_ATTR {
    store_some(hn::IfThenElse(hn::Eq(e.sum, e.sum), y, e.sum), to.y, count);
  };
  if (act == Activation::none) {
    store(e.high);
    if (kPlaces) store_bytes(e.high_at, to.winner, count);
  }
  if (act == Activation::relu) {
    const Vec zero = hn::Zero(d);
    store(hn::Max(e.high, zero));
    if (kPlaces) {
      const auto alive = hn::RebindMask(di, hn::Gt(e.high, zero));
      store_bytes(hn::IfThenElse(alive, e.high_at, hn::Set(di, kDead)), to.winner, count);
    }
  }
  if (act == Activation::gelu) {
    // GELU falls up to its valley and rises after it, and is negative below 0. The smallest value wins where
    // all lie on the falling side; where the extremes lie on either side of the valley, below 0, both are
    // evaluated.
    const Vec valley = hn::Set(d, -0.751791525f), zero = hn::Zero(d);
    const Mask falling = hn::Le(e.high, valley);
    const Mask open = hn::And(hn::And(hn::Gt(e.high, valley), hn::Lt(e.high, zero)), hn::Lt(e.low, valley));
    Vec z = hn::IfThenElse(falling, e.low, e.high);
    IntVec at = hn::IfThenElse(hn::RebindMask(di, falling), e.low_at, e.high_at);
    Normal n = normal_of(z);
    if (!hn::AllFalse(d, open)) {
      const Normal other = normal_of(e.low);
      const Mask better = hn::And(open, hn::Gt(hn::Mul(e.low, other.cdf), hn::Mul(z, n.cdf)));
      z = hn::IfThenElse(better, e.low, z);
      n.cdf = hn::IfThenElse(better, other.cdf, n.cdf);
      n.pdf = hn::IfThenElse(better, other.pdf, n.pdf);
      at = hn::IfThenElse(hn::RebindMask(di, better), e.low_at, at);
    }
    store(hn::Mul(z, n.cdf));
    if (kPlaces) {
      store_bytes(at, to.winner, count);
      store_some(hn::MulAdd(z, n.pdf, n.cdf), to.slope, count);
    }
  }
}

// W neighbouring 2x2 windows by V vectors of channels, from pooled position (oy, ox) on.
template <Activation act, bool kPlaces, int W, int V>
HWY_INLINE void square_tile(const ConvBlock& b, const float* image, int64_t oy, int64_t ox, const float* w,
                            const float* bias, int64_t channels, const Pooled& to) {
  const Conv2d& s = b.conv;
  const Floats d;
  const int64_t run = s.kw * s.cin, row = s.w * s.cin, step = s.stride_w * s.cin;
  const Mask last = hn::FirstN(d, static_cast<size_t>(channels - (V - 1) * kLanes));
  Vec z[4 * W][V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const Vec start = bias ? load_some(bias + v * kLanes, channels - v * kLanes) : hn::Zero(d);
#pragma GCC unroll 8
    for (int p = 0; p < 4 * W; ++p) z[p][v] = start;
  }
  for (int64_t ky = 0; ky < s.kh; ++ky) {
    const float* upper = image + (oy * 2 * s.stride_h + ky) * row + ox * 2 * step;
    const float* lower = upper + s.stride_h * row;
    for (int64_t k = 0; k < run; ++k, w += s.cout) {
      Vec weights[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        weights[v] = v + 1 < V ? hn::LoadU(d, w + v * kLanes)
                               : load_first(last, w + v * kLanes, channels - (V - 1) * kLanes);
      }
#pragma GCC unroll 8
      for (int p = 0; p < 4 * W; ++p) {
        const float* line = p & 2 ? lower : upper;  // g++ 12 with UBSan miscompiles (p ? a : b)[i]
        const Vec each = hn::Set(d, line[(p / 4 * 2 + (p & 1)) * step + k]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) z[p][v] = hn::MulAdd(each, weights[v], z[p][v]);
      }
    }
  }
#pragma GCC unroll 2
  for (int window = 0; window < W; ++window) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Extremes<kPlaces> e(z[4 * window][v]);
      e.template meet<act>(z[4 * window + 1][v]);
      e.template meet<act>(z[4 * window + 2][v]);
      e.template meet<act>(z[4 * window + 3][v]);
      finish<act>(e, to.at(window * s.cout + v * kLanes), channels - v * kLanes);
    }
  }
}

template <Activation act, bool kPlaces>
HWY_INLINE void square_windows(const ConvBlock& b, const float* image, const float* w, const float* bias,
                               const Pooled& to) {
  constexpr int kWindows = kTileVectors / 2;  // sums of two windows fit 32 registers, of one 16
  const Conv2d& s = b.conv;
  const int64_t out_w = b.out_w();
  const auto panel = [&]<int V>(int64_t o, int64_t channels) HWY_ATTR {
    const float* offset = bias ? bias + o : nullptr;
    for (int64_t oy = 0; oy < b.out_h(); ++oy) {
      int64_t ox = 0;
      for (; ox + kWindows <= out_w; ox += kWindows) {
        square_tile<act, kPlaces, kWindows, V>(b, image, oy, ox, w + o, offset, channels,
                                               to.at((oy * out_w + ox) * s.cout + o));
      }
      for (; ox < out_w; ++ox) {
        square_tile<act, kPlaces, 1, V>(b, image, oy, ox, w + o, offset, channels,
                                        to.at((oy * out_w + ox) * s.cout + o));
      }
    }
  };
  for (int64_t o = 0; o < s.cout; o += 2 * kLanes) {
    const int64_t channels = std::min(2 * kLanes, s.cout - o);
    if (channels > kLanes) {
      panel.template operator()<2>(o, channels);
    } else {
      panel.template operator()<1>(o, channels);
    }
  }
}

// Windows [first, first + rows) of a row each out of z, which begins with row first * pool_h of the outputs and has
// `columns` of them in a row.
template <Activation act, bool kPlaces>
HWY_INLINE void pool_rows(const ConvBlock& b, int64_t first, int64_t rows, int64_t columns, const float* z,
                          const Pooled& to) {
  const int64_t cout = b.conv.cout;
  for (int64_t oy = 0; oy < rows; ++oy) {
    for (int64_t ox = 0; ox < b.out_w(); ++ox) {
      const float* window = z + (oy * b.pool_h * columns + ox * b.pool_w) * cout;
      const Pooled here = to.at(((first + oy) * b.out_w() + ox) * cout);
      for (int64_t c = 0; c < cout; c += kLanes) {
        const int64_t count = std::min(kLanes, cout - c);
        Extremes<kPlaces> e(load_some(window + c, count));
        for (int64_t p = 1; p < b.pool_h * b.pool_w; ++p) {
          e.template meet<act>(load_some(window + (p / b.pool_w * columns + p % b.pool_w) * cout + c, count));
        }
        finish<act>(e, here.at(c), count);
      }
    }
  }
}

// Any window. room: for filters, then for rows_together(b) rows of outputs.
template <Activation act, bool kPlaces>
HWY_INLINE void other_windows(const ConvBlock& b, const float* image, const float* w, const float* bias,
                              float* room, const Pooled& to) {
  const int64_t columns = b.out_w() * b.pool_w, together = rows_together(b) / b.pool_h;
  float* z = room + kFilterRoom;
  for (int64_t oy = 0; oy < b.out_h(); oy += together) {
    const int64_t rows = std::min(together, b.out_h() - oy);
    conv_rows(b.conv, 1, image, oy * b.pool_h, rows * b.pool_h, columns, w, z, {.bias = bias}, room);
    pool_rows<act, kPlaces>(b, oy, rows, columns, z, to);
  }
}

template <Activation act, bool kPlaces>
HWY_INLINE void forward_windows(const ConvBlock& b, const float* image, const float* w, const float* bias,
                                float* room, const Pooled& to) {
  if (b.pool_h == 2 && b.pool_w == 2) {
    square_windows<act, kPlaces>(b, image, w, bias, to);
  } else {
    other_windows<act, kPlaces>(b, image, w, bias, room, to);
  }
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
