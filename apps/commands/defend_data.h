// The attacked images of a defence: planned, crafted on the undefended network or taken from the cache, put
// together.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "apps/commands/defend_flags.h"
#include "apps/core/console.h"
#include "apps/core/setup.h"
#include "apps/report/table.h"
#include "apps/study/crafted_cache.h"
#include "defense/eat.h"

namespace caltrop {

inline const std::string kExactLeft = "exact, left by rounding";

struct DefenceData {
  std::vector<PoolLane> lanes;  // those that are trained on, then those that are not
  AttackedPool train;
  // The test images as the defence is meant to see them, the same rounded to 8 bits where they are not yet, of the
  // first those that rounding does not turn back into clean ones, and test images under attacks that are not
  // trained on.
  struct Test {
    std::string name;  // "exact", "8 bits", kExactLeft, "unseen"
    AttackedPool pool;
    size_t first_lane = 0, end_lane = std::numeric_limits<size_t>::max();
  };
  std::vector<Test> tests;
};

// Places of the pools; an Error where a cycle needs more than there are.
struct PoolSizes {
  int64_t train = 0, test = 0, unseen = 0;
};
PoolSizes pool_sizes(const DefendFlags& options, int64_t clean_train, int64_t clean_test);

// What --controls leave-out leaves out of training, one after the other.
struct LeftOut {
  std::string name;  // "gma", "big-sizes", "linf"
  PoolFilter out;
};
std::vector<LeftOut> left_out(const DefendFlags& options, const std::vector<PoolLane>& trained);

DefenceData prepare_data(const DefendFlags& options, const TrainedWithData& target, const PoolSizes& sizes,
                         Console& console);

// What the pools hold: places, images that the attack left unchanged, images kept, of those that fool the
// network.
Table pool_table(const DefenceData& data);

}  // namespace caltrop
