// The defence of `caltrop demo`: what `caltrop defend mia --scale demo` trains, and what the page tells of it.
#pragma once

#include "apps/commands/defend.h"
#include "apps/demo/result.h"

namespace caltrop {

// MIA with `epochs` in each of three cycles and twice as many on the bootstraps, and APGD on the vote for the first
// `adaptive` test images.
DefendFlags demo_defence(const CommonOptions& common, const DataOptions& data, int64_t epochs,
                         int64_t adaptive);

// After run.train(): `defended` and the undefended network `target` under everything that the page shows. The judges of
// `defended` become those of the page.
DefenceResult judge_demo(DefendRun& run, Defended& defended, const Model& target, const Images& test,
                         uint64_t seed, Console& console);

}  // namespace caltrop
