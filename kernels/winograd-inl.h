// The minimal filtering algorithm F(2x2, 3x3) (Winograd 1980; Lavin & Gray 2016): 16 products for the 36 of a tile of
// 2x2 outputs. With B, G and A below, y = A' [ (G w G') . (B' d B) ] A for a tile d of 4x4 pixels; summed over channels the
// middle is one matrix product for each of 16 places. All three transforms add and subtract, and halve exactly.
//
//   B' = 1  0 -1  0    G = 1    0   0    A' = 1 1  1  0
//        0  1  1  0        1/2  1/2 1/2       0 1 -1 -1
//        0 -1  1  0        1/2 -1/2 1/2
//        0  1  0 -1        0    0   1

#if defined(CALTROP_WINOGRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_WINOGRAD_INL_H_
#undef CALTROP_WINOGRAD_INL_H_
#else
#define CALTROP_WINOGRAD_INL_H_
#endif

#include "kernels/outer-inl.h"
#include "kernels/winograd.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// The four sums of one row or column.
struct Four {
  Vec at[4];
};
HWY_INLINE Four b_of(Vec a, Vec b, Vec c, Vec d) {
  return {{hn::Sub(a, c), hn::Add(b, c), hn::Sub(c, b), hn::Sub(b, d)}};
}
HWY_INLINE Four g_of(Vec a, Vec b, Vec c) {
  const Vec half = hn::Set(Floats(), 0.5f), outer = hn::Add(a, c);
  return {{a, hn::Mul(half, hn::Add(outer, b)), hn::Mul(half, hn::Sub(outer, b)), c}};
}

// Rows [begin, end) of channels of w (3,3,cin,cout), transformed, into `to`: for each place the panels of
// for_column_panels, each (cin, its width).
void winograd_filters(const Conv2d& s, const float* w, int64_t begin, int64_t end, float* to) {
  const int64_t tap = s.cin * s.cout, place = s.cin * whole_vectors(s.cout);
  for_column_panels(s.cout, [&]<int V>(int64_t o, int64_t columns) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      for (int v = 0; v < V; ++v) {
        const float* from = w + i * s.cout + o + v * kLanes;
        Four rows[3];
        for (int ky = 0; ky < 3; ++ky) {
          const auto load = [&](int kx) HWY_ATTR {
            return load_some(from + (ky * 3 + kx) * tap, columns - v * kLanes);
          };
          rows[ky] = g_of(load(0), load(1), load(2));
        }
        for (int x = 0; x < 4; ++x) {
          const Four column = g_of(rows[0].at[x], rows[1].at[x], rows[2].at[x]);
          for (int y = 0; y < 4; ++y) {
            hn::StoreU(column.at[y], Floats(),
                       to + (y * 4 + x) * place + o * s.cin + i * V * kLanes + v * kLanes);
          }
        }
      }
    }
  });
}

// B' d B of one tile: `pixels` points to the channels of its 16 pixels.
HWY_INLINE void transform_tile(const float* const* pixels, int64_t channels, float* to, int64_t place) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Four columns[4];
    for (int x = 0; x < 4; ++x) {
      const auto load = [&](int y) HWY_ATTR {
        return load_some(pixels[y * 4 + x] + c, channels - c);
      };
      columns[x] = b_of(load(0), load(1), load(2), load(3));
    }
    for (int y = 0; y < 4; ++y) {
      const Four row = b_of(columns[0].at[y], columns[1].at[y], columns[2].at[y], columns[3].at[y]);
      for (int x = 0; x < 4; ++x) store_some(row.at[x], to + (y * 4 + x) * place + c, channels - c);
    }
  }
}

