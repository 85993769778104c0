// What a row of logits is divided by to become probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace caltrop {

// The largest logit is subtracted first, so that no exponential overflows.
struct Partition {
  double highest, sum;
  double log_probability(float z) const { return (z - highest) - std::log(sum); }
  double probability(float z) const { return std::exp(z - highest) / sum; }
};

inline Partition partition(const float* z, int64_t cols) {
  const double highest = *std::max_element(z, z + cols);
  double sum = 0.0;
  for (int64_t k = 0; k < cols; ++k) sum += std::exp(z[k] - highest);
  return {highest, sum};
}

}  // namespace caltrop
