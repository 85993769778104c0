#include "defense/attack_target.h"

#include "attacks/adaptive.h"
#include "defense/evading.h"

namespace caltrop {

AttackTarget::AttackTarget(const Defended& defended, const std::vector<int32_t>& labels, int64_t draws,
                           bool unaware)
    : defended_(defended),
      classifier_(unaware && defended.unaware ? defended.unaware.get() : defended.classifier.get()),
      alone_(classifier_ != defended.classifier.get() && defended.unaware_answers_otherwise) {
  const auto behind = [&](std::unique_ptr<Classifier> layer) {
    classifier_ = layers_.emplace_back(std::move(layer)).get();
  };
  if (defended.detects && !alone_) behind(std::make_unique<Evading>(*classifier_, labels));
  if (draws > 1 && classifier_->random()) behind(std::make_unique<Averaged>(*classifier_, draws));
}

void AttackTarget::judges(AttackJob& job) const {
  if (!defended_.answers && !defended_.detects && !alone_) return;
  job.answers = [this](const Tensor& x, const std::vector<int64_t>& images) {
    return defended_(x, images);
  };
  if (defended_.detects) job.alarm = static_cast<int32_t>(defended_.classifier->outputs()) - 1;
}

}  // namespace caltrop