// A' m A of one tile of sums and what the epilogue makes of it, into those of its four outputs that exist (the others
// null); `y` is where the residual's first element goes.
HWY_INLINE void finish_tile(const float* from, int64_t place, int64_t channels, const ConvEpilogue& epilogue,
                            const float* y, float* const* outputs) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t count = channels - c;
    Vec upper[4], lower[4];
    for (int x = 0; x < 4; ++x) {
      const auto load = [&](int y) HWY_ATTR {
        return load_some(from + (y * 4 + x) * place + c, count);
      };
      const Vec middle = load(1), next = load(2);
      upper[x] = hn::Add(hn::Add(load(0), middle), next);
      lower[x] = hn::Sub(hn::Sub(middle, next), load(3));
    }
    const Vec start = epilogue.bias ? load_some(epilogue.bias + c, count) : hn::Zero(Floats());
    const auto left = [](const Vec* row) HWY_ATTR {
      return hn::Add(hn::Add(row[0], row[1]), row[2]);
    };
    const auto right = [](const Vec* row) HWY_ATTR {
      return hn::Sub(hn::Sub(row[1], row[2]), row[3]);
    };
    const Vec all[4] = {left(upper), right(upper), left(lower), right(lower)};
    for (int p = 0; p < 4; ++p) {
      if (!outputs[p]) continue;
      Vec sum = hn::Add(all[p], start);
      finish_vectors<1>(&sum, epilogue.activation,
                        epilogue.residual ? epilogue.residual + (outputs[p] - y) + c : nullptr, count);
      store_some(sum, outputs[p] + c, count);
    }
  }
}

// (tiles, cin) times (cin, cout) for each place.
HWY_INLINE void multiply_tiles(const Conv2d& s, int64_t tiles, const float* x, const float* w, float* y) {
  const int64_t place = s.cin * whole_vectors(s.cout);
  for (int p = 0; p < 16; ++p) {
    for_column_panels(s.cout, [&]<int V>(int64_t o, int64_t columns) HWY_ATTR {
      const float* panel = w + p * place + o * s.cin;
      for (int64_t k = 0; k < s.cin; k += kConvDepth) {
        const int64_t depth = std::min(kConvDepth, s.cin - k);
        for_row_tiles(tiles, [&]<int P>(int64_t i) HWY_ATTR {
          float* to = y + (p * tiles + i) * s.cout + o;
          Sums<P, V> sums;
          if (k > 0) {
            tile_load(sums, to, s.cout, columns);
          } else {
            tile_set(sums, 0.0f);
          }
          tile_multiply<true>(sums, Rows<P>(x + (p * tiles + i) * s.cin + k, s.cin), 1,
                              panel + k * V * kLanes, V * kLanes, depth, V * kLanes);
          tile_store(sums, to, s.cout, columns);
        });
      }
    });
  }
}

// The 16 pixels of a tile; `zeros` stands for those outside of the image.
HWY_INLINE void tile_pixels(const Conv2d& s, const float* image, const WinogradTiles::Place& at,
                            const float* zeros, const float** pixels) {
  for (int64_t p = 0; p < 16; ++p) {
    const int64_t iy = at.y - s.pad_h + p / 4, ix = at.x - s.pad_w + p % 4;
    const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
    pixels[p] = inside ? image + (iy * s.w + ix) * s.cin : zeros;
  }
}

// The four outputs of a tile in y or its gradient, (out_h,out_w,cout); null where there is none.
template <typename Float>
HWY_INLINE void tile_outputs(const Conv2d& s, Float* image, const WinogradTiles::Place& at, Float** outputs) {
  for (int64_t p = 0; p < 4; ++p) {
    const int64_t oy = at.y + p / 2, ox = at.x + p % 2;
    outputs[p] = oy < s.out_h() && ox < s.out_w() ? image + (oy * s.out_w() + ox) * s.cout : nullptr;
  }
}

// y of `images` whole images. room: winograd_room(s) floats.
void winograd_images(const Conv2d& s, int64_t images, const float* x, const float* filters, float* y,
                     const ConvEpilogue& epilogue, float* room) {
  const WinogradTiles t(s);
  const int64_t all = images * t.rows * t.columns, step = t.step(all);
  float* zeros = room;
  float* pixels = zeros + whole_vectors(s.cin);
  float* sums = pixels + 16 * step * s.cin;
  std::fill_n(zeros, s.cin, 0.0f);
  for (int64_t begin = 0; begin < all; begin += step) {
    const int64_t tiles = std::min(step, all - begin);
    for (int64_t i = 0; i < tiles; ++i) {
      const WinogradTiles::Place at = t.place(begin + i);
      const float* from[16];
      tile_pixels(s, x + at.image * image_size(s), at, zeros, from);
      transform_tile(from, s.cin, pixels + i * s.cin, tiles * s.cin);
    }
    multiply_tiles(s, tiles, pixels, filters, sums);
    for (int64_t i = 0; i < tiles; ++i) {
      const WinogradTiles::Place at = t.place(begin + i);
      float* to[4];
      tile_outputs(s, y + at.image * output_size(s), at, to);
      finish_tile(sums + i * s.cout, tiles * s.cout, s.cout, epilogue, y, to);
    }
  }
}

