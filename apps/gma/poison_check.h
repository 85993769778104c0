// The ways to the meta-gradient of poisoning, side by side: slopes, distances, seconds.
#pragma once

#include "apps/core/console.h"
#include "attacks/poison/poison.h"

namespace caltrop {

// On the first group of poisoned images, with theta_0 the weights of `model`. Says the table, and returns it
// as
// {"lanes": [...]}; an Error where ways that must agree are more than 1e-3 apart.
Json compare_meta_gradients(const Model& model, const Images& images, const PoisonRoles& roles,
                            const PoisonOptions& how, Console& console);

}  // namespace caltrop
