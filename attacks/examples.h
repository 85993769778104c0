// Single images under an attack, with what the network says of them: for people to look at.
#pragma once

#include <cstdint>
#include <vector>

#include "attacks/attack_images.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// What a network says of an image, and how sure it is (softmax).
struct Opinion {
  int32_t says = 0;
  double sure = 0;
};
struct Example {
  std::vector<float> clean, attacked;  // (h,w,c)
  int32_t label = 0;
  Opinion before, after;

  bool fooled() const { return after.says != label; }
  std::vector<float> difference() const;  // attacked - clean
};

// The first image of each of the first ten classes, those that occur.
std::vector<int64_t> first_of_classes(const Images& images);

// Images `rows` under each of `sizes`, in the order image by image.
std::vector<Example> examples_of(const Model& model, const Images& images, const std::vector<int64_t>& rows,
                                 const std::vector<float>& sizes, const AttackOptions& how);

}  // namespace caltrop
