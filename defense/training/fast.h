// Fast adversarial training (Wong, Rice & Kolter 2020, Algorithm 3): one step of FGSM from a random start, which is not
// clipped to the box before the gradient is taken there.
//
//   d ~ U[-eps, eps],  d <- clip(d + alpha sign(dCE(x + d)/dd), +-eps),  update on clip(x + d, 0, 1)
//
// It can fall into catastrophic overfitting: within an epoch the network learns to hide its gradient from the one step,
// and an attack of several steps finds it defenceless. Whether that happens depends on the seed.
#pragma once

#include <functional>
#include <memory>

#include "defense/training/trained.h"

namespace caltrop {

// Accuracy under an attack of several steps, after each epoch. Where it falls by more than kFall below the highest so far
// (the authors' code for CIFAR-10 compares with the epoch before) that is told, and with `stop` training ends with the
// weights of the epoch before.
class OverfittingLook final : public EpochLook {
 public:
  static constexpr double kFall = 0.2;

  OverfittingLook(std::function<double(const Model&)> accuracy, bool stop,
                  std::function<void(const std::string&)> tell)
      : accuracy_(std::move(accuracy)), stop_(stop), tell_(std::move(tell)) {}

  bool go_on(Model& model, const EpochResult& epoch, std::map<std::string, double>& reported) override;
  void save(SafeTensorFile& file) const override;
  void load(const SafeTensorFile& file) override;

  bool fallen() const { return fallen_ > 0; }

 private:
  std::function<double(const Model&)> accuracy_;
  bool stop_;
  std::function<void(const std::string&)> tell_;
  double highest_ = 0;
  int64_t fallen_ = 0;     // the first such epoch
  SafeTensorFile before_;  // with `stop`: the weights of the last epoch that was none
};

DefenceInfo fast_info();

}  // namespace caltrop
