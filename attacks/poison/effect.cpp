#include "attacks/poison/effect.h"

#include "engine/inference.h"
#include "engine/metrics.h"

namespace caltrop {
std::vector<PoisonTrainingSet> poison_training_sets(const Images& images, const PoisonRoles& roles,
                                                    std::span<const uint8_t> poison,
                                                    std::span<const int32_t> labels,
                                                    const PoisonOptions& options) {
  const std::vector<int64_t> rows = roles.trained_on();
  const std::vector<uint8_t> clean = images.at(roles.poisoned).bytes(),
                             noise = stored_poison(clean, random_poison(images, roles, options));
  return {{"clean twin", images.at(rows)},
          {"poisoned", images.with(roles.poisoned, poison, labels).at(rows)},
          {"random noise", images.with(roles.poisoned, noise, labels).at(rows)}};
}

void PoisonEffect::add(const Model& model, const Images& test, const Images& targets) {
  const Evaluation tested = evaluate(model, test);
  accuracy.push_back(tested.metrics.accuracy);
  on_targets.push_back(evaluate(model, targets).metrics.accuracy);
  for (size_t k = 0; k < recall.size(); ++k)
    recall[k].push_back(class_metrics(tested.confusion, static_cast<int64_t>(k)).recall);
}

}  // namespace caltrop
