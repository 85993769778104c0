// The detector that needs no training: images of 8 bits hold multiples of 1/255, attacked ones need not.
//
// It is the control for every learned detector of unrounded attacks: what it finds says nothing about the
// attack.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/images.h"

namespace caltrop {

// The nearest k/255: what a file of pictures would hold of a pixel in [0,1].
float rounded_to_8_bits(float value);

// Whether some pixel is no k/255 in fp32, k = 0..255.
bool off_grid(std::span<const float> image);
std::vector<bool> off_grid(const ImageSource& images);

}  // namespace caltrop
