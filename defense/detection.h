// What a judge makes of clean and attacked test images, counted: what tables, figures and pages of a defence are
// made of.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "defense/defence.h"
#include "defense/fates.h"
#include "engine/metrics.h"

namespace caltrop {

// Attacked images, and those among them that fool the undefended network, which are the ones that matter.
struct AttackedFates {
  Fates all, fooling;
  void add(bool fools, int32_t answer, int32_t truth, int32_t attacked) {
    all.add(answer, truth, attacked);
    if (fools) fooling.add(answer, truth, attacked);
  }
};

struct JudgedTest {
  std::string model, stage, test;
  // To the clean images, then to those of the pool: classes, or the alarm; -1 where a detector that knows no classes
  // finds nothing.
  std::vector<int32_t> answers = {};

  bool detects = true;        // else nobody raises alarms, and there is nothing to say of them
  bool knows_classes = true;  // else the metrics are empty, and what is not flagged counts as wrong
  Fates clean = {};
  AttackedFates attacked = {};
  Metrics metrics = {};  // over all classes, of which the alarm is one (Eq. 7-10)

  struct Attack {
    std::string name;
    AttackedFates fates;
    Metrics metrics;  // over the clean images and those of this attack
  };
  std::vector<Attack> attacks = {};  // in the order of the pool

  struct Size {
    std::string attack;
    Norm norm = Norm::linf;
    std::optional<float> size;  // absent: it fits none
    AttackedFates fates;
  };
  std::vector<Size> sizes = {};

  // Right answers to both kinds of images: the own class of clean ones, the alarm for attacked.
  int64_t sound() const { return clean.right + attacked.all.flagged; }
  // Whether it finds at least as large a share of attacked images, with no larger a share of false alarms.
  bool no_worse_than(const JudgedTest& other) const;
};

// Of all attacks of all test sets, rising.
std::vector<float> sizes_of(std::span<const TestSet> tests);

// Counts `answers`, the rest of a JudgedTest. Classes lie below `attacked`. Without `detects` nobody raises alarms,
// and the right answer to an attacked image is its class. `sizes`, rising: an image of an attack without sizes (CW)
// stands at the smallest that it fits. An Error unless there is an answer for each image.
JudgedTest judged(JudgedTest answered, const TestSet& set, int32_t attacked, bool detects,
                  std::span<const float> sizes);

}  // namespace caltrop
