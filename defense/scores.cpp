#include "defense/scores.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace caltrop {
namespace {

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
