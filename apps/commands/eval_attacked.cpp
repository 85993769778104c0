#include "apps/commands/eval_attacked.h"

#include <cmath>
#include <limits>

#include "data/verification.h"
#include "engine/metrics.h"

namespace caltrop {

JudgedSet judge_set(const Model& model, const AttackedSet& set, int64_t batch, const Progress& progress) {
  Backend& backend = model.backend();
  const StoredImages attacked(set, backend, false);
  JudgedSet judged{.clean = predict(model, Images(backend, set.shape, set.x, set.label), batch),
                   .attacked = predict(model, attacked, batch, progress),
                   .outputs = model.outputs()};
  for (int64_t s = 0; s < set.sizes(); ++s)
    judged.sizes.push_back(
        {.size = set.eps.empty() ? std::numeric_limits<float>::infinity() : set.eps[static_cast<size_t>(s)]});
  // The loss is that of the label, or of the target, as in the attack.
  std::vector<int32_t> lost_to = attacked.labels();
  for (size_t row = 0; set.targeted() && row < lost_to.size(); ++row)
    lost_to[row] = set.target[row / static_cast<size_t>(set.sizes())];
  const std::vector<int32_t> before = argmax_rows(judged.clean, judged.outputs),
                             after = argmax_rows(judged.attacked, judged.outputs);
  const std::vector<double> sure_before = confidences(judged.clean, judged.outputs),
                            sure_after = confidences(judged.attacked, judged.outputs),
                            losses = cross_entropies(judged.attacked, lost_to, judged.outputs);
  for (int64_t row = 0; row < attacked.count(); ++row) {
    const auto at = static_cast<size_t>(row), image = static_cast<size_t>(row / set.sizes());
    AttackRow attack;
    attack.prediction = after[at];
    attack.success = set.sought(image, after[at], set.label[image]);
    attack.loss = static_cast<float>(losses[at]);
    attack.confidence = static_cast<float>(sure_after[at]);
    double squares = 0;
    for (const float d : set.delta_of(row)) {
      attack.linf = std::max(attack.linf, std::fabs(d));
      squares += static_cast<double>(d) * static_cast<double>(d);
    }
    attack.l2 = static_cast<float>(std::sqrt(squares));
    judged.sizes[static_cast<size_t>(row % set.sizes())].add(
        {.index = set.index[image],
         .label = set.label[image],
         .target = set.targeted() ? set.target[image] : -1,
         .clean_prediction = before[image],
         .clean_confidence = static_cast<float>(sure_before[image])},
        attack);
  }
  return judged;
}

}  // namespace caltrop
