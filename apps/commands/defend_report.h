// What a defence's evaluation found, as tables.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "apps/report/table.h"
#include "defense/defence.h"
#include "defense/evaluation.h"

namespace caltrop {

// What the pools hold: images that the attack left unchanged, images kept, of those that fool the network.
Table pool_table(const std::vector<TestSet>& tests,
                 const std::vector<std::pair<std::string, AttackedPool>>& trained);

// One row per judge and test set: 11-way accuracy and macro F1 (Eq. 7-10), then detection alone, in
// which attacked is positive: its accuracy, F1 and rate (recall), the rate among images that fool the
// undefended network, the share of attacked images that get a wrong class (neither detected nor right), the
// false alarms among clean images, and the share of clean images that get their own class.
Table summary_table(const std::vector<JudgedTest>& judged);
// ... and attack: recall; accuracy and F1 over the clean images and those of this attack, over all classes and
// of detection alone.
Table attacks_table(const std::vector<JudgedTest>& judged);
// ... norm and size: recall. CW has no size.
Table sizes_table(const std::vector<JudgedTest>& judged);

Table leave_out_table(const std::vector<LeftOut>& rows);
Table vote_curve_table(const std::vector<VoteEpoch>& curve);
// Shares of images that get their own class, that are called attacked, that get a wrong class, and the last of these
// when attacked images are rounded to 8 bits.
Table adaptive_table(const std::vector<AdaptiveRow>& rows);
// Images whose input gradient is zero everywhere, by who asks for it.
Table gradients_table(const std::vector<GradientRow>& rows);

}  // namespace caltrop
