// The defence of "GMA/MIA 2025", section 6.3, with its controls: one study for each data set, of several seeds.
//
// The folder of the study holds DATASET-target.safetensors, the undefended network, and for each seed the run
// folders DATASET-seed-N (as of `defend mia`) and DATASET-seed-N-8-bits, where attacked images were rounded before
// training too. Both are gone on with where they stand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/core/options.h"
#include "apps/paper/printed.h"
#include "defense/results.h"

namespace caltrop {

class Flags;
struct StudyPlace;

// Its test images (kExactLeft: defense/evaluation.h), and the detector that needs no network.
inline const std::string kExact = "exact", kRounded = "8 bits", kUnseen = "unseen";
inline const std::string kOffGrid = "off-grid pixel", kUntrained = "no training";

struct DefenceStudyOptions {
  std::string scale = "quick";
  int64_t seeds = 1;  // --seed, --seed + 1, ...
  std::string cache = "runs/crafted", data_dir;
  bool vote = false;  // MIA and all its controls; else the cycles of EAT alone
};

struct DefenceStudy {
  std::string dataset;
  std::vector<DefenceRun> runs = {};     // of each seed
  std::vector<DefenceRun> rounded = {};  // attacked images rounded before training; empty without the vote

  bool votes() const { return !rounded.empty(); }
};

DefenceStudy study_defence(const std::string& dataset, const DefenceStudyOptions& options,
                           CommonOptions& common, const StudyPlace& place, const Flags& flags);

}  // namespace caltrop
