#include "engine/metrics.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

#include "engine/error.h"

namespace caltrop {
namespace {

double quotient(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0.0;
}

// log softmax of one row at `label`.
double log_probability(const float* z, int64_t classes, int32_t label) {
  const auto top = static_cast<double>(*std::max_element(z, z + classes));
  double total = 0;
  for (int64_t k = 0; k < classes; ++k) total += std::exp(static_cast<double>(z[k]) - top);
  return static_cast<double>(z[label]) - top - std::log(total);
}

void expect_rows(size_t values, size_t rows, int64_t classes) {
  if (values != rows * static_cast<size_t>(classes))
    fail("[scores] expected {} rows of {} logits, got {} values", rows, classes, values);
}

}  // namespace

Interval wilson_interval(int64_t successes, int64_t trials, double z) {
  if (trials <= 0) return {};
  const double n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double scale = 1 + z * z / n;
  const double centre = (p + z * z / (2 * n)) / scale;
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale;
  // At the ends the formula is exactly 0 or 1, which rounding would miss.
  return {successes == 0 ? 0.0 : centre - half, successes == trials ? 1.0 : centre + half};
}

Confusion::Confusion(int64_t classes, std::span<const int32_t> labels, std::span<const int32_t> predictions)
    : classes_(classes), count_(static_cast<int64_t>(labels.size())) {
  if (classes < 1 || labels.size() != predictions.size()) {
    fail("[confusion] expected as many predictions as labels ({}) and classes, got {} and {}", labels.size(),
         predictions.size(), classes);
  }
  cells_.resize(static_cast<size_t>(classes * classes));
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= classes || predictions[i] < 0 || predictions[i] >= classes) {
      fail("[confusion] expected classes from 0 to {}, got label {} and prediction {}", classes - 1,
           labels[i], predictions[i]);
    }
    ++cells_[static_cast<size_t>(labels[i] * classes + predictions[i])];
  }
}

int64_t Confusion::correct() const {
  int64_t sum = 0;
  for (int64_t k = 0; k < classes_; ++k) sum += at(k, k);
  return sum;
}

ClassMetrics class_metrics(const Confusion& confusion, int64_t which) {
  ClassMetrics result;
  for (int64_t k = 0; k < confusion.classes(); ++k) {
    result.images += confusion.at(which, k);
    result.predicted += confusion.at(k, which);
  }
  const auto hits = static_cast<double>(confusion.at(which, which));
  result.precision = quotient(hits, static_cast<double>(result.predicted));
  result.recall = quotient(hits, static_cast<double>(result.images));
  result.f1 = quotient(2 * hits, static_cast<double>(result.images + result.predicted));
  return result;
}

Metrics summarize(const Confusion& confusion) {
  Metrics result;
  result.n = confusion.count();
  result.accuracy = quotient(static_cast<double>(confusion.correct()), static_cast<double>(result.n));
  result.interval = wilson_interval(confusion.correct(), result.n);
  double occurring = 0;
  for (int64_t k = 0; k < confusion.classes(); ++k) {
    const ClassMetrics one = class_metrics(confusion, k);
    if (one.images + one.predicted == 0) continue;
    ++occurring;
    result.precision += one.precision;
    result.recall += one.recall;
    result.f1 += one.f1;
  }
  result.precision = quotient(result.precision, occurring);
  result.recall = quotient(result.recall, occurring);
  result.f1 = quotient(result.f1, occurring);
  return result;
}

void Calibration::add(double confidence, bool right) {
  if (!(confidence >= 0)) return;
  const auto width = static_cast<double>(bins.size());
  Bin& bin = bins[std::min(bins.size() - 1, static_cast<size_t>(std::min(confidence, 1.0) * width))];
  ++bin.images;
  bin.right += right;
  bin.confidence += confidence;
}

int64_t Calibration::images() const {
  int64_t images = 0;
  for (const Bin& bin : bins) images += bin.images;
  return images;
}

