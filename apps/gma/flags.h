// The flags that both GMA commands share.
#pragma once

#include <string>
#include <vector>

#include "apps/commands/attack_flags.h"
#include "attacks/gma.h"

namespace caltrop {

struct GmaFlags {
  AttackFlags attack;
  std::string norm = "both", base = "e", grid = "full", scale = "1";
};

// --gma-attack, --norm, --gma-base, --gma-grid, --scale and the flags of the base attack.
void add_gma_flags(Flags& flags, GmaFlags& options);

std::vector<Norm> gma_norms(const std::string& norm);  // of --norm
std::vector<GmaSize> gma_sizes_of(const GmaFlags& flags);

}  // namespace caltrop
