// 2-D convolution, forward, d-input and d-weight, for any window, stride and padding.
//
// Forward is described at conv_rows, or at winograd-inl.h for 3x3 windows of many channels. D-input is the same convolution
// with the roles turned round: the gradient, padded by the window, against the weights turned by 180 degrees with their
// channels exchanged; with strides, once for each place of a pixel within the stride (Phase). D-weight is a sum of outer
// products of pixels and gradients: by runs of (kx, channel) where channels are few, tap by tap where they are many, or
// tile by tile.

#include <vector>

#include "kernels/conv_shape.h"
#include "kernels/convolution.h"
#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv2d.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/conv-inl.h"
#include "kernels/outer-inl.h"
#include "kernels/turn-inl.h"
#include "kernels/winograd-inl.h"

#ifndef CALTROP_CONV2D_DWEIGHT_
#define CALTROP_CONV2D_DWEIGHT_
namespace caltrop {

// The outputs of a batch in order, from `index` on.
struct OutputPositions {
  int64_t out_h, out_w, n, oy, ox;
  OutputPositions(const Conv2d& s, int64_t index)
      : out_h(s.out_h()),
        out_w(s.out_w()),
        n(index / (out_h * out_w)),
        oy(index / out_w % out_h),
        ox(index % out_w) {}
  void advance() {
    if (++ox < out_w) return;
    ox = 0;
    if (++oy < out_h) return;
    oy = 0;
    ++n;
  }
};

struct DweightTap {
  int64_t begin, end;  // positions
  int64_t ky, kx, i0, i1;
};

}  // namespace caltrop
#endif

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// `count` columns of one tap's filters (cin,cout), turned into rows.
void turn_tap(const Conv2d& s, const float* w, int64_t count, float* to) {
  turn_panel(w, s.cout, s.cin, count, s.cin, to);
}

// Images without padding. room: kFilterRoom floats.
void conv_images(const Conv2d& s, int64_t images, const float* x, const float* w, float* y,
                 const ConvEpilogue& epilogue, float* room) {
  conv_rows(s, images, x, 0, s.out_h(), s.out_w(), w, y, epilogue, room);
}

// dw += over images [begin, end), of one tap: channels [i0, i1). room: outer_room(s.cout) floats.
void dweight_tap(const Conv2d& s, const DweightTap& t, const float* x, const float* g, const float* zeros,
                 float* dw, float* room) {
  OutputPositions position(s, t.begin);
  for (int64_t first = t.begin; first < t.end; first += kOuterDepth) {
    const int64_t depth = std::min(kOuterDepth, t.end - first);
    const float* at[kOuterDepth];
    for (int64_t k = 0; k < depth; ++k, position.advance()) {
      const int64_t y = position.oy * s.stride_h - s.pad_h + t.ky,
                    ix = position.ox * s.stride_w - s.pad_w + t.kx;
      const bool inside = y >= 0 && y < s.h && ix >= 0 && ix < s.w;
      at[k] = inside ? x + ((position.n * s.h + y) * s.w + ix) * s.cin : zeros;
    }
    OuterPanels(g + first * s.cout, s.cout, depth, room)
        .add(at, t.i0, t.i1 - t.i0, dw + ((t.ky * s.kw + t.kx) * s.cin + t.i0) * s.cout);
  }
}

