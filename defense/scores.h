// How good answers are on an augmented test set, attack by attack: what learning curves are made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "defense/pool/images.h"
#include "engine/metrics.h"

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

// Of answers to `clean` clean images and then those of `pool`.
Scores scores_of(std::span<const double> losses, std::span<const int32_t> answers,
                 std::span<const int32_t> labels, int64_t clean, const AttackedPool& pool);

}  // namespace caltrop
