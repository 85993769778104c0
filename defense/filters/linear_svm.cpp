#include "defense/filters/linear_svm.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {
namespace {

class DualDescent {
 public:
  DualDescent(std::span<const float> rows, const std::vector<bool>& positive, const SvmOptions& options)
      : rows_(rows),
        positive_(positive),
        options_(options),
        count_(positive.size()),
        width_(rows.size() / positive.size()),
        weights_(width_),
        alpha_(count_) {
    for (size_t i = 0; i < count_; ++i) {
      double square = 1;  // of the 1
      for (const float value : row(i)) square += static_cast<double>(value) * static_cast<double>(value);
      squares_.push_back(square);
    }
  }

  LinearSvm run() {
    constexpr int64_t kLookAt = 5;  // passes from one look at the gap to the next
    for (int64_t pass = 1; pass <= options_.passes; ++pass) {
      for (const int64_t i : Random(options_.seed, Purpose::svm, static_cast<uint64_t>(pass))
                                 .permutation(static_cast<int64_t>(count_)))
        step(static_cast<size_t>(i));
      if (pass % kLookAt == 0 || pass == options_.passes) {
        const auto [primal, dual] = objectives();
        const double gap = (primal - dual) / std::max(primal, 1e-300);
        if (gap <= options_.gap || pass == options_.passes) return {weights_, bias_, primal, gap, pass};
      }
    }
    return {weights_, bias_};
  }

 private:
  std::span<const float> row(size_t i) const { return rows_.subspan(i * width_, width_); }
  double margin(size_t i) const {
    double sum = bias_;
    const std::span<const float> x = row(i);
    for (size_t k = 0; k < width_; ++k) sum += weights_[k] * static_cast<double>(x[k]);
    return positive_[i] ? sum : -sum;
  }

  // The best alpha_i while the others stand.
  void step(size_t i) {
    const double before = alpha_[i];
    alpha_[i] = std::clamp(before + (1 - margin(i)) / squares_[i], 0.0, options_.cost);
    const double moved = (alpha_[i] - before) * (positive_[i] ? 1 : -1);
    if (moved == 0) return;
    const std::span<const float> x = row(i);
    for (size_t k = 0; k < width_; ++k) weights_[k] += moved * static_cast<double>(x[k]);
    bias_ += moved;
  }

  std::pair<double, double> objectives() const {
    double square = bias_ * bias_, losses = 0, alphas = 0;
    for (const double weight : weights_) square += weight * weight;
    for (size_t i = 0; i < count_; ++i) {
      losses += std::max(0.0, 1 - margin(i));
      alphas += alpha_[i];
    }
    return {0.5 * square + options_.cost * losses, alphas - 0.5 * square};
  }

  std::span<const float> rows_;
  const std::vector<bool>& positive_;
  const SvmOptions& options_;
  size_t count_, width_;
  std::vector<double> weights_, alpha_, squares_;
  double bias_ = 0;
};

}  // namespace

LinearSvm train_svm(std::span<const float> rows, const std::vector<bool>& positive,
                    const SvmOptions& options) {
  const auto attacked = std::count(positive.begin(), positive.end(), true);
  if (attacked == 0 || attacked == static_cast<std::ptrdiff_t>(positive.size()))
    fail("[svm] expected examples of both kinds, got {} of {} positive", attacked, positive.size());
  if (rows.size() % positive.size() != 0)
    fail("[svm] expected rows of one width for {} examples, got {} values", positive.size(), rows.size());
  return DualDescent(rows, positive, options).run();
}

}  // namespace caltrop
