// The flags of attacks made inside a training step, and what they stand for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "defense/defence.h"
#include "defense/training/craft.h"

namespace caltrop {

// --eps and --step-size of attacks made in training, as every defence has them.
DefenceOption craft_eps_option(double& eps);
DefenceOption craft_step_size_option(std::optional<double>& step_size, const std::string& of,
                                     const std::string& otherwise);

struct CraftFlags {
  double eps = 0.3;
  // "fgsm" or "pgd", a flag where `choice`; "image" or "random", by the attack where empty.
  std::string attack = "fgsm", start = {};
  bool choice = true;
  std::optional<int64_t> steps = {};
  std::optional<double> step_size = {};
  std::string mode = "eval";

  std::vector<DefenceOption> options();
  void resolve();  // an Error where they contradict one another
  CraftOptions craft() const;
};

}  // namespace caltrop
