// What `caltrop defend` writes of each epoch, and what it wrote of one run, read again. A row or a number that should be there and is not is an Error that
// names it.
#pragma once

#include <string>

#include "apps/core/json.h"
#include "defense/results.h"
#include "defense/watch.h"

namespace caltrop {

class RunFolder;

// A line of metrics.jsonl.
Json metrics_line(const WatchedEpoch& epoch);

// Of what DefendRun::run returns.
DefenceRun read_defence_run(const Json& result);
// Of the file that it left in its folder, and of metrics.jsonl there.
DefenceRun read_defence_run(const RunFolder& folder, const std::string& file);

}  // namespace caltrop