// dw += over `count` images without padding, of few channels: the (kx, channel) runs of their windows are short, and read
// where they lie.
void dweight_runs(const Conv2d& s, int64_t count, const float* x, const float* g, float* dw) {
  const int64_t run = s.kw * s.cin, row = s.w * s.cin, step = s.stride_w * s.cin;
  for_column_panels(s.cout, [&]<int V>(int64_t o, int64_t channels) HWY_ATTR {
    const bool whole = channels == V * kLanes;
    for (int64_t ky = 0; ky < s.kh; ++ky) {
      for_row_tiles(run, [&]<int P>(int64_t r) HWY_ATTR {
        float* to = dw + (ky * run + r) * s.cout + o;
        Sums<P, V> sums;
        tile_load(sums, to, s.cout, channels);
        for (int64_t n = 0; n < count; ++n) {
          for (int64_t oy = 0; oy < s.out_h(); ++oy) {
            const float* a = x + n * image_size(s) + (oy * s.stride_h + ky) * row + r;
            const float* b = g + n * output_size(s) + oy * s.out_w() * s.cout + o;
            if (whole) {
              tile_multiply<true>(sums, Rows<P>(a, 1), step, b, s.cout, s.out_w(), channels);
            } else {
              tile_multiply<false>(sums, Rows<P>(a, 1), step, b, s.cout, s.out_w(), channels);
            }
          }
        }
        tile_store(sums, to, s.cout, channels);
      });
    }
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

HWY_EXPORT(turn_tap);
HWY_EXPORT(conv_images);
HWY_EXPORT(winograd_filters);
HWY_EXPORT(winograd_images);
HWY_EXPORT(winograd_transform);
HWY_EXPORT(winograd_sums);
HWY_EXPORT(winograd_finish_dweight);
HWY_EXPORT(dweight_tap);
HWY_EXPORT(dweight_runs);

namespace {
bool winograd_allowed = true;
bool takes_winograd(const Conv2d& s) {
  return winograd_allowed && winograd_suits(s);
}
}  // namespace

void set_cpu_winograd(bool allowed) {
  winograd_allowed = allowed;
}

Convolution::Convolution(CpuBackend& backend, const Conv2d& shape, const float* w)
    : backend_(backend),
      shape_(shape),
      w_(w),
      winograd_(takes_winograd(shape)),
      together_(images_together(shape)),
      filters_(backend, winograd_ ? winograd_filters_size(shape) : 0) {
  if (!winograd_) return;
  parallel_ranges(shape.cin, 16, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(winograd_filters)(shape, w, begin, end, filters_.data());
  });
}

void Convolution::run(int64_t count, const float* x, float* y, const ConvEpilogue& epilogue) const {
  if (winograd_) {
    const Scratch room(backend_, winograd_room(shape_));
    return HWY_DYNAMIC_DISPATCH(winograd_images)(shape_, count, x, filters_.data(), y, epilogue, room.data());
  }
  const Conv2d p = padded(shape_);
  const int64_t padding = has_padding(shape_) ? image_size(p) : 0;
  const Scratch room(backend_, kFilterRoom + count * padding);
  float* images = room.data() + kFilterRoom;
  for (int64_t n = 0; padding > 0 && n < count; ++n) padded_image(shape_, x, n, images + n * padding);
  HWY_DYNAMIC_DISPATCH(conv_images)(p, count, padding > 0 ? images : x, w_, y, epilogue, room.data());
}

void CpuBackend::conv2d(const Conv2d& s, const float* x, const float* w, float* y,
                        const ConvEpilogue& epilogue) {
  const Convolution convolution(*this, s, w);
  parallel_ranges(s.n, convolution.together(), [&](int64_t begin, int64_t end) {
    ConvEpilogue here = epilogue;
    if (here.residual) here.residual += begin * output_size(s);
    convolution.run(end - begin, x + begin * image_size(s), y + begin * output_size(s), here);
  });
}

namespace {

// d-weight in the place of the transforms (winograd-inl.h): dU = sum over tiles of (B' d B)' (A g A'), dw = G' dU G.
//
// Of few channels: a task takes a part of the batch through all of it, a few images at a time, so that a core reads what it
// wrote from its own cache. The parts are added in their order.
void winograd_dweight_by_images(CpuBackend& backend, const Conv2d& s, const float* x, const float* g,
                                float* dw) {
  constexpr int64_t kGroupFloats = 128 << 10;
  const WinogradTiles t(s);
  const int64_t tiles = t.rows * t.columns, both = s.cin + s.cout, product = s.cin * s.cout,
                sums = 16 * product;
  const int64_t chunk = chunk_of(s.n), chunks = std::max<int64_t>(1, (s.n + chunk - 1) / chunk);
  const int64_t group = std::clamp<int64_t>(kGroupFloats / (16 * tiles * both), 1, chunk);
  const Scratch parts(backend, chunks * sums);
  const std::vector<float> zeros(static_cast<size_t>(s.cin), 0.0f);
  parallel_for(chunks, [&](int64_t c) {
    float* to = parts.data() + c * sums;
    std::fill_n(to, sums, 0.0f);
    const Scratch room(backend, 16 * group * tiles * both + outer_room(s.cout));
    float *pixels = room.data(), *gradients = pixels + 16 * group * tiles * s.cin,
          *packed = gradients + 16 * group * tiles * s.cout;
    const int64_t end = std::min(s.n, (c + 1) * chunk);
    for (int64_t begin = c * chunk; begin < end; begin += group) {
      const int64_t count = std::min(group, end - begin), all = count * tiles;
      for (int64_t n = 0; n < count; ++n) {
        HWY_DYNAMIC_DISPATCH(winograd_transform)
        (s, x + (begin + n) * image_size(s), g + (begin + n) * output_size(s), zeros.data(), n * tiles, all,
         pixels, gradients);
      }
      for (int64_t place = 0; place < 16; ++place) {
        HWY_DYNAMIC_DISPATCH(winograd_sums)
        (s, all, 0, s.cin, pixels + place * all * s.cin, gradients + place * all * s.cout,
         to + place * product, packed);
      }
    }
  });
  parallel_ranges(sums, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t c = 1; c < chunks; ++c) {
      for (int64_t i = begin; i < end; ++i) parts.data()[i] += parts.data()[c * sums + i];
    }
  });
  parallel_ranges(s.cin, 16, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(winograd_finish_dweight)(s, parts.data(), begin, end, dw);
  });
}

