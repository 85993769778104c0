// Adversarial training: a share of each mini-batch is attacked as the network stands, by FGSM or PGD under L-inf, and
// learned under its own labels.
//
//   Goodfellow et al. 2015, Kim 2025   clean and FGSM images: --share 0.5 --attack fgsm
//   Madry et al. 2018                  PGD images alone: --share 1 --attack pgd
#pragma once

#include <cstdint>

#include "defense/training/craft.h"
#include "defense/training/trained.h"

namespace caltrop {

// Which moments batch norm takes in training, where a mini-batch has clean and attacked images.
//   mixed  those of both together, in one pass
//   apart  each kind its own, in two passes, both of which move the running ones (Kurakin et al. 2017 advise against)
//   clean  the clean images their own, which alone move the running ones; attacked images go by the running ones
enum class BatchNormSees : uint8_t { mixed, apart, clean };

struct AdversarialOptions {
  double share = 0.5;  // attacked, of each mini-batch, rounded
  CraftOptions craft = {};
  BatchNormSees batch_norm = BatchNormSees::mixed;
};

class AdversarialTraining final : public Objective {
 public:
  explicit AdversarialTraining(const AdversarialOptions& options)
      : options_(options), craft_(options.craft) {}

  // How many of a mini-batch of `size`: its first, which are in random order.
  int64_t attacked(int64_t size) const;
  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;

 private:
  AdversarialOptions options_;
  StepCraft craft_;
};

DefenceInfo adversarial_info();

}  // namespace caltrop
