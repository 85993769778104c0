// Convolution + bias + activation + max-pool in one pass, and its backward passes from the pooled gradient.
//
// Forward: the rows of outputs under one row of windows stay in the first-level cache; bias comes with the sums,
// the activation after the maximum. That order is free for relu, which is monotone. GELU falls and then rises,
// so its maximum over a window is at the largest or the smallest value: one evaluation, or two where all values
// of a window are negative, instead of one for each value.
//
// Backward: a window passes its gradient to one position, the winner, so each (window, channel) is one event:
// (scaled gradient, position). With few input channels an event adds one multiple of the filter, embedded at
// that position of the patch that the window sees, to the gradient of the patch: the embedded filters of every
// position are laid out once per call, and an event is one multiply-add of a short vector. D-weight runs the
// same events the other way round. With many input channels the events of one position are gathered first.

#include "kernels/conv_shape.h"
#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#ifndef CALTROP_CONV_BLOCK_PATCH_
#define CALTROP_CONV_BLOCK_PATCH_
namespace caltrop {

// The patch of the input that one window sees, as rows of `row` floats (a multiple of 4, the tail unused).
struct Patch {
  int64_t h, w, row, size;
  int64_t positions;  // of the pool window
  int64_t images_w;   // row length of padded images, with room for the tail
};

constexpr int64_t kPatchLimit = 64;  // floats: beyond, the filters no longer fit the first-level cache

inline Patch patch_of(const ConvBlock& b) {
  const Conv2d& s = b.conv;
  Patch p{};
  p.h = (b.pool_h - 1) * s.stride_h + s.kh;
  p.w = (b.pool_w - 1) * s.stride_w + s.kw;
  p.row = (p.w * s.cin + 3) / 4 * 4;
  p.size = (p.h * p.row + 15) / 16 * 16;
  p.positions = b.pool_h * b.pool_w;
  p.images_w = (s.w + 2 * s.pad_w) * s.cin + 4;
  return p;
}

}  // namespace caltrop
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv_block.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/conv-inl.h"
#include "kernels/math-inl.h"

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
    HWY_ALIGN uint8_t all[kLanes];
    hn::StoreU(bytes, d, all);
    std::copy_n(all, count, to);
  }
}

// Largest (or smallest) of the window's values, and where it first stands.
struct Extreme {
  Vec value;
  IntVec at;
};

// One pooled element for `count` channels. z: values of the window, (pool_h, columns, cout).
template <Activation act>
HWY_INLINE void pool_window(const ConvBlock& b, const float* z, int64_t columns, int64_t count, float* y, uint8_t* winner,
                            float* slope) {
  const Floats d;
  const Ints di;
  Extreme high{load_some(z, count), hn::Zero(di)};
  Extreme low = high;
  IntVec position = hn::Zero(di);
  const IntVec one = hn::Set(di, 1);
  for (int64_t py = 0; py < b.pool_h; ++py) {
    for (int64_t px = 0; px < b.pool_w; ++px) {
      const Vec v = load_some(z + (py * columns + px) * b.conv.cout, count);
      const Mask above = hn::Gt(v, high.value);
      high.value = hn::IfThenElse(above, v, high.value);
      high.at = hn::IfThenElse(hn::RebindMask(di, above), position, high.at);
      if (act == Activation::gelu) {
        const Mask below = hn::Lt(v, low.value);
        low.value = hn::IfThenElse(below, v, low.value);
        low.at = hn::IfThenElse(hn::RebindMask(di, below), position, low.at);
      }
      position = hn::Add(position, one);
    }
  }
  if (act == Activation::none) {
    store_some(high.value, y, count);
    if (winner) store_bytes(high.at, winner, count);
  }
  if (act == Activation::relu) {
    const Mask alive = hn::Gt(high.value, hn::Zero(d));
    store_some(hn::IfThenElse(hn::Le(high.value, hn::Zero(d)), hn::Zero(d), high.value), y, count);
    if (winner) store_bytes(hn::IfThenElse(hn::RebindMask(di, alive), high.at, hn::Set(di, kDead)), winner, count);
  }
  if (act == Activation::gelu) {
    Vec best = gelu_of(high.value);
    const Mask negative = hn::Lt(high.value, hn::Zero(d));
    if (!hn::AllFalse(d, negative)) {
      const Vec other = gelu_of(low.value);
      const Mask better = hn::And(negative, hn::Gt(other, best));
      best = hn::IfThenElse(better, other, best);
      high.value = hn::IfThenElse(better, low.value, high.value);
      high.at = hn::IfThenElse(hn::RebindMask(di, better), low.at, high.at);
    }
    store_some(best, y, count);
    if (winner) {
      store_bytes(high.at, winner, count);
      store_some(gelu_slope(high.value), slope, count);
    }
  }
}

