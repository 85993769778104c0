// How good predictions are: accuracy with its interval, and the macro averages of paper 1 (Eq. 7-10); and what several
// seeds say together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace caltrop {

// part / whole; 0 of nothing.
inline double share_of(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

struct Interval {
  double low = 0, high = 1;
};

// Wilson's score interval for a proportion (Wilson 1927), z = 1.96 for 95 %: unlike the normal approximation
// it stays inside [0,1] and is honest near 0 and 1. [0,1] for no trials.
Interval wilson_interval(int64_t successes, int64_t trials, double z = 1.959963984540054);

// Rows: the true class; columns: the predicted one.
class Confusion {
 public:
  // Labels and predictions in [0, classes); an Error otherwise.
  Confusion(int64_t classes, std::span<const int32_t> labels, std::span<const int32_t> predictions);

  int64_t classes() const { return classes_; }
  int64_t count() const { return count_; }
  int64_t correct() const;
  int64_t at(int64_t truth, int64_t predicted) const {
    return cells_[static_cast<size_t>(truth * classes_ + predicted)];
  }

 private:
  int64_t classes_, count_;
  std::vector<int64_t> cells_;
};

// Of one class, one against the rest: precision TP / (TP + FP), recall TP / (TP + FN), F1 their harmonic mean
// (Eq. 7-9). A quotient 0 / 0 counts as 0.
struct ClassMetrics {
  double precision = 0, recall = 0, f1 = 0;
  int64_t images = 0;     // of this class
  int64_t predicted = 0;  // as this class
};
ClassMetrics class_metrics(const Confusion& confusion, int64_t which);

// Accuracy over all images (Eq. 10) and the unweighted means over the classes that occur, as a label or a
// prediction. F1 is the mean of the classes' F1, not the harmonic mean of the means.
struct Metrics {
  double accuracy = 0, precision = 0, recall = 0, f1 = 0;
  Interval interval;  // of accuracy, 95 %
  int64_t n = 0;
};
Metrics summarize(const Confusion& confusion);

// How far a network's confidence is from how often it is right: the expected calibration error over 15 bins of equal
// width (Guo, Pleiss, Sun, Weinberger 2017, Eq. 3).
struct Calibration {
  struct Bin {
    int64_t images = 0, right = 0;
    double confidence = 0;  // sum
  };
  std::array<Bin, 15> bins = {};

  // `confidence`: the probability of the class that it names, in [0,1]; what is no number is left out.
  void add(double confidence, bool right);
  int64_t images() const;
  double error() const;  // 0 of no images
};

// Logits (n, classes) row-major -> the probability of the largest of each row.
std::vector<double> confidences(std::span<const float> logits, int64_t classes);

// Logits (n, classes) row-major -> -log softmax of each row's label, in double.
std::vector<double> cross_entropies(std::span<const float> logits, std::span<const int32_t> labels,
                                    int64_t classes);
// The same for the mean softmax of several networks.
std::vector<double> mean_cross_entropies(std::span<const std::vector<float>> logits,
                                         std::span<const int32_t> labels, int64_t classes);

// The value below which `share` of `values` lie, linear between neighbours; the median at 0.5. Not empty.
double quantile(std::vector<double> values, double share);

// A number over seeds.
struct MeanAndDeviation {
  double mean = 0;
  std::optional<double> deviation = {};  // of a sample: n - 1 in the denominator; of one value there is none
  double lowest = 0, highest = 0;
  size_t n = 0;

  // Half the width of the mean's interval at `confidence` (Student's t); of one value none is known.
  std::optional<double> half_width(double confidence = 0.95) const;
};
MeanAndDeviation over_seeds(const std::vector<double>& values);

// Two numbers of each seed, such as two networks' accuracies: Student's paired t-test, two-sided, and Cohen's effect
// size of the differences, their mean over their deviation (d_z). What one seed, or no spread at all, cannot tell is
// absent: both where there are fewer than two pairs, and where all differences are the same; p is 1 where they are all 0.
struct PairedTest {
  MeanAndDeviation difference = {};  // first - second
  std::optional<double> p = {}, effect = {};
};
PairedTest paired_test(std::span<const double> first, std::span<const double> second);

// p values of a family of tests, corrected by Holm's step-down rule (Holm 1979), in the order given.
std::vector<double> holm(std::span<const double> p);

}  // namespace caltrop
