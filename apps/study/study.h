// What the commands that reproduce studies share: training as `caltrop train` does by default, means over
// seeds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

struct StudyNetwork {
  std::string line, initializer;
};

// A network trained from scratch: Adam, rate 0.001 falling linearly to 0, mini-batches of 128. An Error where
// the weights are not finite in the end.
Model train_network(const StudyNetwork& network, const Images& images, int64_t epochs, uint64_t seed,
                    Console& console, const std::string& label);

struct MeanAndDeviation {
  double mean = 0;
  std::optional<double> deviation;  // of a sample: n - 1 in the denominator; of one value there is none
};
MeanAndDeviation over_seeds(const std::vector<double>& values);

}  // namespace caltrop
