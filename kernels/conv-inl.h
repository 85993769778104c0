// What the convolution kernels share: one row of outputs by register tiles, and padded copies of images.

#if defined(CALTROP_CONV_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_CONV_INL_H_
#undef CALTROP_CONV_INL_H_
#else
#define CALTROP_CONV_INL_H_
#endif

#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// Output row oy of one image that needs no padding: y (columns, cout), columns <= out_w. The (kx, channel)
// run of a window is contiguous in an NHWC image, so each ky is one matrix product: positions x run times run
// x cout.
HWY_INLINE void conv_row(const Conv2d& s, const float* image, int64_t oy, int64_t columns, const float* w,
                         const float* bias, float* y) {
  const int64_t run = s.kw * s.cin, row = s.w * s.cin, step = s.stride_w * s.cin;
  for_column_panels(s.cout, [&]<int V>(int64_t o, int64_t channels) HWY_ATTR {
    const bool whole = channels == V * kLanes;
    for_row_tiles(columns, [&]<int P>(int64_t ox) HWY_ATTR {
      Sums<P, V> sums;
      if (bias) {
        tile_load(sums, bias + o, 0, channels);
      } else {
        tile_set(sums, 0.0f);
      }
      for (int64_t ky = 0; ky < s.kh; ++ky) {
        const float* a = image + (oy * s.stride_h + ky) * row + ox * step;
        const float* b = w + ky * run * s.cout + o;
        if (whole) {
          tile_multiply<true>(sums, a, step, 1, b, s.cout, run, channels);
        } else {
          tile_multiply<false>(sums, a, step, 1, b, s.cout, run, channels);
        }
      }
      tile_store(sums, y + ox * s.cout + o, s.cout, channels);
    });
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
