// A defended classifier as any attack can meet it, which needs to know of neither votes nor alarms: what it climbs, and who
// judges what it made. attack_defended() (adaptive.h) is the fixed battery of `caltrop defend`; a study attacks through
// this.
//
//   raises alarms      the attack sees Evading (evading.h): it looks for a wrong class, not for the alarm
//   answers itself     (a vote) the attack climbs Defended::classifier, the defence's own answers judge
//   hides gradients    an attacker who does not know it climbs Defended::unaware
//   cleans or watches  ... which is the network alone; the defence's own answers judge
//   draws at random    gradients are averaged over `draws` (Averaged, attacks/adaptive.h)
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attacks/attack_images.h"
#include "defense/defence.h"

namespace caltrop {

class AttackTarget {
 public:
  // `labels`: the true class of each image of the set that is attacked. Both must outlive it.
  AttackTarget(const Defended& defended, const std::vector<int32_t>& labels, int64_t draws = 1,
               bool unaware = false);

  const Classifier& classifier() const { return *classifier_; }
  // Lets the defence's own answers judge the job's images, where they are not the largest logit.
  void judges(AttackJob& job) const;
  // Whether its clean logits may be known (AttackJob::clean).
  bool plain() const {
    return classifier_ == defended_.classifier.get() && !defended_.answers && !classifier_->random();
  }

 private:
  const Defended& defended_;
  std::vector<std::unique_ptr<Classifier>> layers_;
  const Classifier* classifier_;
  bool alone_;  // the network is climbed without what stands before or beside it
};

}  // namespace caltrop
