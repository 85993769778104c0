// The register tile under every matrix product and convolution: P rows by V vectors of sums held in
// registers.
//
//   sum[p][v] += sum_k a[p][k * a_step] * b[k * b_row + v * lanes ...]
//
// Each element is one chain of fused multiply-adds over k in ascending order, whatever the tile it falls in,
// so results depend on neither the batch size nor how the work was cut. Rows of a convolution are output
// positions, rows of a product are rows of a: the same code, told where each row begins.

#if defined(CALTROP_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_TILE_INL_H_
#undef CALTROP_TILE_INL_H_
#else
#define CALTROP_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vec = hn::Vec<Floats>;
using Mask = hn::Mask<Floats>;
inline constexpr int64_t kLanes = HWY_LANES(float);
// AVX-512 and NEON have 32 registers, the others 16; sums, one row of b and a broadcast must fit.
inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 4 : 2;
inline constexpr int64_t kTileColumns = kTileVectors * kLanes;

template <int P, int V>
struct Sums {
  Vec at[P][V];
};

// The first `count` < lanes floats, zeros beyond, and no byte after them touched. `first` is FirstN(count),
// made once outside of the caller's loop. Without instructions for it Highway's MaskedLoad reads a whole
// aligned vector.
HWY_INLINE Vec load_first(Mask first, const float* from, int64_t count) {
  const Floats d;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  (void)count;
  return hn::MaskedLoad(first, d, from);
#else
  (void)first;
  HWY_ALIGN float all[kLanes] = {};
  std::copy_n(from, count, all);
  return hn::Load(d, all);
#endif
}

// Loads `count` <= lanes floats, zeros beyond.
HWY_INLINE Vec load_some(const float* from, int64_t count) {
  const Floats d;
  return count >= kLanes ? hn::LoadU(d, from)
                         : load_first(hn::FirstN(d, static_cast<size_t>(count)), from, count);
}

HWY_INLINE void store_some(Vec v, float* to, int64_t count) {
  const Floats d;
  if (count >= kLanes) {
    hn::StoreU(v, d, to);
  } else {
    hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, to);
  }
}

template <int P, int V>
HWY_INLINE void tile_set(Sums<P, V>& sums, float value) {
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums.at[p][v] = hn::Set(Floats(), value);
  }
}

// Rows of `columns` floats, row stride `row`.
template <int P, int V>
HWY_INLINE void tile_load(Sums<P, V>& sums, const float* from, int64_t row, int64_t columns) {
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums.at[p][v] = load_some(from + p * row + v * kLanes, columns - v * kLanes);
  }
}

template <int P, int V>
HWY_INLINE void tile_store(const Sums<P, V>& sums, float* to, int64_t row, int64_t columns) {
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store_some(sums.at[p][v], to + p * row + v * kLanes, columns - v * kLanes);
  }
}

template <int P, int V>
HWY_INLINE void tile_add(const Sums<P, V>& sums, float* to, int64_t row, int64_t columns) {
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* at = to + p * row + v * kLanes;
      store_some(hn::Add(load_some(at, columns - v * kLanes), sums.at[p][v]), at, columns - v * kLanes);
    }
  }
}

// Where each row of a begins.
template <int P>
struct Rows {
  const float* at[P];

  Rows() = default;
  Rows(const float* first, int64_t distance) {
    for (int p = 0; p < P; ++p) at[p] = first + p * distance;
  }
};

// `Whole`: all V vectors of a row of b are inside the matrix; else the last one holds columns - (V-1) *
// lanes. a_step > 0.
template <bool Whole, int P, int V>
HWY_INLINE void tile_multiply(Sums<P, V>& sums, const Rows<P>& a, int64_t a_step, const float* b,
                              int64_t b_row, int64_t depth, int64_t columns) {
  const Floats d;
  const Mask last = hn::FirstN(d, static_cast<size_t>(columns - (V - 1) * kLanes));
  for (int64_t k = 0; k < depth * a_step; k += a_step) {
    Vec row[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      row[v] = Whole || v + 1 < V ? hn::LoadU(d, b + v * kLanes)
                                  : load_first(last, b + v * kLanes, columns - (V - 1) * kLanes);
    }
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      const Vec each = hn::Set(d, a.at[p][k]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums.at[p][v] = hn::MulAdd(each, row[v], sums.at[p][v]);
    }
    b += b_row;
  }
}

// Calls body.template operator()<P>(first_row) over `rows` rows in tiles of kTileRows, then smaller ones.
template <typename Body>
HWY_INLINE void for_row_tiles(int64_t rows, const Body& body) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows) body.template operator()<kTileRows>(i);
  if (i + 4 <= rows) {
    body.template operator()<4>(i);
    i += 4;
  }
  if (i + 2 <= rows) {
    body.template operator()<2>(i);
    i += 2;
  }
  if (i < rows) body.template operator()<1>(i);
}

// Calls body.template operator()<V>(first_column, columns) over panels of at most kTileColumns columns.
template <typename Body>
HWY_INLINE void for_column_panels(int64_t columns, const Body& body) {
  int64_t j = 0;
  for (; j + kTileColumns <= columns; j += kTileColumns)
    body.template operator()<kTileVectors>(j, kTileColumns);
  const int64_t rest = columns - j;
  if (rest <= 0) return;
  if constexpr (kTileVectors >= 4) {
    if (rest > 3 * kLanes) return body.template operator()<4>(j, rest);
    if (rest > 2 * kLanes) return body.template operator()<3>(j, rest);
  }
  if (rest > kLanes) return body.template operator()<2>(j, rest);
  body.template operator()<1>(j, rest);
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
