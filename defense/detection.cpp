#include "defense/detection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "engine/error.h"

namespace caltrop {
namespace {

constexpr float kNoSize = std::numeric_limits<float>::infinity();

float size_of(const PoolImage& image, std::span<const float> sizes) {
  if (std::isfinite(image.size)) return image.size;
  const auto fits = std::ranges::lower_bound(sizes, image.l2);
  return fits != sizes.end() ? *fits : kNoSize;
}

// Shares of different wholes are compared as the products that they stand for, so that equal ones are equal.
bool flags_as_much(const Fates& a, const Fates& b) {
  return a.flagged * b.images >= b.flagged * a.images;
}

}  // namespace

bool JudgedTest::no_worse_than(const JudgedTest& other) const {
  return flags_as_much(attacked.all, other.attacked.all) && flags_as_much(other.clean, clean);
}

std::vector<float> sizes_of(std::span<const TestSet> tests) {
  std::vector<float> all;
  for (const TestSet& test : tests) {
    for (const PoolAttack& attack : test.pool.attacks)
      std::ranges::copy_if(attack.sizes, std::back_inserter(all), [](float s) { return std::isfinite(s); });
  }
  std::ranges::sort(all);
  return all;
}

JudgedTest judged(JudgedTest answered, const TestSet& set, int32_t attacked, bool detects,
                  std::span<const float> sizes) {
  JudgedTest& result = answered;
  const std::vector<int32_t>& answers = result.answers;
  const AttackedPool& pool = set.pool;
  const auto clean = static_cast<size_t>(set.clean());
  if (answers.size() != clean + pool.images.size()) {
    fail("[detection] expected answers to {} images, got {}", clean + pool.images.size(), answers.size());
  }
  result.detects = detects;
  result.knows_classes = std::ranges::none_of(answers, [](int32_t answer) { return answer < 0; });

  std::vector<size_t> row_of;  // in result.attacks, of each attack of the pool
  for (const PoolAttack& attack : pool.attacks) {
    if (result.attacks.empty() || result.attacks.back().name != attack.name)
      result.attacks.push_back({attack.name, {}, {}});
    row_of.push_back(result.attacks.size() - 1);
  }
  const auto row = [&](const PoolImage& image) {
    return row_of[static_cast<size_t>(image.attack)];
  };

  std::map<std::pair<int64_t, float>, AttackedFates> by_size;
  for (size_t i = 0; i < clean; ++i) result.clean.add(answers[i], set.truth(i), attacked);
  for (size_t k = 0; k < pool.images.size(); ++k) {
    const PoolImage& image = pool.images[k];
    for (AttackedFates* fates : {&result.attacked, &result.attacks[row(image)].fates,
                                 &by_size[{image.attack, size_of(image, sizes)}]})
      fates->add(image.fooled, answers[clean + k], set.truth(clean + k), attacked);
  }
  for (const auto& [key, fates] : by_size) {
    const PoolAttack& attack = pool.attacks[static_cast<size_t>(key.first)];
    result.sizes.push_back({attack.name, attack.options.norm,
                            key.second == kNoSize ? std::nullopt : std::optional(key.second), fates});
  }

  if (!result.knows_classes) return answered;
  const auto metrics_over = [&](const auto& takes) {
    std::vector<int32_t> truth, said(answers.begin(), answers.begin() + set.clean());
    for (size_t i = 0; i < clean; ++i) truth.push_back(set.truth(i));
    for (size_t k = 0; k < pool.images.size(); ++k) {
      if (!takes(pool.images[k])) continue;
      truth.push_back(detects ? attacked : set.truth(clean + k));
      said.push_back(answers[clean + k]);
    }
    return summarize(Confusion(attacked + 1, truth, said));
  };
  result.metrics = metrics_over([](const PoolImage&) { return true; });
  for (size_t a = 0; a < result.attacks.size(); ++a)
    result.attacks[a].metrics = metrics_over([&](const PoolImage& image) { return row(image) == a; });
  return answered;
}

}  // namespace caltrop
