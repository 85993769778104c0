#include "attacks/classifier.h"

#include "engine/autograd.h"
#include "engine/ops.h"

namespace caltrop {

Tensor Classifier::verdict(const Tensor& x, const Query& query) const {
  if (!random()) return logits(x, query);
  Tensor sum;
  for (int64_t draw = 0; draw < kVerdictDraws; ++draw) {
    Query again = query;
    again.draw = static_cast<uint64_t>(draw);
    const Tensor p = softmax(logits(x, again));
    sum = sum ? sum + p : p;
  }
  constexpr float kLeast = 1e-30f;  // a probability of zero has no logarithm
  return log(sum * (1.0f / static_cast<float>(kVerdictDraws)) + kLeast);
}

Pass Classifier::differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const {
  const Recording on(true);
  const Tensor leaf = variable(x);
  const Tensor z = logits(leaf, query);
  Pass pass{z.detach(), {}, {}};
  for (const Tensor& value : objectives(z)) {
    pass.values.push_back(value.detach());
    // A value that no gradient flows to (behind a step function, say) has gradient zero.
    pass.gradients.push_back(grad(value, leaf));
  }
  return pass;
}

}  // namespace caltrop
