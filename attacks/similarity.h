// How alike two images are, in numbers: the paper's second condition of GMA was judged by eye.
#pragma once

#include <cstdint>
#include <span>

#include "engine/architecture.h"

namespace caltrop {

// Peak signal-to-noise ratio in dB of images in [0,1], from their mean squared error; infinite for 0.
double peak_signal_to_noise(double mean_squared_error);

// Mean structural similarity of two images (h,w,c) in [0,1] (Wang, Bovik, Sheikh, Simoncelli 2004): Gaussian
// windows of 11 x 11, sigma 1.5, K1 = 0.01, K2 = 0.03, over the places where a window fits, averaged over the
// channels. An Error where the image is smaller than a window.
double structural_similarity(std::span<const float> a, std::span<const float> b, ImageShape shape);

}  // namespace caltrop
