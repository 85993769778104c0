// FGSM, BIM, PGD and MIM: steps along the gradient of the cross-entropy, in one loop.
//
//   x_0     = x, or a random point of the ball around x
//   g_k     = the gradient of the loss at x_k with respect to pixels
//   d_k     = g_k;  mim: d_k = decay d_{k-1} + g_k / |g_k|_1
//   x_{k+1} = clip( project( x_k + a * direction(d_k) ) )
//
// Everything large stays on the device of the model; the host keeps one number or two for each row.

#include <functional>
#include <memory>

#include "attacks/attack_info.h"
#include "attacks/attack_rows.h"
#include "engine/ops.h"
#include "kernels/phase.h"

namespace caltrop {
namespace {

// Gradients that were zero everywhere or held a NaN, counted on the device for each row.
struct GradientCounts {
  GradientCounts(Backend& backend, int64_t rows)
      : zeros(Tensor::zeros(backend, {rows})), nans(Tensor::zeros(backend, {rows})) {}

  // `length` is |g|_1 of each row, `zero` 1 where that is 0.
  void add(const Tensor& length, const Tensor& zero) const {
    assign(zeros, zeros + zero);
    assign(nans, nans + (1.0f - equal(length, length)));
  }
  void write_to(Found& found) const {
    const std::vector<float> z = zeros.to_host(), n = nans.to_host();
    found.zero_gradients.assign(z.begin(), z.end());
    found.nan_gradients.assign(n.begin(), n.end());
  }

  Tensor zeros, nans;
};

// Calls step() `count` times. What it works on stays where it is, so the second call is captured and replayed; not
// so through a classifier that draws random numbers: a replay would draw the same ones again.
void repeat_step(Backend& backend, int64_t count, bool random, const std::function<void()>& step) {
  int64_t k = 0;
  for (; k < count && (random || k < 1); ++k) step();
  if (k == count) return;
  const std::unique_ptr<Replay> replay = backend.capture(step);
  for (; k < count; ++k) replay->run();
}

}  // namespace

Found ascend(Workbench& bench, const Rows& rows, const Try& attempt) {
  const Phase steps("steps");
  const AttackOptions& options = bench.options();
  const Classifier& classifier = bench.classifier();
  Backend& backend = bench.backend();
  const Labels labels = bench.labels(rows.labels);
  std::vector<float> step_sizes;
  for (const float eps : rows.eps) step_sizes.push_back(step_size_of(options, eps));

  const Tensor x = Tensor::uninitialized(backend, rows.origin.shape());
  if (rows.start && !attempt.again) {
    assign(x, bench.project(options.norm, rows, rows.start));
  } else {
    assign(x, options.random_start ? bench.random_start(rows, attempt.number) : rows.origin);
  }
  const bool has_momentum = info_of(options.kind).reads_option("decay");
  const Tensor momentum = has_momentum ? Tensor::zeros(backend, x.shape()) : Tensor();
  const GradientCounts counts(backend, rows.count());

  const auto step_along = [&](const Tensor& g) {
    const Tensor length = sum(abs(g), {1, 2, 3});  // |g|_1 of each row
    const Tensor zero = equal(length, Tensor::zeros(backend, {}));
    counts.add(length, zero);
    // A zero gradient is divided by one: it adds nothing and the momentum goes on.
    if (has_momentum) assign(momentum, momentum * options.decay + g / per_row(length + zero));
    assign(x, bench.step(options.norm, rows, x, has_momentum ? momentum : g, step_sizes));
  };
  int64_t k = 0;
  const auto loss = [&](const Tensor& z) {
    return std::vector<Tensor>{cross_entropy(z, labels, options.cross_entropy)};
  };
  const auto climb = [&] {
    const Query query{.images = rows.indices, .step = static_cast<uint64_t>(k)};
    step_along(classifier.differentiate(x, loss, query).gradients[0]);
    ++k;
  };
  if (attempt.gradient) {
    step_along(attempt.gradient);
    ++k;
  }
  const int64_t left = options.steps - k;
  bench.count(rows.indices, left * classifier.passes(), left * classifier.passes());
  repeat_step(backend, left, classifier.random(), climb);

  Found found{x, {}, {}};
  counts.write_to(found);
  return found;
}

}  // namespace caltrop
