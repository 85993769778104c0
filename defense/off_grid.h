// The detector that needs no training: images of 8 bits hold multiples of 1/255, attacked ones need not.
//
// It is the control for every learned detector of unrounded attacks: what it finds says nothing about the
// attack.
#pragma once

#include <vector>

#include "engine/images.h"

namespace caltrop {

// The nearest k/255, k = 0..255, of each pixel (of two equally near ones the larger): what a file of pictures
// would hold. NaN stays NaN.
Tensor rounded_to_8_bits(const Tensor& x);

// Of each image (n,h,w,c): whether some pixel is no k/255 in fp32.
std::vector<bool> off_grid(const Tensor& x);
std::vector<bool> off_grid(const ImageSource& images);

}  // namespace caltrop