// Of many: images are transformed, then summed place by place, a group that the caches hold at a time.
void winograd_dweight_by_places(CpuBackend& backend, const Conv2d& s, const float* x, const float* g,
                                float* dw) {
  constexpr int64_t kGroupFloats = 4 << 20, kRows = 96;
  const WinogradTiles t(s);
  const int64_t tiles = t.rows * t.columns, both = s.cin + s.cout, product = s.cin * s.cout;
  const int64_t group = std::clamp<int64_t>(kGroupFloats / (16 * tiles * both), 1, std::max<int64_t>(1, s.n));
  const Scratch room(backend, 16 * group * tiles * both + 16 * product);
  float *pixels = room.data(), *gradients = pixels + 16 * group * tiles * s.cin,
        *sums = gradients + 16 * group * tiles * s.cout;
  parallel_for(16, [&](int64_t place) { std::fill_n(sums + place * product, product, 0.0f); });
  const std::vector<float> zeros(static_cast<size_t>(s.cin), 0.0f);
  const int64_t blocks = (s.cin + kRows - 1) / kRows;
  for (int64_t begin = 0; begin < s.n; begin += group) {
    const int64_t count = std::min(group, s.n - begin);
    parallel_for(count, [&](int64_t n) {
      HWY_DYNAMIC_DISPATCH(winograd_transform)
      (s, x + (begin + n) * image_size(s), g + (begin + n) * output_size(s), zeros.data(), n * tiles,
       count * tiles, pixels, gradients);
    });
    parallel_for(16 * blocks, [&](int64_t task) {
      const int64_t place = task / blocks, row = task % blocks * kRows;
      const Scratch packed(backend, outer_room(s.cout));
      HWY_DYNAMIC_DISPATCH(winograd_sums)
      (s, count * tiles, row, std::min(s.cin, row + kRows), pixels + place * count * tiles * s.cin,
       gradients + place * count * tiles * s.cout, sums + place * product, packed.data());
    });
  }
  parallel_ranges(s.cin, 16, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(winograd_finish_dweight)(s, sums, begin, end, dw);
  });
}

