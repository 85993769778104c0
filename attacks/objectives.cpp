#include "attacks/objectives.h"

#include "engine/autograd.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr float kTiny = 1e-12f;  // keeps quotients of equal logits finite, as in the authors' code

void check_classes(const Tensor& z, int64_t least) {
  if (z.rank() != 2 || z.dim(1) < least) {
    fail("[dlr] expected logits of at least {} classes, got {}", least, to_string(z.shape()));
  }
}

}  // namespace

std::vector<Labels> ranking(const Tensor& z, int64_t count) {
  const NoGrad values_only;
  Tensor left = z.detach();
  // What was taken is replaced by a value below all others, so that no logit is mistaken for it.
  const Tensor floor = reshape(-row_max(-left), {z.dim(0), 1}) - 1.0f;
  std::vector<Labels> ranks;
  for (int64_t r = 0; r < count; ++r) {
    ranks.push_back(argmax(left));
    const Tensor taken = one_hot(ranks.back(), z.dim(1));
    left = where(taken, floor, left);
  }
  return ranks;
}

Tensor difference_of_logits_ratio(const Tensor& z, const Labels& labels) {
  check_classes(z, 3);
  const std::vector<Labels> rank = ranking(z, 3);
  return logit_margin(z, labels) / (pick(z, rank[0]) - pick(z, rank[2]) + kTiny);
}

Tensor difference_of_logits_ratio(const Tensor& z, const Labels& labels, const Labels& targets) {
  check_classes(z, 4);
  const std::vector<Labels> rank = ranking(z, 4);
  const Tensor spread = pick(z, rank[0]) - (pick(z, rank[2]) + pick(z, rank[3])) * 0.5f;
  return (pick(z, targets) - pick(z, labels)) / (spread + kTiny);
}

}  // namespace caltrop
