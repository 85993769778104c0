// A small task for defences: ten classes of small images, and a network trained on them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "defense/adaptive.h"
#include "defense/defence.h"
#include "engine/random.h"
#include "engine/training.h"
#include "tests/attacks/setup.h"

namespace caltrop::test {

constexpr ImageShape kLightShape = {12, 12, 1};

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
  return Images(cpu_backend(), kLightShape, pixels, labels);
}

struct Trial {
  Images train = rows_of_light(400, 1), test = rows_of_light(60, 2);
  Model target;
  Watch watch;
  Crafter crafter{target, "", {"test", {}}, watch};

  explicit Trial(const char* line = "flatten | dense 24 | relu | dense 10", float rate = 0.002f,
                 int64_t epochs = 8)
      : target(make_model(line, kLightShape, 3)) {
    Optimizer optimizer({.rate = rate}, target.parameters());
    CrossEntropy objective;
    (void)fit(target, optimizer, train, objective, {.epochs = epochs, .batch = 32, .seed = 3});
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

// Attacks of one kind on the first so many images, at an L-inf size.
inline AdaptiveOptions adaptive_linf(std::vector<std::string> attacks, float eps, int64_t images) {
  AdaptiveOptions adaptive;
  adaptive.attacks = std::move(attacks);
  adaptive.linf = {eps};
  adaptive.l2 = {};
  adaptive.images = images;
  return adaptive;
}

}  // namespace caltrop::test