// The windows turned by 180 degrees, with their channels exchanged: (kh, kw, cout, cin).
void turn_weights(const Conv2d& s, const float* w, float* turned) {
  constexpr int64_t kBlock = 16;
  const int64_t taps = s.kh * s.kw, blocks = (s.cout + kBlock - 1) / kBlock, tap_size = s.cin * s.cout;
  parallel_for(taps * blocks, [&](int64_t task) {
    const int64_t tap = task / blocks, o = task % blocks * kBlock;
    HWY_DYNAMIC_DISPATCH(turn_tap)
    (s, w + (taps - 1 - tap) * tap_size + o, std::min(kBlock, s.cout - o),
     turned + tap * tap_size + o * s.cin);
  });
}

// The gradient for the pixels whose windows begin at one place within the stride: a convolution without stride of the
// output's gradient, by the taps that meet those pixels.
struct Phase {
  int64_t first, count;  // pixels first, first + stride, ... along one axis
  int64_t tap, taps;     // tap, tap + stride, ... meet them
  int64_t begin;  // place in the gradient that the last tap of the first pixel reads; may lie before its edge

  Phase(int64_t phase, int64_t stride, int64_t pixels, int64_t pad, int64_t window)
      : first(phase),
        count((pixels - phase + stride - 1) / stride),
        tap((phase + pad) % stride),
        taps(tap < window ? (window - tap + stride - 1) / stride : 0),
        begin((phase + pad) / stride - (taps - 1)) {}
};

// The taps of a phase, turned by 180 degrees: (taps_y, taps_x, cout, cin) out of turned (kh,kw,cout,cin).
void phase_weights(const Conv2d& s, const Phase& py, const Phase& px, const float* turned, float* to) {
  const int64_t tap = s.cin * s.cout;
  for (int64_t y = 0; y < py.taps; ++y) {
    for (int64_t x = 0; x < px.taps; ++x, to += tap) {
      const int64_t ky = py.tap + (py.taps - 1 - y) * s.stride_h,
                    kx = px.tap + (px.taps - 1 - x) * s.stride_w;
      std::copy_n(turned + ((s.kh - 1 - ky) * s.kw + s.kw - 1 - kx) * tap, tap, to);
    }
  }
}

}  // namespace

void CpuBackend::conv2d_dinput(const Conv2d& s, const float* g, const float* w, float* dx) {
  const Scratch turned(*this, weight_size(s));
  turn_weights(s, w, turned.data());
  const int64_t top = s.kh - 1 - s.pad_h, left = s.kw - 1 - s.pad_w;
  if (s.stride_h == 1 && s.stride_w == 1 && top >= 0 && left >= 0) {
    return conv2d({s.n, s.out_h(), s.out_w(), s.cout, s.cin, s.kh, s.kw, 1, 1, top, left}, g, turned.data(),
                  dx, {});
  }
  // Between windows that lie apart are pixels that meet none.
  if (s.kh < s.stride_h || s.kw < s.stride_w) std::fill_n(dx, s.n * image_size(s), 0.0f);
  const Scratch taps(*this, weight_size(s));
  for (int64_t phase = 0; phase < s.stride_h * s.stride_w; ++phase) {
    const Phase py(phase / s.stride_w, s.stride_h, s.h, s.pad_h, s.kh),
        px(phase % s.stride_w, s.stride_w, s.w, s.pad_w, s.kw);
    if (py.count <= 0 || px.count <= 0 || py.taps == 0 || px.taps == 0) continue;
    phase_weights(s, py, px, turned.data(), taps.data());
    const Conv2d part{1, py.count + py.taps - 1, px.count + px.taps - 1, s.cout, s.cin, py.taps, px.taps};
    const Convolution convolution(*this, part, taps.data());
    // What the gradient has of a row of `part`.
    const int64_t x0 = std::max<int64_t>(0, -px.begin), x1 = std::min(part.w, s.out_w() - px.begin);
    parallel_ranges(s.n, convolution.together(), [&](int64_t begin, int64_t end) {
      const int64_t count = end - begin, spread = count * image_size(part);
      const Scratch room(*this, spread + count * output_size(part));
      float *images = room.data(), *results = images + spread;
      std::fill_n(images, spread, 0.0f);
      for (int64_t row = 0; row < count * part.h; ++row) {
        const int64_t n = begin + row / part.h, oy = py.begin + row % part.h;
        if (oy < 0 || oy >= s.out_h() || x0 >= x1) continue;
        std::copy_n(g + n * output_size(s) + (oy * s.out_w() + px.begin + x0) * s.cout, (x1 - x0) * s.cout,
                    images + (row * part.w + x0) * s.cout);
      }
      convolution.run(count, images, results, {});
      for (int64_t row = 0; row < count * py.count; ++row) {
        const int64_t n = begin + row / py.count, y = py.first + row % py.count * s.stride_h;
        float* to = dx + n * image_size(s) + (y * s.w + px.first) * s.cin;
        for (int64_t x = 0; x < px.count; ++x, results += s.cin, to += s.stride_w * s.cin)
          std::copy_n(results, s.cin, to);
      }
    });
  }
}

