// How far results lie apart, where one that is no number must fail.
#pragma once

#include <cmath>
#include <limits>
#include <span>

namespace caltrop::test {

// The largest |a - b|; infinity where the lengths differ or a value is NaN, which std::max would pass over.
inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (a.size() != b.size()) return infinity;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (std::isnan(difference)) return infinity;
    if (difference > largest) largest = difference;
  }
  return largest;
}

}  // namespace caltrop::test
