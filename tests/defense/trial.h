// A small task for defences: ten classes of small images, and a network trained on them.
#pragma once

#include <vector>

#include "defense/defence.h"
#include "engine/random.h"
#include "engine/training.h"
#include "tests/attacks/setup.h"

namespace caltrop::test {

// Ten classes, told apart by which rows are bright: learned in a few passes, and hard to hide in a ball of 0.1.
inline Images rows_of_light(int64_t count, uint64_t seed) {
  Random random(seed, Purpose::test);
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(i % 10);
    labels.push_back(label);
    for (int64_t p = 0; p < 144; ++p) {
      const bool bright = p / 12 == label || p / 12 == label + 2;
      pixels.push_back(static_cast<uint8_t>((bright ? 160 : 40) + random.below(60)));
    }
  }
  return Images(cpu_backend(), {12, 12, 1}, pixels, labels);
}

struct Trial {
  Images train = rows_of_light(400, 1), test = rows_of_light(60, 2);
  Model target = make_model("flatten | dense 24 | relu | dense 10", {12, 12, 1}, 3);
  Watch watch;
  Crafter crafter{target, "", {"test", {}}, watch};

  Trial() {
    Optimizer optimizer({.rate = 0.002f}, target.parameters());
    CrossEntropy objective;
    (void)fit(target, optimizer, train, objective, {.epochs = 8, .batch = 32, .seed = 3});
  }
  DefenceTask task() {
    DefenceTask task{.target = target,
                     .train = train,
                     .test = test,
                     .classes = 10,
                     .crafter = crafter,
                     .seed = 5,
                     .watch = watch};
    task.known.attacks = {"fgsm"};
    task.known.norm = Norm::linf;
    task.known.big_sizes = {};
    return task;
  }
};

}  // namespace caltrop::test
