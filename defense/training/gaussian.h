// Gaussian augmentation (Zantedeschi et al. 2017): to each mini-batch noisy copies of its images are appended, under
// their own labels.
#pragma once

#include <map>

#include "defense/training/trained.h"

namespace caltrop {

// The mean of the cross-entropy over n images and over clip(x + sigma N(0,1)) of the first `ratio` n of them, in one
// pass. The noise is a function of seed, step and image. The loss of an image is (n / (n + k)) times the sum of its own
// and its copy's, so that the mean over the images is the mean over all.
class GaussianAugmentation final : public Objective {
 public:
  GaussianAugmentation(float sigma, double ratio) : sigma_(sigma), ratio_(ratio) {}

  int64_t copies(int64_t size) const;
  void prepare(const Model& model, const MiniBatch& batch) override;
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;

 private:
  struct Appended {
    Tensor noise;  // (k,h,w,c)
    Tensor fold;   // (n, n + k): adds an image's losses
  };
  float sigma_;
  double ratio_;
  std::map<int64_t, Appended> of_size_;
};

DefenceInfo gaussian_info();

}  // namespace caltrop
