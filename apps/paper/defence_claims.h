// What the paper claims of its defence, against the controls.
#pragma once

#include <string>
#include <vector>

#include "apps/paper/defence.h"
#include "apps/report/table.h"

namespace caltrop {

struct DefenceClaim {
  std::string claim;  // a clause: "the vote finds what one comparison per pixel does not"
  std::string paper;  // the paper's number or words; empty where it has none
  std::string ours;   // numbers, as a clause
  // How far the numbers lie on the claim's side of its threshold, over seeds. Where 0 lies within the mean's 95 %
  // interval (Student's t), the seeds do not decide; of one seed no interval is known, and the sign decides.
  MeanAndDeviation margin;
  std::string verdict() const;  // "survives", "does not survive", "undecided"
};
// Of a study with the vote and all its controls; an Error where the number of a claim is missing.
std::vector<DefenceClaim> defence_claims(const DefenceStudy& study);
Table claims_table(const std::vector<DefenceStudy>& studies);
// Each control's numbers over seeds: what is attacked or left out, norm, size, value.
Table controls_table(const DefenceStudy& study);

}  // namespace caltrop
