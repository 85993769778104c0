// The attacked images of a defence: planned, crafted on the undefended network or taken from the cache, put
// together.
#pragma once

#include <vector>

#include "apps/console.h"
#include "apps/crafted_cache.h"
#include "apps/defend_flags.h"
#include "apps/setup.h"
#include "apps/table.h"

namespace caltrop {

struct DefenceData {
  std::vector<PoolLane> lanes;
  AttackedPool train;
  // The test images as the defence is meant to see them, and the same rounded to 8 bits where they are not
  // yet.
  struct Test {
    std::string name;  // "exact", "8 bits"
    AttackedPool pool;
  };
  std::vector<Test> tests;
};

// Places of the two pools; an Error where a cycle needs more than there are.
struct PoolSizes {
  int64_t train = 0, test = 0;
};
PoolSizes pool_sizes(const DefendFlags& options, int64_t clean_train, int64_t clean_test);

DefenceData prepare_data(const DefendFlags& options, const TrainedWithData& target, const PoolSizes& sizes,
                         Console& console);

// What the pools hold: places, images that the attack left unchanged, images kept, of those that fool the
// network.
Table pool_table(const DefenceData& data);

}  // namespace caltrop
