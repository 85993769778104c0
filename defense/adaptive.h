// Attacks that know the defence and are made on it: what is left where an attacker follows its gradients.
//
// Each attack sees Defended::classifier, and where that raises alarms (defense/evading.h) it looks for a class that
// is neither the right one nor the alarm. PGD begins at the image: a random start is noise that detectors know.
// pgd climbs the margin max_{k not in {y,K}} z_k - max(z_y, z_K), cw minimises the distance under it, apgd-ce and
// apgd-dlr climb their own losses towards it, and square climbs it by queries of logits alone. Where cw finds
// nothing within a size, the attacker has only the clean image.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "defense/defence.h"
#include "defense/fates.h"

namespace caltrop {

inline const std::vector<std::string> kAdaptiveAttacks = {"pgd", "apgd-ce", "apgd-dlr", "cw", "square"};
// ... and of one step, which is what some papers judge by.
inline const std::vector<std::string> kAdaptiveChoices = {"fgsm",     "pgd", "apgd-ce",
                                                          "apgd-dlr", "cw",  "square"};

struct AdaptiveOptions {
  std::vector<std::string> attacks = kAdaptiveAttacks;
  std::vector<float> linf = {0.01f, 0.03f, 0.1f, 0.3f}, l2 = {0.5f, 1.0f, 2.0f, 3.0f};
  int64_t images = 0;      // the first of the test images
  int64_t steps = 100;     // of pgd and apgd
  int64_t queries = 5000;  // of square
  AttackOptions cw = attack_defaults(AttackKind::cw);
  uint64_t seed = 0;
};

// What becomes of the images under one attack of one size: as they are, and rounded to 8 bits. "none": clean ones.
// "any": an image counts as wrong that one of the attacks brings to a wrong class; no more is known of it.
struct AdaptiveRow {
  std::string attack;
  std::optional<Norm> norm;
  float size = 0;
  Fates exact, rounded;
};
// `unaware`: made on Defended::unaware, which there must be; the defence judges.
std::vector<AdaptiveRow> attack_defended(const Defended& defended, const Images& test, int32_t attacked,
                                         const AdaptiveOptions& options, Watch& watch, bool unaware = false);

}  // namespace caltrop
