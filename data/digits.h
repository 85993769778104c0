// A built-in data set: grey 28x28 digits drawn like handwriting, so that everything runs without a download.
//
// A digit is a few smooth curves through the points of one of several ways of writing it. The points are
// jittered, then moved by a smooth random (elastic) displacement and a random affine map, and the curves
// drawn with a round pen of random width, pressure and ink.
#pragma once

#include <cstdint>
#include <span>

#include "data/dataset.h"

namespace caltrop {

inline constexpr int64_t kDigitSize = 28;
inline constexpr int64_t kDigitsTrain = 10000, kDigitsTest = 2000;

// Draws image `index` of the set with this seed into 28*28 `pixels`: a function of (seed, index) alone.
// Returns its label, index mod 10.
int32_t draw_digit(uint64_t seed, int64_t index, std::span<uint8_t> pixels);

// Images first ... first + count - 1.
ImageSet draw_digits(uint64_t seed, int64_t first, int64_t count);

}  // namespace caltrop
