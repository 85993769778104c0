// Gradient masking. Kim 2025 says of it "nullifying unused gradients", "unused nodes were changed to 0" and "gradient
// noise", which are three defences; each is a reading, and none of them is said to be the paper's:
//
//   prune  the penultimate units that are least active on clean training images are zero for good, then fine-tuning
//   noise  Gaussian noise on the gradients of the weights in training (Neelakantan et al. 2015, without its decay)
//   mask   what an attacker takes for the gradient of the pixels has its smallest elements zeroed: the network is the
//          undefended one, and an attacker who knows it asks the network itself (obfuscation: Athalye et al. 2018)
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "defense/training/trained.h"

namespace caltrop {

// The dense layer whose units the last layer sees, with activation, batch norm and dropout between; nothing where the
// network does not end so.
std::optional<int64_t> penultimate_layer(const Architecture& architecture);
// Of its units the share with the least mean activation, in ascending order of their numbers; of equal ones the first.
std::vector<int64_t> least_active(const Model& model, const ImageSource& images, double share);
// Zeroes what comes into these units and what goes out of them.
void prune_units(Model& model, const std::vector<int64_t>& units);

// Cross-entropy; after each update what goes out of the units that were pruned is zero again. Then no gradient reaches
// what comes in.
class PrunedTraining final : public Objective {
 public:
  PrunedTraining(const Model& model, const std::vector<int64_t>& units);
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;
  void update(const MiniBatch& batch, const std::vector<Tensor>& gradients) override;

 private:
  Tensor weight_, kept_;  // of the last layer, (outputs, units), and (1, units) ones and zeros
};

// Cross-entropy, whose mean has the gradient g + sigma N(0,1): a function of seed, step and parameter.
class NoisyGradients final : public Objective {
 public:
  explicit NoisyGradients(float sigma) : sigma_(sigma) {}
  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;

 private:
  float sigma_;
  std::vector<Tensor> noise_;
};

// g (n,...) with the share `q` of each row's elements that are smallest in size set to zero; of equal ones none.
Tensor without_smallest(const Tensor& g, double q);

// A network whose input gradients are shown without their smallest elements; what it answers is unchanged.
class MaskedGradients final : public Wrapper {
 public:
  MaskedGradients(const Classifier& network, double share) : Wrapper(network), share_(share) {}

  Pass differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const override;

 private:
  double share_;
};

DefenceInfo masking_info();

}  // namespace caltrop