// A g A' of one tile of the output's gradient; outputs that do not exist are null.
HWY_INLINE void spread_tile(const float* const* outputs, int64_t channels, float* to, int64_t place) {
  const Vec zero = hn::Zero(Floats());
  for (int64_t c = 0; c < channels; c += kLanes) {
    const auto spread = [&](Vec a, Vec b) HWY_ATTR {
      return Four{{a, hn::Add(a, b), hn::Sub(a, b), hn::Sub(zero, b)}};
    };
    const auto load = [&](int p) HWY_ATTR {
      return outputs[p] ? load_some(outputs[p] + c, channels - c) : zero;
    };
    const Four upper = spread(load(0), load(1)), lower = spread(load(2), load(3));
    for (int x = 0; x < 4; ++x) {
      const Four column = spread(upper.at[x], lower.at[x]);
      for (int y = 0; y < 4; ++y) store_some(column.at[y], to + (y * 4 + x) * place + c, channels - c);
    }
  }
}

// Tiles first, ... of the `all` of a group, out of one image and its gradient. zeros: s.cin of them.
void winograd_transform(const Conv2d& s, const float* image, const float* g, const float* zeros,
                        int64_t first, int64_t all, float* pixels, float* gradients) {
  const WinogradTiles t(s);
  for (int64_t i = 0; i < t.rows * t.columns; ++i) {
    const WinogradTiles::Place at = t.place(i);
    const float* from[16];
    tile_pixels(s, image, at, zeros, from);
    transform_tile(from, s.cin, pixels + (first + i) * s.cin, all * s.cin);
    const float* outputs[4];
    tile_outputs(s, g, at, outputs);
    spread_tile(outputs, s.cout, gradients + (first + i) * s.cout, all * s.cout);
  }
}

// sums (cin,cout) of one place += over `tiles`, rows [begin, end). room: outer_room(s.cout) floats.
void winograd_sums(const Conv2d& s, int64_t tiles, int64_t begin, int64_t end, const float* pixels,
                   const float* gradients, float* sums, float* room) {
  for (int64_t first = 0; first < tiles; first += kOuterDepth) {
    const int64_t depth = std::min(kOuterDepth, tiles - first);
    const float* at[kOuterDepth];
    for (int64_t k = 0; k < depth; ++k) at[k] = pixels + (first + k) * s.cin;
    OuterPanels(gradients + first * s.cout, s.cout, depth, room)
        .add(at, begin, end - begin, sums + begin * s.cout);
  }
}

// dw = G' dU G for channels [begin, end).
void winograd_finish_dweight(const Conv2d& s, const float* sums, int64_t begin, int64_t end, float* dw) {
  const int64_t place = s.cin * s.cout;
  const Vec half = hn::Set(Floats(), 0.5f);
  struct Three {
    Vec at[3];
  };
  const auto back = [&](Vec a, Vec b, Vec c, Vec d) HWY_ATTR {
    const Vec outer = hn::Mul(half, hn::Add(b, c));
    return Three{{hn::Add(a, outer), hn::Mul(half, hn::Sub(b, c)), hn::Add(outer, d)}};
  };
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t o = 0; o < s.cout; o += kLanes) {
      const int64_t at = i * s.cout + o, count = s.cout - o;
      Three columns[4];
      for (int x = 0; x < 4; ++x) {
        const auto load = [&](int y) HWY_ATTR {
          return load_some(sums + (y * 4 + x) * place + at, count);
        };
        columns[x] = back(load(0), load(1), load(2), load(3));
      }
      for (int ky = 0; ky < 3; ++ky) {
        const Three row = back(columns[0].at[ky], columns[1].at[ky], columns[2].at[ky], columns[3].at[ky]);
        for (int kx = 0; kx < 3; ++kx) store_some(row.at[kx], dw + (ky * 3 + kx) * place + at, count);
      }
    }
  }
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
