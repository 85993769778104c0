// How alike images are, in numbers: the paper's second condition of GMA was judged by eye.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attacks/attack_images.h"
#include "engine/architecture.h"

namespace caltrop {

// Peak signal-to-noise ratio in dB of images in [0,1], from their mean squared error; infinite for 0.
double peak_signal_to_noise(double mean_squared_error);

// Mean structural similarity of two images (h,w,c) in [0,1] (Wang, Bovik, Sheikh, Simoncelli 2004): Gaussian
// windows of 11 x 11, sigma 1.5, K1 = 0.01, K2 = 0.03, over the places where a window fits, averaged over the
// channels. An Error where the image is smaller than a window.
double structural_similarity(std::span<const float> a, std::span<const float> b, ImageShape shape);

// What an attack of one size did to images: means over all of them, and what the network says.
struct Similarity {
  double l2 = 0, linf = 0, squared_error = 0, ssim = 0;
  double changed = 0;  // share of the pixels that differ when both images are rounded to 8 bits
  int64_t images = 0, correct = 0;
  int64_t fooled = 0, fooled_rounded = 0;  // of the correct; of those, still after rounding to 8 bits
};

// Attacks the first `count` images, or all where there are fewer; one result for each of `epsilons`.
std::vector<Similarity> measure_similarity(const Model& model, const Images& images, int64_t count,
                                           std::span<const float> epsilons, const AttackOptions& options,
                                           const Progress& progress = {});

}  // namespace caltrop