template <Activation act>
HWY_INLINE void forward_rows(const ConvBlock& b, const float* image, const float* w, const float* bias, float* rows,
                             float* y, uint8_t* winner, float* slope) {
  const Conv2d& s = b.conv;
  const int64_t columns = b.out_w() * b.pool_w;
  for (int64_t oy = 0; oy < b.out_h(); ++oy) {
    for (int64_t py = 0; py < b.pool_h; ++py) {
      conv_row(s, image, oy * b.pool_h + py, columns, w, bias, rows + py * columns * s.cout);
    }
    for (int64_t ox = 0; ox < b.out_w(); ++ox) {
      const int64_t at = (oy * b.out_w() + ox) * s.cout;
      for (int64_t c = 0; c < s.cout; c += kLanes) {
        pool_window<act>(b, rows + ox * b.pool_w * s.cout + c, columns, std::min(kLanes, s.cout - c), y + at + c,
                         winner ? winner + at + c : nullptr, slope ? slope + at + c : nullptr);
      }
    }
  }
}

// One image without padding. rows: room for pool_h rows of outputs.
void block_forward(const ConvBlock& b, const float* image, const float* w, const float* bias, float* rows, float* y,
                   uint8_t* winner, float* slope) {
  switch (b.activation) {
    case Activation::none: return forward_rows<Activation::none>(b, image, w, bias, rows, y, winner, slope);
    case Activation::relu: return forward_rows<Activation::relu>(b, image, w, bias, rows, y, winner, slope);
    case Activation::gelu: return forward_rows<Activation::gelu>(b, image, w, bias, rows, y, winner, slope);
  }
}

// The events of one window: scaled gradients, and offsets of (channel, position) in a table of patches.
// Dead ones become a zero gradient at position 0.
HWY_INLINE void events_of(const Patch& p, int64_t channels, const float* g, const uint8_t* winner, const float* slope,
                          float* scaled, int32_t* offset) {
  const auto channel = static_cast<int32_t>(p.positions * p.size), size = static_cast<int32_t>(p.size);
  for (int64_t c = 0; c < channels; ++c) {
    const bool dead = winner[c] == kDead;
    scaled[c] = dead ? 0.0f : slope ? g[c] * slope[c] : g[c];
    offset[c] = static_cast<int32_t>(c) * channel + (dead ? 0 : winner[c]) * size;
  }
}

// Calls body.template operator()<N>() with N = vectors of a patch.
template <int N = 1, typename Body>
HWY_INLINE void for_patch_vectors(int64_t vectors, const Body& body) {
  if constexpr (N * kLanes <= kPatchLimit) {
    if (vectors == N) return body.template operator()<N>();
    for_patch_vectors<N + 1>(vectors, body);
  }
}

// dx of one padded image (rows of images_w floats), from embedded filters (cout, positions, size).
void patch_dinput(const ConvBlock& b, const Patch& p, const float* g, const uint8_t* winner, const float* slope,
                  const float* filters, float* scaled, int32_t* offset, float* dx) {
  const Conv2d& s = b.conv;
  const Floats d;
  const hn::CappedTag<float, 4> quarter;
  for_patch_vectors((p.size + kLanes - 1) / kLanes, [&]<int N>() HWY_ATTR {
    HWY_ALIGN float patch[N * kLanes];
    for (int64_t window = 0; window < b.out_h() * b.out_w(); ++window) {
      const int64_t at = window * s.cout;
      events_of(p, s.cout, g + at, winner + at, slope ? slope + at : nullptr, scaled, offset);
      // Four chains of sums hide the latency of the multiply-adds.
      Vec sums[4][N];
      for (auto& chain : sums) {
        for (Vec& v : chain) v = hn::Zero(d);
      }
      int64_t c = 0;
      for (; c + 4 <= s.cout; c += 4) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
          const Vec each = hn::Set(d, scaled[c + k]);
          const float* filter = filters + offset[c + k];
#pragma GCC unroll 16
          for (int v = 0; v < N; ++v) sums[k][v] = hn::MulAdd(each, hn::LoadU(d, filter + v * kLanes), sums[k][v]);
        }
      }
      for (; c < s.cout; ++c) {
        for (int v = 0; v < N; ++v) {
          sums[0][v] = hn::MulAdd(hn::Set(d, scaled[c]), hn::LoadU(d, filters + offset[c] + v * kLanes), sums[0][v]);
        }
      }
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) {
        hn::Store(hn::Add(hn::Add(sums[0][v], sums[1][v]), hn::Add(sums[2][v], sums[3][v])), d, patch + v * kLanes);
      }
      float* corner = dx + window / b.out_w() * b.pool_h * s.stride_h * p.images_w +
                      window % b.out_w() * b.pool_w * s.stride_w * s.cin;
      for (int64_t y = 0; y < p.h; ++y) {
        for (int64_t i = 0; i < p.row; i += static_cast<int64_t>(hn::Lanes(quarter))) {
          float* to = corner + y * p.images_w + i;
          hn::StoreU(hn::Add(hn::LoadU(quarter, to), hn::LoadU(quarter, patch + y * p.row + i)), quarter, to);
        }
      }
    }
  });
}

