// The gradient itself as the direction: x' = clip(project(x + eps g / max |g|)). One pass, no sign.

#include "attacks/attack_rows.h"
#include "engine/autograd.h"
#include "engine/ops.h"

namespace caltrop {

Found scaled_gradient(Workbench& bench, const Rows& rows, const Try&) {
  const NoGrad values_only;
  const AttackOptions& options = bench.options();
  const Labels labels = bench.labels(rows.labels);
  const auto loss = [&](const Tensor& z) {
    return std::vector<Tensor>{cross_entropy(z, labels, options.cross_entropy)};
  };
  const Tensor g = bench.differentiate(rows.origin, loss, {.images = rows.indices}).gradients[0];
  const float direction = options.targeted ? -1.0f : 1.0f;
  std::vector<float> scale;
  for (const RowStats& length : row_stats(g))
    scale.push_back(length.linf > 0.0f ? direction * rows.eps[scale.size()] / length.linf : 0.0f);
  const Tensor moved = rows.origin + g * per_row(bench.backend(), scale);
  Found found = nothing_found(bench.project(options.norm, rows, moved));
  bench.note(g, all_places(rows.count()), found);
  return found;
}

}  // namespace caltrop
