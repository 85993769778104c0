// What 'caltrop verify' reads: a set of attacked images, what it claims, and the data set that it was made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "data/attacked_set.h"

namespace caltrop {

// What a set says of itself, in config.json beside it and in its name; flags win over both.
struct Claims {
  std::string norm;
  std::optional<double> eps;  // absent: no bound
  bool minimum_norm = false, targeted = false, predicted_labels = false;
  int32_t target = -1;
  double confidence = 0;
  Json config;  // of the run that made it; an empty object where there is none
};
// UsageError where nobody says the norm.
Claims read_claims(const std::string& file, const std::string& norm, std::optional<double> eps);

// Fills what the flags leave open of the choice of a data set from the config of the run: its name, subset, split.
// The folder of the images is never taken from there: whoever verifies says where his images lie.
void follow_config(const Json& config, const Flags& flags, DataOptions& data, std::string& subset);

// Puts the data set's images and labels in the place of the stored ones, by index. Returns of how many images the
// pixels, the labels differed. An Error where an index is none of `truth`, or the images have another shape.
struct Differences {
  int64_t images = 0, labels = 0;
};
Differences replace_by(const ImageSet& truth, AttackedSet& set);

}  // namespace caltrop