void CpuBackend::conv2d_dweight(const Conv2d& s, const float* x, const float* g, float* dw) {
  if (takes_winograd(s)) {
    // Sums for each part of the batch, where a core's cache has room for them.
    constexpr int64_t kFewWeights = 64 * 64;
    return s.cin * s.cout <= kFewWeights ? winograd_dweight_by_images(*this, s, x, g, dw)
                                         : winograd_dweight_by_places(*this, s, x, g, dw);
  }
  // Many weights are divided among tasks, few are summed over parts of the batch.
  constexpr int64_t kFew = 32, kRows = 96, kMany = 64 * 1024;
  const int64_t weights = weight_size(s), positions = s.out_h() * s.out_w();
  const int64_t chunk = weights > kMany ? std::max<int64_t>(1, s.n) : chunk_of(s.n);
  const int64_t chunks = (s.n + chunk - 1) / chunk;
  const bool runs = s.cin < kFew && weights <= kMany;
  const int64_t blocks = (s.cin + kRows - 1) / kRows, tasks = runs ? 1 : s.kh * s.kw * blocks;
  const Conv2d p = padded(s);
  const int64_t padding = has_padding(s) ? image_size(p) : 0;
  const Scratch partial(*this, chunks * weights);
  std::fill_n(partial.data(), chunks * weights, 0.0f);
  const std::vector<float> zeros(static_cast<size_t>(s.cin), 0.0f);
  parallel_for(chunks * tasks, [&](int64_t t) {
    const int64_t c = t / tasks, task = t % tasks, tap = task / blocks, i0 = task % blocks * kRows;
    const int64_t begin = c * chunk, end = std::min(s.n, begin + chunk);
    float* sums = partial.data() + c * weights;
    if (runs) {
      const float* images = x + begin * image_size(s);
      const Scratch room(*this, (end - begin) * padding);
      for (int64_t n = 0; padding > 0 && n < end - begin; ++n)
        padded_image(s, images, n, room.data() + n * padding);
      return HWY_DYNAMIC_DISPATCH(dweight_runs)(p, end - begin, padding > 0 ? room.data() : images,
                                                g + begin * output_size(s), sums);
    }
    const Scratch room(*this, outer_room(s.cout));
    HWY_DYNAMIC_DISPATCH(dweight_tap)
    (s, {begin * positions, end * positions, tap / s.kw, tap % s.kw, i0, std::min(s.cin, i0 + kRows)}, x, g,
     zeros.data(), sums, room.data());
  });
  parallel_ranges(weights, 4096, [&](int64_t begin, int64_t end) {
    std::fill(dw + begin, dw + end, 0.0f);
    for (int64_t c = 0; c < chunks; ++c) {
      for (int64_t i = begin; i < end; ++i) dw[i] += partial.data()[c * weights + i];
    }
  });
}

}  // namespace caltrop
#endif
