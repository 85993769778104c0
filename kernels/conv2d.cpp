// 2-D convolution, forward, d-input and d-weight, for any window, stride and padding. One image per task.
//
// Forward is described at conv_rows. D-input is the same convolution with the roles turned round: the
// gradient, spread out by the stride and padded by the window, against the weights turned by 180 degrees with
// their channels exchanged. D-weight is, for each window row ky, the product of the (kx, channel) runs of the
// image with the gradient, summed in registers over the positions and images of a chunk; chunks are added in
// order.

#include "kernels/conv_shape.h"
#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv2d.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/conv-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

void conv_image(const Conv2d& s, const float* image, const float* w, float* y) {
  conv_rows(s, image, 0, s.out_h(), s.out_w(), w, nullptr, y);
}

// dw += over `count` images without padding.
void dweight_chunk(const Conv2d& s, int64_t count, const float* x, const float* g, float* dw) {
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

HWY_EXPORT(conv_image);
HWY_EXPORT(dweight_chunk);

void CpuBackend::conv2d(const Conv2d& s, const float* x, const float* w, float* y) {
  const Conv2d p = padded(s);
  parallel_for(s.n, [&](int64_t n) {
    const Scratch room(*this, has_padding(s) ? image_size(p) : 0);
    HWY_DYNAMIC_DISPATCH(conv_image)(p, padded_image(s, x, n, room.data()), w, y + n * output_size(s));
  });
}

namespace {

// The windows turned by 180 degrees, with their channels exchanged: (kh, kw, cout, cin). A block of columns
// at a time, so that both sides move along lines of the cache.
void turn_weights(const Conv2d& s, const float* w, float* turned) {
  constexpr int64_t kBlock = 16;
  const int64_t taps = s.kh * s.kw, blocks = (s.cout + kBlock - 1) / kBlock;
  parallel_for(taps * blocks, [&](int64_t task) {
    const int64_t tap = task / blocks, begin = task % blocks * kBlock, end = std::min(s.cout, begin + kBlock);
    const float* from = w + (taps - 1 - tap) * s.cin * s.cout;
    float* to = turned + tap * s.cin * s.cout;
    for (int64_t i = 0; i < s.cin; ++i) {
      for (int64_t o = begin; o < end; ++o) to[o * s.cin + i] = from[i * s.cout + o];
    }
  });
}

}  // namespace

void CpuBackend::conv2d_dinput(const Conv2d& s, const float* g, const float* w, float* dx) {
  // The gradient spread out by the stride in a border of zeros, so that its window (y, x) gives pixel (y, x)
  // of dx. Where the padding exceeds the window, gradients that fall outside are of windows that saw padding
  // alone.
  const Conv2d turned{1, s.h + s.kh - 1, s.w + s.kw - 1, s.cout, s.cin, s.kh, s.kw};
  const int64_t top = s.kh - 1 - s.pad_h, left = s.kw - 1 - s.pad_w;
  const Scratch turned_w(*this, weight_size(s));
  turn_weights(s, w, turned_w.data());
  parallel_for(s.n, [&](int64_t n) {
    const Scratch spread(*this, image_size(turned));
    std::fill_n(spread.data(), image_size(turned), 0.0f);
    const float* from = g + n * output_size(s);
    for (int64_t oy = 0; oy < s.out_h(); ++oy) {
      for (int64_t ox = 0; ox < s.out_w(); ++ox, from += s.cout) {
        const int64_t y = oy * s.stride_h + top, x = ox * s.stride_w + left;
        if (y < 0 || y >= turned.h || x < 0 || x >= turned.w) continue;
        std::copy_n(from, s.cout, spread.data() + (y * turned.w + x) * s.cout);
      }
    }
    HWY_DYNAMIC_DISPATCH(conv_image)(turned, spread.data(), turned_w.data(), dx + n * image_size(s));
  });
}

void CpuBackend::conv2d_dweight(const Conv2d& s, const float* x, const float* g, float* dw) {
  const Conv2d p = padded(s);
  const int64_t chunk = chunk_of(s.n), chunks = (s.n + chunk - 1) / chunk, weights = weight_size(s);
  const Scratch partial(*this, chunks * weights);
  parallel_for(chunks, [&](int64_t c) {
    const int64_t begin = c * chunk, count = std::min(chunk, s.n - begin);
    float* sums = partial.data() + c * weights;
    std::fill_n(sums, weights, 0.0f);
    const float* images = x + begin * image_size(s);
    const Scratch room(*this, has_padding(s) ? count * image_size(p) : 0);
    for (int64_t n = 0; has_padding(s) && n < count; ++n)
      padded_image(s, images, n, room.data() + n * image_size(p));
    HWY_DYNAMIC_DISPATCH(dweight_chunk)
    (p, count, has_padding(s) ? room.data() : images, g + begin * output_size(s), sums);
  });
  std::fill_n(dw, weights, 0.0f);
  for (int64_t c = 0; c < chunks; ++c) {
    for (int64_t i = 0; i < weights; ++i) dw[i] += partial.data()[c * weights + i];
  }
}

}  // namespace caltrop
#endif
