// The flags that commands with an attack share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/flags.h"
#include "attacks/attack.h"

namespace caltrop {

struct AttackFlags {
  std::string kind = "pgd", norm = "linf", start = "auto", labels = "true", ce_grad = "stable";
  int64_t steps = 10, restarts = 1;
  std::optional<double> step_size;
  double decay = 1.0;
};

// --steps --step-size --random-start --restarts --decay --ce-grad.
void add_attack_flags(Flags& flags, AttackFlags& options);

// UsageError where the flags contradict one another.
AttackOptions attack_options(const AttackFlags& flags, Norm norm, int64_t seed);

}  // namespace caltrop
