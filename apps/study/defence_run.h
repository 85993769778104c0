// What `caltrop defend` wrote of one run, read again. A row or a number that should be there and is not is an Error that
// names it.
#pragma once

#include "apps/core/json.h"
#include "defense/results.h"

namespace caltrop {

// Of what DefendRun::run returns.
DefenceRun read_defence_run(const Json& result);

}  // namespace caltrop
