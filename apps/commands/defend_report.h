// What judges make of clean and attacked test images, and the rest of what a defence's evaluation found, as tables.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "apps/report/table.h"
#include "defense/cycles.h"
#include "defense/evaluation.h"
#include "engine/metrics.h"

namespace caltrop {

using NamedPools = std::vector<std::pair<std::string, AttackedPool>>;

class DetectionReport {
 public:
  // Classes 0 ... attacked - 1 are clean. `sizes`, rising: of attacks; an image of an attack without sizes stands
  // at the smallest that it fits. Without `detects` nobody raises alarms, and the right answer to an attacked image
  // is its class.
  DetectionReport(int32_t attacked, std::vector<float> sizes, bool detects = true);

  void add(const JudgedTest& judged, const Images& clean, const std::string& test, const AttackedPool& pool);

  // One row per judge and test set: 11-way accuracy and macro F1 (Eq. 7-10), then detection alone, in
  // which attacked is positive: its accuracy, F1 and rate (recall), the rate among images that fool the
  // undefended network, the share of attacked images that get a wrong class (neither detected nor right), the
  // false alarms among clean images, and the share of clean images that get their own class.
  const Table& summary() const { return summary_; }
  // ... and attack: recall; accuracy and F1 over the clean images and those of this attack, over all classes and
  // of detection alone.
  const Table& attacks() const { return attacks_; }
  // ... norm and size: recall. CW has no size.
  const Table& sizes() const { return sizes_; }

 private:
  // What became of attacked images. Those that had fooled the undefended network are the ones that matter.
  struct Recall;
  template <typename Takes>
  Recall recall_over(const JudgedTest& judged, const Images& clean, const AttackedPool& pool,
                     Takes takes) const;
  template <typename Takes>
  Metrics metrics_over(const JudgedTest& judged, const Images& clean, const AttackedPool& pool,
                       Takes takes) const;
  void add_attacks(const JudgedTest& judged, const Images& clean, const std::string& test,
                   const AttackedPool& pool);
  void add_sizes(const JudgedTest& judged, const Images& clean, const std::string& test,
                 const AttackedPool& pool);

  int32_t attacked_;
  std::vector<float> all_sizes_;
  bool detects_;
  Table summary_, attacks_, sizes_;
};

// Of all attacks in all pools, rising.
std::vector<float> sizes_of(const std::vector<TestSet>& tests, const NamedPools& trained);
// What the pools hold: images that the attack left unchanged, images kept, of those that fool the network.
Table pool_table(const std::vector<TestSet>& tests, const NamedPools& trained);
Table leave_out_table(const std::vector<LeftOut>& rows);
Table vote_curve_table(const std::vector<VoteEpoch>& curve);
// Shares of images that get their own class, that are called attacked, that get a wrong class, and the last of these
// when attacked images are rounded to 8 bits.
Table adaptive_table(const std::vector<AdaptiveRow>& rows);

}  // namespace caltrop
