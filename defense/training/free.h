// Free adversarial training (Shafahi et al. 2019, Algorithm 1): each mini-batch is taken m times, and one backward pass
// gives the update of the weights and a step of the perturbation, which stays from mini-batch to mini-batch.
//
//   theta <- theta - rate dL(x + d)/dtheta,   d <- clip( d + eps sign(dL(x + d)/dd), +-eps )
#pragma once

#include "defense/training/trained.h"

namespace caltrop {

class FreeTraining final : public Objective {
 public:
  FreeTraining(float eps, int64_t repeats) : eps_(eps), repeats_(repeats) {}

  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;
  void update(const MiniBatch& batch, const std::vector<Tensor>& gradients) override;
  int64_t repeats() const override { return repeats_; }
  void save(SafeTensorFile& file) const override;
  void load(const SafeTensorFile& file) override;

  const Tensor& perturbation() const { return delta_; }  // (batch,h,w,c): row k is that of the k-th image

 private:
  float eps_;
  int64_t repeats_;
  Tensor delta_;
  std::vector<float> loaded_;  // until the first mini-batch says where
};

DefenceInfo free_info();

}  // namespace caltrop
