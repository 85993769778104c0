// Defensive distillation (Papernot et al. 2016), as Carlini & Wagner's code trains it (nn_robust_attacks,
// train_models.py): a first epoch that teacher and student share; the teacher minimises CE(z / T, y); its soft labels
// softmax(z / T) on the training images; the student, of the same network, CE(z / T, soft labels). Answers are given at
// T = 1, where its logits are T times what they were trained to be: cross-entropy is saturated and its gradients vanish
// in fp32, which stops attacks by that gradient and no others.
#pragma once

#include <map>
#include <vector>

#include "defense/training/trained.h"

namespace caltrop {

// softmax(z / T) of each image, (count, outputs) row-major on the host.
std::vector<float> soft_labels(const Model& teacher, const ImageSource& images, float temperature);

// CE(z / T, y), of the images' own classes or of soft labels in their order. Its gradient has a factor of 1 / T.
class TemperedCrossEntropy final : public Objective {
 public:
  explicit TemperedCrossEntropy(float temperature, std::vector<float> soft = {})
      : temperature_(temperature), soft_(std::move(soft)) {}

  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;

 private:
  float temperature_;
  std::vector<float> soft_;
  std::map<int64_t, Tensor> targets_;  // for each size of mini-batch
};

DefenceInfo distillation_info();

}  // namespace caltrop
