// Single images for the page of `caltrop demo`: attacked, with what the network says of them.
#pragma once

#include <cstdint>
#include <vector>

#include "apps/demo/result.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// The first image of each of the first ten classes, those that occur.
std::vector<int64_t> first_of_classes(const Images& images);

// Images `rows` under each of `sizes`, in the order image by image. The vote is left open.
std::vector<Example> examples_of(const Model& model, const Images& images, const std::vector<int64_t>& rows,
                                 const std::vector<float>& sizes, const AttackOptions& how);

// attacked - clean.
std::vector<float> difference(const Example& example);

}  // namespace caltrop
