// The attacks that one call runs one after the other, each on what those before it left.
#pragma once

#include <vector>

#include "attacks/attack.h"

namespace caltrop {

// autoattack: its version's attacks, with the settings of the authors. Any other: itself.
std::vector<AttackOptions> stages_of(const AttackOptions& options);

}  // namespace caltrop
