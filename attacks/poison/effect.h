// What poison does to networks: they are trained from scratch on clean, poisoned and randomly perturbed images, with
// the same seeds, and tested on images that nobody touched and on the targets.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "attacks/poison/poison.h"

namespace caltrop {

struct PoisonTrainingSet {
  std::string name;
  Images images;  // those of PoisonRoles::trained_on()
};
// "clean twin", "poisoned" with the pixels and labels given for roles.poisoned, and "random noise", the control with
// the same labels.
std::vector<PoisonTrainingSet> poison_training_sets(const Images& images, const PoisonRoles& roles,
                                                    std::span<const uint8_t> poison,
                                                    std::span<const int32_t> labels,
                                                    const PoisonOptions& options);

// Of the networks of one training set: one number for each.
struct PoisonEffect {
  std::string name;
  std::vector<double> accuracy, on_targets;
  std::vector<std::vector<double>> recall;  // of each class

  PoisonEffect(std::string set, int64_t classes)
      : name(std::move(set)), recall(static_cast<size_t>(classes)) {}
  void add(const Model& model, const Images& test, const Images& targets);
};

}  // namespace caltrop
