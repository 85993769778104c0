// What the convolution kernels share: rows of outputs by register tiles.

#if defined(CALTROP_CONV_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_CONV_INL_H_
#undef CALTROP_CONV_INL_H_
#else
#define CALTROP_CONV_INL_H_
#endif

#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// `depth` rows of V vectors of w (row stride `row`), of which `columns` floats are there, one after the other
// with zeros beyond: filters of many channels lie pages apart, where they fall into the same few lines of the cache.
template <int V>
HWY_INLINE void pack_filters(const float* w, int64_t row, int64_t depth, int64_t columns, float* to) {
  const Floats d;
  const Mask last = hn::FirstN(d, static_cast<size_t>(columns - (V - 1) * kLanes));
  for (int64_t k = 0; k < depth; ++k, w += row, to += V * kLanes) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      hn::StoreU(v + 1 < V ? hn::LoadU(d, w + v * kLanes)
                           : load_first(last, w + v * kLanes, columns - (V - 1) * kLanes),
                 d, to + v * kLanes);
    }
  }
}

// What an epilogue makes of V vectors of sums that already hold its bias; `more`: the residual's, or null. `columns`
// floats are there.
template <int V>
HWY_INLINE void finish_vectors(Vec* sums, Activation activation, const float* more, int64_t columns) {
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    if (more) sums[v] = hn::Add(sums[v], load_some(more + v * kLanes, columns - v * kLanes));
    if (activation == Activation::relu) sums[v] = relu_of(sums[v]);
  }
  if (activation != Activation::gelu) return;
#pragma GCC unroll 1
  for (int v = 0; v < V; ++v) sums[v] = gelu_of(sums[v]);
}

// Rows [oy, oy + rows) by the first `columns` outputs of each of `images` images that need no padding:
// y (images, rows, columns, cout), like the residual. The (kx, channel) run of a window is contiguous in an NHWC image, so each ky is one
// matrix product: positions x run times run x cout. Wide windows are cut into blocks, each of which goes on where the
// one before left off, so that their filters are read from memory once for all positions. room: kFilterRoom floats.
HWY_INLINE void conv_rows(const Conv2d& s, int64_t images, const float* x, int64_t oy, int64_t rows,
                          int64_t columns, const float* w, float* y, const ConvEpilogue& epilogue,
                          float* room) {
  const int64_t run = s.kw * s.cin, row = s.w * s.cin, step = s.stride_w * s.cin;
  const int64_t block_rows = std::max<int64_t>(1, kConvDepth / std::max<int64_t>(1, run));  // of the window
  const int64_t next_row = s.stride_h * row - columns * step;
  const int64_t next_image = s.h * row - rows * s.stride_h * row;
  for_column_panels(s.cout, [&]<int V>(int64_t o, int64_t channels) HWY_ATTR {
    for (int64_t first = 0; first < s.kh; first += block_rows) {
      const int64_t end = std::min(s.kh, first + block_rows);
      for (int64_t k = 0; k < run || k == 0; k += kConvDepth) {  // without channels: the bias alone
        const int64_t depth = std::min(kConvDepth, run - k);
        const bool last = end == s.kh && k + depth >= run;
        const float* filters = w + (first * run + k) * s.cout + o;
        if (s.cout != V * kLanes) {
          for (int64_t ky = first; ky < end; ++ky) {
            pack_filters<V>(w + (ky * run + k) * s.cout + o, s.cout, depth, channels,
                            room + (ky - first) * depth * V * kLanes);
          }
          filters = room;
        }
        int64_t position = (oy * s.stride_h + first) * row + k;
        int64_t ox = 0, r = 0;
        for_row_tiles(images * rows * columns, [&]<int P>(int64_t i) HWY_ATTR {
          Rows<P> a;
          for (int p = 0; p < P; ++p) {
            a.at[p] = x + position;
            position += step;
            if (++ox == columns) {
              ox = 0;
              position += next_row;
              if (++r == rows) {
                r = 0;
                position += next_image;
              }
            }
          }
          float* to = y + i * s.cout + o;
          Sums<P, V> sums;
          if (first > 0 || k > 0) {
            tile_load(sums, to, s.cout, channels);
          } else if (epilogue.bias) {
            tile_load(sums, epilogue.bias + o, 0, channels);
          } else {
            tile_set(sums, 0.0f);
          }
          for (int64_t ky = first; ky < end; ++ky) {
            for (int p = 0; ky > first && p < P; ++p) a.at[p] += row;
            tile_multiply<true>(sums, a, 1, filters + (ky - first) * depth * V * kLanes, V * kLanes, depth,
                                V * kLanes);
          }
          for (int p = 0; last && p < P; ++p) {
            finish_vectors<V>(sums.at[p], epilogue.activation,
                              epilogue.residual ? epilogue.residual + (i + p) * s.cout + o : nullptr,
                              channels);
          }
          tile_store(sums, to, s.cout, channels);
        });
      }
    }
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
