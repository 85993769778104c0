// An attack in a list of attacks: its name, and flags of 'caltrop attack' behind it.
//
//   pgd   pgd:steps=40:step-size=2/255:restarts=5   autoattack:version=plus
#pragma once

#include <string>
#include <vector>

#include "apps/core/size.h"
#include "apps/study/run.h"

namespace caltrop {

// How a text of this kind is written, for --help.
inline constexpr const char* kAttackSpec = "NAME[:FLAG=VALUE...]";

// An attack of a study at `sizes`; its name is `text` itself. UsageError, with `text` in it, where the words make no
// attack.
StudyAttack parse_attack_spec(const std::string& text, const std::string& norm,
                              const std::vector<Size>& sizes);
// The same of its parts: {"steps=40", ...}; its name is `name`.
StudyAttack study_attack(const std::string& name, const std::string& attack,
                         const std::vector<std::string>& flags, const std::string& norm,
                         const std::vector<Size>& sizes);

}  // namespace caltrop
