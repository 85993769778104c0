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
#include "apps/study/defence_run.h"

namespace caltrop {

class Flags;
struct StudyPlace;

inline const std::vector<std::string> kPaperAttacks = {"gma", "pgd", "fgsm", "cw"};  // columns of its tables
inline const std::vector<std::string> kPaperMembers = {"eat-1", "eat-2", "eat-3"};
inline const std::vector<double> kPaperCycles = {15, 25, 40, 50};  // per cent

// The stages of training after which its networks are judged, as a run names them.
inline const std::string kVote = "vote", kBootstrap = "bootstrap", kFirstCycle = "cycle 15 %",
                         kThirdCycle = "cycle 40 %", kThirdAgain = "cycle 40 % again",
                         kThirdLonger = "cycle 40 % on", kFourthCycle = "cycle 50 %";
std::string stage_of(double cycle);
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
  std::vector<DefenceRun> runs = {};  // of each seed
  std::vector<DefenceRun> rounded =
      {};  // with attacked images rounded before training; empty without the vote
};

DefenceStudy study_defence(const std::string& dataset, const DefenceStudyOptions& options,
                           CommonOptions& common, const StudyPlace& place, const Flags& flags);

}  // namespace caltrop
