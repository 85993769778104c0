// What Li & Li 2017 look at: statistics of what the filters of a convolution give, over an image's pixels. For K channels,
// with the principal axes of clean images' pixel vectors (K numbers each) and their variances:
//
//   mean |(y - centre) . axis_j| / sigma_j of each axis j; the least, the 25, 50 and 75 percentile and the largest of each
//   channel
//
// at most 6 K numbers for an image. A percentile is the element of that rank, without interpolation, so that its gradient goes
// to one pixel. Axes whose variance is below a millionth of the first's are left out: there the filters depend on one
// another (of 32 filters of 3x3 on grey images 9 do not), and what is left is rounding.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// The axes of one convolution: centre (1,K), axes (K,r), scale (1,r), which is 1 / sigma.
struct FilterAxes {
  Tensor centre, axes, scale;
  int64_t statistics() const { return scale.dim(1) + 5 * centre.dim(1); }
};
// y (n,h,w,K) -> (n,r), then five times (n,K). All are ops, whose gradients flow to y.
std::vector<Tensor> filter_statistics(const Tensor& y, const FilterAxes& of);

// The logits of a network, and what its convolutions give.
struct Convolved {
  Tensor logits;
  std::vector<Tensor> convolutions;
};
Convolved convolved(const Model& model, const Tensor& x);

// The axes of each convolution of the network, over all pixels of the images.
std::vector<FilterAxes> filter_axes(const Model& model, const ImageSource& images);

}  // namespace caltrop
