// What gradient attacks climb: functions of logits z (n,k), one value for each row, larger where the attack
// is nearer to its goal. y is the attacked label (untargeted) of a row.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/ops.h"

namespace caltrop {

// The positions of the `count` largest logits of each row, the largest first; on a tie the first.
std::vector<Labels> ranking(const Tensor& z, int64_t count);

// Difference of logits ratio (Croce & Hein 2020): -(z_y - max_{k != y} z_k) / (z_(1) - z_(3)), z_(i) the i-th
// largest. Unlike cross-entropy it does not change when z is scaled. Needs three classes.
Tensor difference_of_logits_ratio(const Tensor& z, const Labels& labels);
// Its targeted form: -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2). Needs four classes.
Tensor difference_of_logits_ratio(const Tensor& z, const Labels& labels, const Labels& targets);

}  // namespace caltrop
