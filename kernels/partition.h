// Rows of logits: the largest, and what they are divided by to become probabilities.
#pragma once

#include <cmath>
#include <cstdint>

namespace caltrop {

// The position of the first maximum, by the rule of backend.h.
inline int64_t first_maximum(const float* z, int64_t cols) {
  int64_t best = 0;
  for (int64_t k = 1; k < cols; ++k) {
    if (z[k] > z[best] || (std::isnan(z[k]) && !std::isnan(z[best]))) best = k;
  }
  return best;
}

// The largest logit is subtracted first, so that no exponential overflows.
struct Partition {
  double highest, sum;
  double log_probability(float z) const { return (z - highest) - std::log(sum); }
  double probability(float z) const { return std::exp(z - highest) / sum; }
};

inline Partition partition(const float* z, int64_t cols) {
  const double highest = z[first_maximum(z, cols)];
  double sum = 0.0;
  for (int64_t k = 0; k < cols; ++k) sum += std::exp(z[k] - highest);
  return {highest, sum};
}

}  // namespace caltrop
