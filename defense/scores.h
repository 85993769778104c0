// How good answers are on an augmented test set, attack by attack: what learning curves are made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "defense/pool/images.h"

namespace caltrop {

// Mean cross-entropy and the share of right answers over K + 1 classes.
struct Score {
  double loss = 0, accuracy = 0;
  int64_t images = 0;
};

struct Scores {
  Score all;
  std::vector<std::pair<std::string, Score>>
      attacks;  // the clean images with those of one attack, in pool order
};

// Logits (n, classes) row-major -> -log softmax of each row's label, in double.
std::vector<double> cross_entropies(std::span<const float> logits, std::span<const int32_t> labels,
                                    int64_t classes);
// The same for the mean softmax of several networks.
std::vector<double> mean_cross_entropies(std::span<const std::vector<float>> logits,
                                         std::span<const int32_t> labels, int64_t classes);

// Of answers to `clean` clean images and then those of `pool`.
Scores scores_of(std::span<const double> losses, std::span<const int32_t> answers,
                 std::span<const int32_t> labels, int64_t clean, const AttackedPool& pool);

}  // namespace caltrop
