#include "defense/scores.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace caltrop {
namespace {

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

// Sums, until finish() makes means of them.
void add(Score& score, double loss, bool right) {
  score.loss += loss;
  score.accuracy += right ? 1 : 0;
  ++score.images;
}
void finish(Score& score) {
  const auto n = static_cast<double>(std::max<int64_t>(1, score.images));
  score.loss /= n;
  score.accuracy /= n;
}

}  // namespace

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

Scores scores_of(std::span<const double> losses, std::span<const int32_t> answers,
                 std::span<const int32_t> labels, int64_t clean, const AttackedPool& pool) {
  const auto n = static_cast<size_t>(clean + pool.count());
  if (losses.size() != n || answers.size() != n || labels.size() != n)
    fail("[scores] expected answers to {} images, got {}", n, answers.size());
  Scores scores;
  Score of_clean;
  for (size_t i = 0; i < static_cast<size_t>(clean); ++i) add(of_clean, losses[i], answers[i] == labels[i]);
  scores.all = of_clean;
  std::vector<size_t> attack_of;  // of each of the pool's; those of one name follow one another
  for (const PoolAttack& attack : pool.attacks) {
    if (scores.attacks.empty() || scores.attacks.back().first != attack.name)
      scores.attacks.emplace_back(attack.name, of_clean);
    attack_of.push_back(scores.attacks.size() - 1);
  }
  for (size_t k = 0; k < pool.images.size(); ++k) {
    const size_t i = static_cast<size_t>(clean) + k;
    const bool right = answers[i] == labels[i];
    add(scores.all, losses[i], right);
    add(scores.attacks[attack_of.at(static_cast<size_t>(pool.images[k].attack))].second, losses[i], right);
  }
  finish(scores.all);
  for (auto& [name, score] : scores.attacks) finish(score);
  return scores;
}

}  // namespace caltrop