double Calibration::error() const {
  double apart = 0;
  for (const Bin& bin : bins) apart += std::fabs(static_cast<double>(bin.right) - bin.confidence);
  return images() > 0 ? apart / static_cast<double>(images()) : 0;
}

std::vector<double> confidences(std::span<const float> logits, int64_t classes) {
  std::vector<double> likeliest;
  for (size_t i = 0; i + static_cast<size_t>(classes) <= logits.size(); i += static_cast<size_t>(classes)) {
    const std::span<const float> row = logits.subspan(i, static_cast<size_t>(classes));
    const auto best = std::max_element(row.begin(), row.end()) - row.begin();
    likeliest.push_back(std::exp(log_probability(row.data(), classes, static_cast<int32_t>(best))));
  }
  return likeliest;
}

std::vector<double> cross_entropies(std::span<const float> logits, std::span<const int32_t> labels,
                                    int64_t classes) {
  expect_rows(logits.size(), labels.size(), classes);
  std::vector<double> losses;
  for (size_t i = 0; i < labels.size(); ++i) {
    losses.push_back(-log_probability(logits.data() + static_cast<int64_t>(i) * classes, classes, labels[i]));
  }
  return losses;
}

std::vector<double> mean_cross_entropies(std::span<const std::vector<float>> logits,
                                         std::span<const int32_t> labels, int64_t classes) {
  if (logits.empty()) fail("[scores] expected the logits of at least one network");
  for (const std::vector<float>& one : logits) expect_rows(one.size(), labels.size(), classes);
  std::vector<double> losses;
  for (size_t i = 0; i < labels.size(); ++i) {
    std::vector<double> logs;
    for (const std::vector<float>& one : logits)
      logs.push_back(log_probability(one.data() + static_cast<int64_t>(i) * classes, classes, labels[i]));
    const double top = *std::max_element(logs.begin(), logs.end());
    double sum = 0;
    for (const double value : logs) sum += std::exp(value - top);
    losses.push_back(-(top + std::log(sum / static_cast<double>(logs.size()))));
  }
  return losses;
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

std::optional<double> MeanAndDeviation::half_width(double confidence) const {
  if (!deviation) return std::nullopt;
  const auto count = static_cast<double>(n);
  const boost::math::students_t t(count - 1);
  return boost::math::quantile(t, (1 + confidence) / 2) * *deviation / std::sqrt(count);
}

MeanAndDeviation over_seeds(const std::vector<double>& values) {
  MeanAndDeviation result{.n = values.size()};
  if (values.empty()) return result;
  for (const double value : values) result.mean += value / static_cast<double>(values.size());
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  result.lowest = *lowest, result.highest = *highest;
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return result;
}

PairedTest paired_test(std::span<const double> first, std::span<const double> second) {
  if (first.size() != second.size())
    fail("[metrics] expected pairs, got {} and {} values", first.size(), second.size());
  std::vector<double> differences;
  for (size_t i = 0; i < first.size(); ++i) differences.push_back(first[i] - second[i]);
  PairedTest test{.difference = over_seeds(differences)};
  const auto [mean, deviation, lowest, highest, n] = test.difference;
  if (!deviation) return test;
  // Without spread t is 0, or infinite. Differences of shares are the same up to their rounding.
  if (highest - lowest < 1e-12) {
    if (mean == 0) test.p = 1;
    return test;
  }
  test.effect = mean / *deviation;
  const double t = std::fabs(*test.effect) * std::sqrt(static_cast<double>(n));
  test.p =
      2 * boost::math::cdf(boost::math::complement(boost::math::students_t(static_cast<double>(n - 1)), t));
  return test;
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t k) { return p[k]; });
  std::vector<double> corrected(p.size());
  double before = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const auto left = static_cast<double>(order.size() - rank);
    before = std::clamp(left * p[order[rank]], before, 1.0);
    corrected[order[rank]] = before;
  }
  return corrected;
}

}  // namespace caltrop
