#include "apps/study/statistics.h"

#include <boost/math/distributions/students_t.hpp>
#include <cmath>

namespace caltrop {

std::optional<double> MeanAndDeviation::half_width(double confidence) const {
  if (!deviation) return std::nullopt;
  const auto count = static_cast<double>(n);
  const boost::math::students_t t(count - 1);
  return boost::math::quantile(t, (1 + confidence) / 2) * *deviation / std::sqrt(count);
}

MeanAndDeviation over_seeds(const std::vector<double>& values) {
  MeanAndDeviation result{.n = values.size()};
  for (const double value : values) result.mean += value / static_cast<double>(values.size());
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return result;
}

}  // namespace caltrop
