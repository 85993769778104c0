// The ways to the meta-gradient of poisoning, side by side.
#pragma once

#include <string>
#include <vector>

#include "attacks/poison/poison.h"

namespace caltrop {

inline constexpr double kMetaGradientsAgree = 1e-3;

struct MetaGradientWay {
  std::string name;
  double slope = 0;    // along the exact meta-gradient, whose own slope is its length
  double apart = 0;    // from the exact one, as a share of its length
  double seconds = 0;  // that it took
};

struct MetaGradientComparison {
  std::vector<MetaGradientWay>
      ways;             // `unrolled` first, which the others are measured by; finite differences last
  bool smooth = false;  // is_smooth(): differences of any kind are no witness where it is not
  bool agree = true;    // to kMetaGradientsAgree, of those that must
};

// On the first group of poisoned images, with theta_0 the weights of `model`. An Error where the gradient is zero.
MetaGradientComparison compare_meta_gradients(const Model& model, const Images& images,
                                              const PoisonRoles& roles, const PoisonOptions& options);

}  // namespace caltrop
