// APE-GAN (Shen et al. 2017): a generator learns to turn attacked images back into clean ones, and cleans whatever the
// network is shown. Trained on pairs of an attacked image x' and the clean image x that it was made of:
//
//   discriminator D, one step    BCE(D(x), 1) + BCE(D(G(x')), 0)
//   generator G, two steps       0.7 MSE(G(x'), x) + 0.3 BCE(D(G(x')), 1)
//
// as in its authors' code, but for the generator's sigmoid (theirs is tanh, for pixels from -1 to 1), the mean squared error
// (theirs has its root), and the rate of D, which is G's. The network f is never trained; what comes out is f(G(x)), one
// network like any other, so that an attacker who knows it takes gradients through both. One who does not sees f.
//
//   G  conv W, conv 2W, deconv W, deconv C, each 4x4 with stride 2; D  conv W, 2W, 4W, then one logit    (W = 64)
//
// A pair costs about 195 million multiply-adds (28x28 pixels, W = 64), a mini-batch of 64 keeps about 90 MB.
//
// In the folder: generator.safetensors, model.safetensors (f(G(x))), checkpoint.safetensors.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "defense/training/trained.h"

namespace caltrop {

// The lines of both, for images whose sides are multiples of 4; `width` is W. The generator's image is flattened.
std::string generator_line(const ImageShape& images, int64_t width);
std::string discriminator_line(int64_t width);
// f(G(x)) as one network, of copies of both.
std::shared_ptr<Model> cleaned_network(const Model& generator, const Model& network);

// -log of the probability sigma(z) that `truth` is true, or 1 - sigma(z) that it is not: z (n,1) -> (n).
Tensor doubt(const Tensor& z, bool truth);

struct ApeGanOptions {
  float distance = 0.7f, adversarial = 0.3f;  // weights of the generator's two terms
  OptimizerOptions rule = {};                 // of the discriminator
};

class ApeGanTraining final : public Objective {
 public:
  // The network and the pairs, which are what is trained on, must outlive it.
  ApeGanTraining(const ApeGanOptions& options, Model discriminator, const Model& network,
                 const PairedImages& pairs);

  int64_t repeats() const override { return 2; }  // steps of the generator
  int64_t kinds() const override { return 2; }    // before the first one the discriminator's
  void prepare(const Model& generator, const MiniBatch& batch) override;
  BatchLoss loss(const Model& generator, const MiniBatch& batch) override;
  std::vector<std::string> reports() const override { return {"distance", "doubt", "discriminator"}; }
  void save(SafeTensorFile& file) const override;
  void load(const SafeTensorFile& file) override;

 private:
  struct Kept {
    Tensor clean, discriminator;  // (n,h,w,c) and the loss (n) of the mini-batch, in both steps
  };
  void train_discriminator(const Tensor& cleaned, const MiniBatch& batch, const Kept& kept);

  ApeGanOptions options_;
  Model discriminator_;
  Optimizer optimizer_;
  const Model& network_;
  const PairedImages& pairs_;
  std::map<int64_t, Kept> kept_;  // for each size of mini-batch
};

DefenceInfo ape_gan_info();

}  // namespace caltrop
