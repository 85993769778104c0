// Options of defences as flags of a command line.
#pragma once

#include <vector>

#include "apps/core/flags.h"
#include "defense/defence.h"

namespace caltrop {

void add_defence_options(Flags& flags, const std::vector<DefenceOption>& options);

}  // namespace caltrop
