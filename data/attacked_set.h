// Attacked images as NPZ: adversarial.npz of `caltrop attack`, and each part of a GMA set. Arrays for n images and
// s sizes; s is 1, and no array has its axis, in a set that states no sizes:
//   x (n,h,w,c) uint8                the clean images
//   index (n) int64                  of each image in the data set that it comes from
//   label, clean_prediction (n) int32
//   target (n) int32                 of a targeted attack alone: the class that each image is pushed to, a success where
//                                    the prediction is that; without it a success is another class than the attacked label
//   delta (n,s,h,w,c) float32        the attacked image is clip(x / 255 + delta); a GMA set may lack it
//   prediction (n,s) int32, success (n,s) uint8: 0 or 1
// and where sizes are stated
//   eps (s) float32                  the size: v e^-exponent, or v 10^-exponent where `ten`
//   v (s) float32, exponent (s) int32, ten (s) uint8
//   linf, l2 (n,s) float32
//   zero_gradients, nan_gradients (n,s) int32: gradients of the attack that were zero, or no numbers
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "engine/architecture.h"

namespace caltrop {

struct AttackedSet {
  ImageShape shape;
  std::vector<int64_t> index = {};
  std::vector<int32_t> label = {}, clean_prediction = {};
  std::vector<int32_t> target = {};  // empty: not targeted
  std::vector<uint8_t> x = {};
  std::vector<float> eps = {}, v = {};  // empty: no sizes are stated
  std::vector<int32_t> exponent = {};
  std::vector<uint8_t> ten = {};
  std::vector<float> delta = {};
  std::vector<int32_t> prediction = {};
  std::vector<uint8_t> success = {};
  std::vector<float> linf = {}, l2 = {};
  std::vector<int32_t> zero_gradients = {}, nan_gradients = {};

  int64_t images() const { return static_cast<int64_t>(index.size()); }
  int64_t sizes() const { return eps.empty() ? 1 : static_cast<int64_t>(eps.size()); }
  int64_t image_size() const { return shape.height * shape.width * shape.channels; }
  bool targeted() const { return !target.empty(); }
  // Whether a prediction for an image is what its attack seeks: the target, or without one a class other than `label`.
  bool sought(size_t image, int32_t prediction, int32_t label) const {
    return targeted() ? prediction == target[image] : prediction != label;
  }
  int64_t classes() const;                             // the largest label or target and one
  std::span<const float> delta_of(int64_t row) const;  // rows: images x sizes, in this order
  ImageSet clean() const;                              // the clean images with their labels
};

// What becomes of `delta`.
enum class Perturbations : uint8_t {
  finite,   // must be there, of finite numbers
  any,      // must be there; the caller judges its numbers
  ignored,  // neither read nor written
};

// An Error of one line where the file holds no images, an array is missing, of another type or does not fit the
// others, or holds what no attack stores: a negative index, label, target or prediction, a size that is not positive, a
// success that is neither 0 nor 1.
AttackedSet read_attacked_set(const std::filesystem::path& path,
                              Perturbations perturbations = Perturbations::finite);
// An Error where arrays do not fit one another; the file appears whole or not at all.
void write_attacked_set(const std::filesystem::path& path, const AttackedSet& set,
                        Perturbations perturbations = Perturbations::any);

}  // namespace caltrop
