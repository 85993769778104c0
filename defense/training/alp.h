// Adversarial logit pairing (Kannan et al. 2018): the logits of an image and of the one attacked around it are drawn
// together.
//
//   L(x, y) = CE(z(x'), y), or the mean of that and CE(z(x), y),  + lambda |z(x) - z(x')|_2^2
#pragma once

#include "defense/training/craft.h"
#include "defense/training/trained.h"

namespace caltrop {

class LogitPairing final : public Objective {
 public:
  // `both`: cross-entropy of clean images too.
  LogitPairing(const CraftOptions& craft, float lambda, bool both)
      : craft_(craft), lambda_(lambda), both_(both) {}

  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;
  std::vector<std::string> reports() const override { return {"attacked_loss", "pairing"}; }

 private:
  StepCraft craft_;
  float lambda_;
  bool both_;
};

DefenceInfo alp_info();

}  // namespace caltrop
