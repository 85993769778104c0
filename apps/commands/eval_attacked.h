// A stored set of attacked images, judged by a network: its own or another one (transfer).
#pragma once

#include <vector>

#include "apps/core/setup.h"
#include "attacks/attack_images.h"
#include "data/attacked_set.h"
#include "engine/inference.h"

namespace caltrop {

struct JudgedSet {
  std::vector<AttackSummary> sizes =
      {};  // of each size of the set; of one that states none the size is infinite
  std::vector<float> clean = {}, attacked = {};  // logits: (images, outputs), (images x sizes, outputs)
  int64_t outputs = 0;
};
// Success is a wrong class, or of a set with targets to arrive there, whatever the set claims; robust is right before and
// after. A perturbation counts at its size whether or not it keeps to it: 'caltrop verify' checks that.
JudgedSet judge_set(const Model& model, const AttackedSet& set, int64_t batch, const Progress& progress);

}  // namespace caltrop
