// Bilateral adversarial training (Wang & Zhang 2019): both sides of a training pair are moved, the image by an attack
// towards the class that the network confuses it with most, the label by the network's own losses. With the losses
// L_k = -log p_k(x) of the clean image, as the network answers in evaluation, and t = argmax_{k != y} z_k:
//
//   image  x_0 = x + U(+-eps),  x' = clip(x_i - a sign dCE(x_i, t)/dx_i) to the ball and the box      (one step, a = eps)
//   label  d_k = L_k - m + gamma  for k != y, with m and M the least and the largest L_k there, S the sum of d_k
//          delta = 1 / (1 + beta (M - m + gamma) / S),   y'_k = delta d_k / S,   y'_y = 1 - delta
//
// so that y'_y = beta max_k y'_k: beta says how much surer the label stays of its own class than of any other. The
// update descends CE(x', y'). It costs a pass forward for the losses and one step of attack.
#pragma once

#include "defense/training/craft.h"
#include "defense/training/trained.h"

namespace caltrop {

struct BilateralOptions {
  CraftOptions craft = {.start = CraftStart::unboxed};
  float beta = 9, gamma = 0.01f;
};

// The largest logit but the label's, of each row of z (n,K), K >= 2.
Labels most_confused(const Tensor& z, const Labels& labels);
// y' (n,K) of each row, values alone.
Tensor moved_labels(const Tensor& z, const Labels& labels, float beta, float gamma);

class BilateralTraining final : public Objective {
 public:
  explicit BilateralTraining(const BilateralOptions& options) : options_(options), craft_(options.craft) {}

  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;
  std::vector<std::string> reports() const override { return {"label_moved"}; }  // delta

 private:
  BilateralOptions options_;
  StepCraft craft_;
};

DefenceInfo bilateral_info();

}  // namespace caltrop
