// Attacks that know the defence (Carlini & Wagner 2017, "Adversarial Examples Are Not Easily Detected"): a
// detector with a class for attacked images is only fooled by a class that is neither the right one nor that.
//
// Evading shows such a classifier, with logits z (n,K+1) whose last is `attacked`, to an attack as one of K
// classes:
//   z'_y = max(z_y, z_K) for the true class y of each image,   z'_k = z_k for the others
// so that every attack on z', whatever its loss, climbs towards max_{k not in {y,K}} z_k > max(z_y, z_K), and
// succeeds where that holds. No attack needs to know of detectors. CW's objective on z' is that margin itself;
// an attack that climbs a loss of its own (PGD: cross-entropy) can be made to climb the margin instead.
#pragma once

#include <cstdint>
#include <vector>

#include "attacks/classifier.h"

namespace caltrop {

enum class Climb : uint8_t {
  own_loss,  // what the attack asks for
  margin,    // max_{k not in {y,K}} z_k - max(z_y, z_K), whatever it asks for; for untargeted attacks
};

class Evading final : public Wrapper {
 public:
  // `labels`: the true class of each image of the set that is attacked, by its number. Both must outlive it.
  Evading(const Classifier& detector, const std::vector<int32_t>& labels, Climb climb = Climb::own_loss);

  Tensor logits(const Tensor& x, const Query& query) const override;
  Pass differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const override;
  int64_t outputs() const override { return Wrapper::outputs() - 1; }

 private:
  Labels truth(const Tensor& x, const Query& query) const;  // of each row

  const std::vector<int32_t>& labels_;
  Climb climb_;
  Tensor classes_, alarm_;  // (K+1,K) and (K+1,1): pick the columns of z
};

}  // namespace caltrop
