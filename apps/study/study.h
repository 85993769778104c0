// What the commands that reproduce studies share: training as `caltrop train` does by default, means over
// seeds (statistics.h).
#pragma once

#include <cstdint>
#include <string>

#include "apps/core/console.h"
#include "apps/study/statistics.h"
#include "engine/images.h"
#include "engine/inference.h"
#include "engine/model.h"

namespace caltrop {

struct StudyNetwork {
  std::string line, initializer;
};

// A network trained from scratch: Adam, rate 0.001 falling linearly to 0, mini-batches of 128. `progress` receives images
// trained on, of all epochs.
Model train_network(const StudyNetwork& network, const Images& images, int64_t epochs, uint64_t seed,
                    const Progress& progress);
// Under a progress line of its own.
Model train_network(const StudyNetwork& network, const Images& images, int64_t epochs, uint64_t seed,
                    Console& console, const std::string& label);

}  // namespace caltrop
