// The flags that commands with an attack share.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/flags.h"
#include "attacks/attack.h"
#include "attacks/presets.h"

namespace caltrop {

struct AttackFlags {
  std::string kind = "pgd", norm = "linf", start = "auto", labels = "true", ce_grad = "stable";
  std::string version = "standard", preset = "none", abort = "auto", schedule = "auto";
  double decay = 1.0;
  // By the names of options (attacks/option_fields.h); absent: the attack's own.
  std::map<std::string, std::optional<int64_t>> counts;
  std::map<std::string, std::optional<double>> numbers;
};

// --steps --step-size --random-start --restarts --decay --ce-grad.
void add_attack_flags(Flags& flags, AttackFlags& options);
// What only some attacks of the suite take: --version --preset --targets --confidence --cw-rounds --cw-constant
// --cw-rate --cw-abort --candidates --overshoot.
void add_suite_flags(Flags& flags, AttackFlags& options);

// UsageError where the flags contradict one another.
AttackOptions attack_options(const AttackFlags& flags, Norm norm, int64_t seed);

// What is wrong with an attack's option, said of the flag that sets it.
std::string of_flag(const BadOption& problem);

// UsageError that names a flag which this attack does not read: ignoring it would let the user believe that it
// had an effect. A --config may hold such a flag with its default, as every config.json does.
void expect_read(const Flags& flags, AttackKind kind);

// The options of one attack of the suite and its size: the preset's where there is one, then what the flags
// say. Without --norm the attack's own norm is taken and written to `attack`. UsageError unless they make an
// attack, as far as can be told without images.
struct ChosenAttack {
  AttackOptions options;
  float eps = 0;                   // of --eps, the preset or the attack itself, which may have none: infinity
  std::optional<Size> asked = {};  // the same as it was asked for; absent: none
  std::string differs;             // see PresetAttack
};
ChosenAttack choose_attack(AttackFlags& attack, const Flags& flags, const std::optional<Size>& eps,
                           bool targeted, int64_t seed);

}  // namespace caltrop
