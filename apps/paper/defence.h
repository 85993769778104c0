// The defence of "GMA/MIA 2025", section 6.3, with its controls: one study for each data set, of several seeds.
//
// The folder of the study holds DATASET-target.safetensors, the undefended network, and for each seed the run
// folders DATASET-seed-N (as of `defend mia`) and DATASET-seed-N-8-bits, where attacked images were rounded before
// training too. Both are gone on with where they stand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/commands/defend.h"
#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"

namespace caltrop {

struct DefenceStudyOptions {
  std::string scale = "quick";
  int64_t seeds = 1;  // --seed, --seed + 1, ...
  std::string cache = "runs/crafted", data_dir;
  bool vote = false;  // MIA and all its controls; else the cycles of EAT alone
};

struct DefenceStudy {
  std::string dataset;
  std::vector<Json> runs = {};  // what DefendRun::run gave, for each seed
  std::vector<Json> rounded =
      {};  // the same with attacked images rounded before training; empty without the vote
};

// What one seed runs: `defend mia` with the paper's cycles, or `defend eat`.
DefendFlags study_flags(const DefenceStudyOptions& options, const CommonOptions& common, int64_t seed,
                        bool eight_bits);

DefenceStudy study_defence(const RunFolder& folder, const std::string& dataset,
                           const DefenceStudyOptions& options, CommonOptions& common, Backend& backend,
                           const Flags& flags, Console& console);

}  // namespace caltrop
