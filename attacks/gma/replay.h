// Stored attacked images, shown to a network once more: Algorithm 2's analysis of what it says of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attacks/gma.h"
#include "engine/inference.h"

namespace caltrop {

// Some images of a set with all their sizes; the attacked image is clip(x / 255 + delta).
struct StoredAttacks {
  std::string name;  // what errors call it
  ImageShape shape;
  std::span<const int64_t> index;                          // (n), in the data set that they come from
  std::span<const int32_t> label;                          // (n)
  std::span<const uint8_t> x;                              // (n,h,w,c)
  std::span<const float> eps, v;                           // (s): of each size, see GmaSize
  std::span<const int32_t> exponent;                       // (s)
  std::span<const uint8_t> ten;                            // (s): the base is 10, not e
  std::span<const float> delta;                            // (n,s,h,w,c)
  std::span<const int32_t> zero_gradients, nan_gradients;  // (n,s), as the attack met them
};

// Takes the parts of a set, one after the other. Predictions are those of this network, budgets and violations are
// measured on the stored perturbations: nothing is taken on trust that can be computed.
class GmaReplay {
 public:
  GmaReplay(const Model& model, Norm norm) : model_(model), norm_(norm) {}

  // `progress` receives images done, of all parts so far. An Error where the images do not fit the network, or the
  // sizes are not those of the first part.
  void show(const StoredAttacks& part, const Progress& progress);
  GmaAnalysis analysis() const;  // an Error where nothing was shown

 private:
  AttackRow measure(const StoredAttacks& part, int64_t image, int64_t size) const;

  const Model& model_;
  Norm norm_;
  std::vector<float> eps_;
  std::optional<GmaTally> tally_;
  int64_t images_ = 0;
};

}  // namespace caltrop
