// What decides a run of any defence beside the defence's own options: the attacks that the defender knows of, the test
// images, and how much effort attacks take; with what a scale makes of that which is left open.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "defense/adaptive.h"
#include "defense/defence.h"
#include "defense/evaluation.h"

namespace caltrop {

struct DefenceSettings {
  std::string scale = "quick";  // of kScales
  std::optional<int64_t> test_images, test_attacked;
  std::vector<std::string> attacks = {"gma", "pgd", "fgsm", "cw"};
  std::string gma_norm = "both", norm = "l2", gma_base = "e", gma_grid = "full", gma_scale = "1";
  std::vector<double> big_sizes = {1, 2, 3}, sizes;
  std::optional<int64_t> cw_steps, cw_rounds;
  std::optional<double> cw_constant, cw_rate;
  std::string unchanged = "drop";
  bool eight_bits = false;
  std::optional<int64_t> unseen;
  std::vector<std::string> unseen_attacks;  // empty: kUnseenAttacks, but those that are trained on
  std::vector<double> unseen_sizes = {0.75, 1.5, 2.5, 4};
  std::optional<int64_t> adaptive, adaptive_steps, adaptive_queries;
  std::vector<std::string> adaptive_attacks = kAdaptiveAttacks;
  std::vector<double> adaptive_linf = {0.01, 0.03, 0.1, 0.3}, adaptive_l2 = {0.5, 1, 2, 3};

  // What a defence is tested with by default, and trained, that is not of GMA/MIA 2025: the field's attacks and sizes
  // for MNIST.
  void test_as_the_field_does();

  // For a command to make flags of; the scale and the test images are the command's own.
  std::vector<DefenceOption> attack_options();
  std::vector<DefenceOption> test_options(const DefenceInfo& info);

  // From here on the optionals hold values, but those that mean "all". An Error where they contradict one another, or
  // the defence's own options, which are resolved too.
  void resolve(const DefenceInfo& info, Defence& defence);
  // Training images of the scale; absent: all.
  std::optional<int64_t> train_images() const;
  // An Error where they are absurd for these images.
  void check(const Images& train, const Images& test) const;

  // Resolved, what the settings are in the terms of those that need them.
  PoolRecipeOptions recipe(uint64_t seed) const;
  AttackedPoolOptions pool() const { return {eight_bits, unchanged == "keep"}; }
  TestOptions tests(int64_t clean, uint64_t seed) const;
  AdaptiveOptions attacker(uint64_t seed) const;

 private:
  std::vector<PoolAttack> unseen_recipe(uint64_t seed) const;
};
inline const std::vector<std::string> kUnseenAttacks = {"bim", "mim", "deepfool", "other-norm",
                                                        "other-sizes"};

}  // namespace caltrop