// Adds the events of one padded image to `table` (cout, positions, size) and to dbias (cout).
void patch_dweight(const ConvBlock& b, const Patch& p, const float* image, const float* g, const uint8_t* winner,
                   const float* slope, float* scaled, int32_t* offset, float* table, float* dbias) {
  const Conv2d& s = b.conv;
  const Floats d;
  const hn::CappedTag<float, 4> quarter;
  for_patch_vectors((p.size + kLanes - 1) / kLanes, [&]<int N>() HWY_ATTR {
    HWY_ALIGN float patch[N * kLanes] = {};
    for (int64_t window = 0; window < b.out_h() * b.out_w(); ++window) {
      const int64_t at = window * s.cout;
      events_of(p, s.cout, g + at, winner + at, slope ? slope + at : nullptr, scaled, offset);
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
      for (int64_t c = 0; c < s.cout; ++c) {
        const Vec each = hn::Set(d, scaled[c]);
        float* to = table + offset[c];
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) {
          hn::StoreU(hn::MulAdd(each, seen[v], hn::LoadU(d, to + v * kLanes)), d, to + v * kLanes);
        }
        dbias[c] += scaled[c];
      }
    }
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

HWY_EXPORT(block_forward);
HWY_EXPORT(patch_dinput);
HWY_EXPORT(patch_dweight);

namespace {

bool few_channels(const Patch& p) { return p.size <= kPatchLimit; }

// Where (channel, position, tap) stands in a table of patches.
int64_t table_index(const ConvBlock& b, const Patch& p, int64_t o, int64_t position, int64_t ky, int64_t kx, int64_t i) {
  const int64_t y = position / b.pool_w * b.conv.stride_h + ky, x = position % b.pool_w * b.conv.stride_w + kx;
  return (o * p.positions + position) * p.size + y * p.row + x * b.conv.cin + i;
}

// body(index of the weight, o, position, ky, kx, i) for each weight at each position.
template <typename Body>
void for_taps(const ConvBlock& b, const Patch& p, const Body& body) {
  const Conv2d& s = b.conv;
  for (int64_t position = 0; position < p.positions; ++position) {
    int64_t weight = 0;
    for (int64_t ky = 0; ky < s.kh; ++ky) {
      for (int64_t kx = 0; kx < s.kw; ++kx) {
        for (int64_t i = 0; i < s.cin; ++i) {
          for (int64_t o = 0; o < s.cout; ++o, ++weight) body(weight, table_index(b, p, o, position, ky, kx, i));
        }
      }
    }
  }
}

// The gradient of the convolution's output: each pooled gradient at its winner, zeros elsewhere.
void scatter(const ConvBlock& b, int64_t n, const float* g, const uint8_t* winner, const float* slope, float* dense) {
  const Conv2d& s = b.conv;
  std::fill_n(dense, output_size(s), 0.0f);
  const int64_t windows = b.out_h() * b.out_w();
  for (int64_t window = 0; window < windows; ++window) {
    const int64_t at = (n * windows + window) * s.cout;
    const int64_t y = window / b.out_w() * b.pool_h, x = window % b.out_w() * b.pool_w;
    for (int64_t o = 0; o < s.cout; ++o) {
      if (winner[at + o] == kDead) continue;
      const int64_t py = winner[at + o] / b.pool_w, px = winner[at + o] % b.pool_w;
      dense[((y + py) * s.out_w() + x + px) * s.cout + o] = slope ? g[at + o] * slope[at + o] : g[at + o];
    }
  }
}

}  // namespace

void CpuBackend::conv_block(const ConvBlock& block, const float* x, const float* w, const float* bias, float* y,
                            uint8_t* winner, float* slope) {
  ConvBlock b = block;
  b.conv = padded(block.conv);
  const int64_t pooled = b.out_h() * b.out_w() * b.conv.cout;
  parallel_for(block.conv.n, [&](int64_t n) {
    const Scratch room(*this, image_size(b.conv) + b.pool_h * b.out_w() * b.pool_w * b.conv.cout);
    const float* image = padded_image(block.conv, x, n, room.data());
    HWY_DYNAMIC_DISPATCH(block_forward)
    (b, image, w, bias, room.data() + image_size(b.conv), y + n * pooled, winner ? winner + n * pooled : nullptr,
     slope ? slope + n * pooled : nullptr);
  });
}

void CpuBackend::conv_block_dinput(const ConvBlock& b, const float* g, const uint8_t* winner, const float* slope,
                                   const float* w, float* dx) {
  const Conv2d& s = b.conv;
  const Patch p = patch_of(b);
  if (!few_channels(p)) {
    const Scratch dense(*this, s.n * output_size(s));
    parallel_for(s.n, [&](int64_t n) { scatter(b, n, g, winner, slope, dense.data() + n * output_size(s)); });
    return conv2d_dinput(s, dense.data(), w, dx);
  }
  const Scratch filters(*this, s.cout * p.positions * p.size);
  std::fill_n(filters.data(), s.cout * p.positions * p.size, 0.0f);
  for_taps(b, p, [&](int64_t weight, int64_t index) { filters.data()[index] = w[weight]; });
  const int64_t pooled = b.out_h() * b.out_w() * s.cout, rows = s.h + 2 * s.pad_h;
  parallel_for(s.n, [&](int64_t n) {
    const Scratch room(*this, rows * p.images_w + 2 * s.cout);
    float* image = room.data();
    float* scaled = image + rows * p.images_w;
    std::fill_n(image, rows * p.images_w, 0.0f);
    HWY_DYNAMIC_DISPATCH(patch_dinput)
    (b, p, g + n * pooled, winner + n * pooled, slope ? slope + n * pooled : nullptr, filters.data(), scaled,
     reinterpret_cast<int32_t*>(scaled + s.cout), image);
    for (int64_t y = 0; y < s.h; ++y) {
      std::copy_n(image + (y + s.pad_h) * p.images_w + s.pad_w * s.cin, s.w * s.cin, dx + (n * s.h + y) * s.w * s.cin);
    }
  });
}

void CpuBackend::conv_block_dweight(const ConvBlock& b, const float* x, const float* g, const uint8_t* winner,
                                    const float* slope, float* dw, float* dbias) {
  const Conv2d& s = b.conv;
  const Patch p = patch_of(b);
  if (!few_channels(p)) {
    const Scratch dense(*this, s.n * output_size(s));
    parallel_for(s.n, [&](int64_t n) { scatter(b, n, g, winner, slope, dense.data() + n * output_size(s)); });
    conv2d_dweight(s, x, dense.data(), dw);
    if (dbias) sum(Dims{2, {s.n * s.out_h() * s.out_w(), s.cout}}, 1u, dense.data(), dbias);
    return;
  }
  const int64_t chunk = chunk_of(s.n), chunks = (s.n + chunk - 1) / chunk;
  const int64_t table = s.cout * p.positions * p.size, pooled = b.out_h() * b.out_w() * s.cout;
  const int64_t rows = s.h + 2 * s.pad_h;
  const Scratch partial(*this, chunks * (table + s.cout));
  parallel_for(chunks, [&](int64_t c) {
    float* sums = partial.data() + c * (table + s.cout);
    std::fill_n(sums, table + s.cout, 0.0f);
    const Scratch room(*this, rows * p.images_w + 2 * s.cout);
    float* image = room.data();
    float* scaled = image + rows * p.images_w;
    std::fill_n(image, rows * p.images_w, 0.0f);
    for (int64_t n = c * chunk; n < std::min(s.n, (c + 1) * chunk); ++n) {
      for (int64_t y = 0; y < s.h; ++y) {
        std::copy_n(x + (n * s.h + y) * s.w * s.cin, s.w * s.cin, image + (y + s.pad_h) * p.images_w + s.pad_w * s.cin);
      }
      HWY_DYNAMIC_DISPATCH(patch_dweight)
      (b, p, image, g + n * pooled, winner + n * pooled, slope ? slope + n * pooled : nullptr, scaled,
       reinterpret_cast<int32_t*>(scaled + s.cout), sums, sums + table);
    }
  });
  std::fill_n(dw, weight_size(s), 0.0f);
  if (dbias) std::fill_n(dbias, s.cout, 0.0f);
  for (int64_t c = 0; c < chunks; ++c) {
    const float* sums = partial.data() + c * (table + s.cout);
    for_taps(b, p, [&](int64_t weight, int64_t index) { dw[weight] += sums[index]; });
    for (int64_t o = 0; dbias && o < s.cout; ++o) dbias[o] += sums[table + o];
  }
}

}  // namespace caltrop
#endif
