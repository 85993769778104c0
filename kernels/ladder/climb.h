// A ladder climbed: every version checked, and those that are right timed where there is a device with a speed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/ladder/check.h"

namespace caltrop {

struct ClimbOptions {
  std::optional<int64_t> version = {};  // this one alone
  int warm_ups = 20, samples = 50;      // of Lab::time
  uint64_t seed = 0;
};

struct ClimbedVersion {
  LadderStep step;
  LadderCheck check;  // on the edge problems
};

// One version on one problem. Its result was checked before it was timed; no seconds where it was wrong.
struct VersionTime {
  LadderStep step;  // of the library the number is 0, and the technique its name
  Lab::Timing timing = {};
  std::string failure = {};
};

struct ClimbedProblem {
  NamedProblem named;
  // The shortest time that the device allows, and what sets it: "arithmetic" or "memory".
  double floor_seconds = 0;
  std::string bound = {};
  std::optional<VersionTime> library = {};  // absent where there is none
  std::vector<VersionTime> times = {};
};

struct ClimbedLadder {
  std::vector<ClimbedVersion> versions;  // none where options.version is none of the ladder's
  std::vector<ClimbedProblem> problems;  // none where the laboratory has no speed
};
// `begins` is told of each check and each time before it. A version that fails outright is a wrong version, not the
// end of the climb.
ClimbedLadder climb(Lab& lab, Ladder ladder, const ClimbOptions& options,
                    const std::function<void(const LadderStep&)>& begins = {});

}  // namespace caltrop
