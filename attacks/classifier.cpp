#include "attacks/classifier.h"

#include "engine/autograd.h"

namespace caltrop {

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
