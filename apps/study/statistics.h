// Numbers over seeds.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace caltrop {

struct MeanAndDeviation {
  double mean = 0;
  std::optional<double> deviation = {};  // of a sample: n - 1 in the denominator; of one value there is none
  size_t n = 0;

  // Half the width of the mean's interval at `confidence` (Student's t); of one value none is known.
  std::optional<double> half_width(double confidence = 0.95) const;
};
MeanAndDeviation over_seeds(const std::vector<double>& values);

}  // namespace caltrop
