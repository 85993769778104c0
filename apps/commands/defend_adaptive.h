// Attacks that know the defence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/report/table.h"
#include "attacks/attack.h"
#include "defense/mia.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// pgd climbs the margin max_{k not in {y,K}} z_k - max(z_y, z_K), cw minimises the distance under it, apgd-ce
// and apgd-dlr climb their own losses towards it, and square climbs it by queries of logits alone.
inline const std::vector<std::string> kAdaptiveAttacks = {"pgd", "apgd-ce", "apgd-dlr", "cw", "square"};

struct AdaptiveOptions {
  std::vector<std::string> attacks = kAdaptiveAttacks;
  std::vector<float> linf = {0.01f, 0.03f, 0.1f, 0.3f}, l2 = {0.5f, 1.0f, 2.0f, 3.0f};
  int64_t images = 0;                        // the first of the test images
  int64_t steps = 100;                       // of pgd and apgd
  int64_t queries = 5000;                    // of square
  EnsembleMean mean = EnsembleMean::logits;  // of the networks: what attacks see
  AttackOptions cw = attack_defaults(AttackKind::cw);
  uint64_t seed = 0;
};

// Each attack on a mean of `networks`, as defense/evading.h shows it, judged by the hard vote. PGD begins at the
// image: a random start is noise that detectors know. The log of the mean softmax follows the surest network alone
// and hides the others' gradients, so the mean of the logits is the better guide. Shares of images that get their
// own class, that are called attacked, that get a wrong class, and the last of these when attacked images are
// rounded to 8 bits. `none` is the vote on clean images; `any` counts an image that one of the attacks brings to a
// wrong class. Where cw finds nothing within a size, the attacker has only the clean image.
Table adaptive_table(const std::vector<const Model*>& networks, const Images& test, int32_t attacked,
                     const AdaptiveOptions& options, Console& console);

}  // namespace caltrop
