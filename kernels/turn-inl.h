// Transposes, four by four in registers.

#if defined(CALTROP_TURN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_TURN_INL_H_
#undef CALTROP_TURN_INL_H_
#else
#define CALTROP_TURN_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// The transpose of `columns` rows of b, `distance` apart: (depth, row), with zeros beyond the last column.
HWY_INLINE void turn_panel(const float* b, int64_t distance, int64_t columns, int64_t depth, int64_t row,
                           float* to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::FixedTag<float, 4> d;
  int64_t j = 0;
  for (; j + 4 <= columns; j += 4, b += 4 * distance) {
    int64_t i = 0;
    for (; i + 4 <= depth; i += 4) {
      const auto r0 = hn::LoadU(d, b + i), r1 = hn::LoadU(d, b + distance + i),
                 r2 = hn::LoadU(d, b + 2 * distance + i), r3 = hn::LoadU(d, b + 3 * distance + i);
      const auto low02 = hn::InterleaveLower(d, r0, r2), low13 = hn::InterleaveLower(d, r1, r3);
      const auto high02 = hn::InterleaveUpper(d, r0, r2), high13 = hn::InterleaveUpper(d, r1, r3);
      float* first = to + i * row + j;
      hn::StoreU(hn::InterleaveLower(d, low02, low13), d, first);
      hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, first + row);
      hn::StoreU(hn::InterleaveLower(d, high02, high13), d, first + 2 * row);
      hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, first + 3 * row);
    }
    for (; i < depth; ++i) {
      for (int64_t q = 0; q < 4; ++q) to[i * row + j + q] = b[q * distance + i];
    }
  }
  for (int64_t i = 0; i < depth; ++i) {
    for (int64_t q = 0; q < columns - j; ++q) to[i * row + j + q] = b[q * distance + i];
    std::fill(to + i * row + columns, to + (i + 1) * row, 0.0f);
  }
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
