// Sums of outer products, which weight gradients are: to[r][o] += sum_k a[k][r] * b[k][o], kOuterDepth terms at a time in
// ascending order. Each such part is summed on its own before it is added, so that the rounding of a long sum grows with
// its parts. Both sides are packed, b for all rows and a for all columns, so that each is read along lines of the cache.

#if defined(CALTROP_OUTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_OUTER_INL_H_
#undef CALTROP_OUTER_INL_H_
#else
#define CALTROP_OUTER_INL_H_
#endif

#include "kernels/conv-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// `depth` <= kOuterDepth rows of b (depth, columns), packed into `room` (outer_room(columns) floats).
class OuterPanels {
 public:
  HWY_INLINE OuterPanels(const float* b, int64_t columns, int64_t depth, float* room)
      : columns_(columns), depth_(depth), b_(room), a_(room + kOuterDepth * whole_vectors(columns)) {
    for_column_panels(columns, [&]<int V>(int64_t o, int64_t width) HWY_ATTR {
      pack_filters<V>(b + o, columns, depth, width, b_ + o * kOuterDepth);
    });
  }

  // to (rows, columns) += the sum over k of a[k][offset ... offset + rows) times row k of b.
  HWY_INLINE void add(const float* const* a, int64_t offset, int64_t rows, float* to) const {
    for_row_tiles(rows, [&]<int P>(int64_t r) HWY_ATTR {
      if (kLanes >= P && r + kLanes <= rows) {
        // Whole vectors, of which the next row overwrites what is too much.
        for (int64_t k = 0; k < depth_; ++k)
          hn::StoreU(hn::LoadU(Floats(), a[k] + offset + r), Floats(), a_ + k * P);
      } else {
        for (int64_t k = 0; k < depth_; ++k) std::copy_n(a[k] + offset + r, P, a_ + k * P);
      }
      for_column_panels(columns_, [&]<int V>(int64_t o, int64_t width) HWY_ATTR {
        Sums<P, V> sums;
        tile_set(sums, 0.0f);
        tile_multiply<true>(sums, Rows<P>(a_, 1), P, b_ + o * kOuterDepth, V * kLanes, depth_, V * kLanes);
        tile_add(sums, to + r * columns_ + o, columns_, width);
      });
    });
  }

 private:
  int64_t columns_, depth_;
  float *b_, *a_;
};

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
