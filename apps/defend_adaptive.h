// An attack that knows the defence.
#pragma once

#include <cstdint>
#include <vector>

#include "apps/console.h"
#include "apps/table.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// APGD on the mean softmax of `networks`, away from the true class and from that of attacked images
// (defense/evading.h), judged by the hard vote on the attacked images as they are and rounded to 8 bits. The
// first `images` of `test`, under L-inf and L2.
Table adaptive_table(const std::vector<const Model*>& networks, const Images& test, int64_t images,
                     int32_t attacked, int64_t seed, Console& console);

}  // namespace caltrop
