// TRADES (Zhang et al. 2019, Eq. 5 and Algorithm 1): the error on clean images, and how far the answer to an image can be
// moved from the network's own.
//
//   L(x, y) = CE(z(x), y) + beta max_{|x'-x| <= eps} KL(p(x) | p(x'))
//
// x' climbs the divergence from x + 0.001 N(0,1); the network's answer in evaluation mode is what it climbs away from.
// Both forward passes of the update see their own moments in batch norm, as in the authors' code.
#pragma once

#include "defense/training/craft.h"
#include "defense/training/trained.h"

namespace caltrop {

class Trades final : public Objective {
 public:
  Trades(const CraftOptions& craft, float beta) : craft_(craft), mode_(craft.training_mode), beta_(beta) {}

  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;
  std::vector<std::string> reports() const override { return {"clean_loss", "divergence"}; }

 private:
  StepCraft craft_;
  bool mode_;  // training mode while crafting
  float beta_;
};

DefenceInfo trades_info();

}  // namespace caltrop
