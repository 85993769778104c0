// Feature denoising (Xie et al. 2019): a denoising layer after each stage of convolutions, and adversarial training.
#pragma once

#include "defense/training/trained.h"

namespace caltrop {

// The line with `layer` after each run of pools that follows a convolution, before a residual block that makes the image
// smaller, and before the image is flattened or averaged; outside residual blocks. An Error where there is no such
// place.
Architecture with_denoising(const Architecture& line, const DenoiseSpec& layer);

DefenceInfo feature_denoising_info();

}  // namespace caltrop
