// What detectors make of clean and attacked test images, as tables.
#pragma once

#include <string>
#include <vector>

#include "apps/commands/defend_data.h"
#include "apps/report/table.h"

namespace caltrop {

// The answers of one detector on one test set: clean images, then those of the pool.
struct Answers {
  std::string model, stage;
  std::vector<int32_t>
      predictions;  // classes, or `attacked`; -1: not attacked, of a detector that knows no classes
};

class DetectionReport {
 public:
  // Classes 0 ... attacked - 1 are clean.
  DetectionReport(const std::vector<PoolLane>& lanes, int32_t attacked);

  void add(const Answers& answers, const Images& clean, const DefenceData::Test& test);

  // One row per detector and test set: 11-way accuracy and macro F1 (Eq. 7-10), then detection alone, in
  // which attacked is positive: its accuracy, F1 and rate (recall), the rate among images that fool the
  // undefended network, the share of attacked images that get a wrong class (neither detected nor right), the
  // false alarms among clean images, and the share of clean images that get their own class.
  const Table& summary() const { return summary_; }
  // ... and attack: recall; accuracy and F1 over the clean images and those of this attack, over all classes and
  // of detection alone.
  const Table& attacks() const { return attacks_; }
  // ... norm and size: recall. CW has no size; its images stand at the smallest size that they fit.
  const Table& sizes() const { return sizes_; }

 private:
  void add_attacks(const Answers& answers, const Images& clean, const DefenceData::Test& test);
  void add_sizes(const Answers& answers, const Images& clean, const DefenceData::Test& test);

  const std::vector<PoolLane>& lanes_;
  int32_t attacked_;
  Table summary_, attacks_, sizes_;
};

}  // namespace caltrop
