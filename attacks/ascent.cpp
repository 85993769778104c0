// FGSM, BIM, PGD and MIM: steps along the gradient of the cross-entropy, in one loop.
//
//   x_0     = x, or a random point of the ball around x
//   g_k     = the gradient of the loss at x_k with respect to pixels
//   x_{k+1} = clip( project( x_k + a * direction(g_k) ) )
//
// Everything large stays on the device of the model; the host keeps one number or two for each row.

#include <memory>

#include "attacks/attack_rows.h"
#include "engine/ops.h"
#include "kernels/phase.h"

namespace caltrop {
namespace {

class Ascent {
 public:
  Ascent(Workbench& bench, const Rows& rows)
      : bench_(bench),
        options_(bench.options()),
        backend_(bench.backend()),
        rows_(rows),
        labels_(bench.labels(rows.labels)) {
    for (const float eps : rows.eps) sizes_.push_back(step_size_of(options_, eps));
  }

  // What the attack works on stays where it is, so that a step is captured once and replayed; the steps
  // before that run op by op, and so do all those through a classifier that draws random numbers: a replay
  // would draw them again.
  Found climb(const Tensor& start, const Tensor& first_gradient) {
    x_ = Tensor::uninitialized(backend_, start.shape());
    assign(x_, start);
    momentum_ = Tensor::zeros(backend_, start.shape());
    zeros_ = Tensor::zeros(backend_, {rows_.count()});
    nans_ = Tensor::zeros(backend_, {rows_.count()});
    int64_t k = 0;
    const auto step_by_gradient = [this, &k] {
      step_along(gradient(static_cast<uint64_t>(k)));
    };
    if (first_gradient && options_.steps > 0) {
      step_along(first_gradient);
      ++k;
    }
    const int64_t passes = (options_.steps - k) * rows_.count() * bench_.classifier().passes();
    bench_.count(passes, passes);
    const int64_t direct = bench_.classifier().random() ? options_.steps : k + 1;
    for (; k < options_.steps && k < direct; ++k) step_by_gradient();
    if (k < options_.steps) {
      const std::unique_ptr<Replay> replay = backend_.capture(step_by_gradient);
      for (; k < options_.steps; ++k) replay->run();
    }
    Found found{x_, {}, {}};
    for (const float zeros : zeros_.to_host()) found.zero_gradients.push_back(static_cast<int32_t>(zeros));
    for (const float nans : nans_.to_host()) found.nan_gradients.push_back(static_cast<int32_t>(nans));
    return found;
  }

 private:
  Tensor gradient(uint64_t step) const {
    const auto loss = [this](const Tensor& z) {
      return std::vector<Tensor>{cross_entropy(z, labels_, options_.cross_entropy)};
    };
    return bench_.classifier().differentiate(x_, loss, {.images = rows_.indices, .step = step}).gradients[0];
  }

  // One step of every row along `g`.
  void step_along(const Tensor& g) const {
    const Tensor length = sum(abs(g), {1, 2, 3});  // |g|_1 of each row
    const Tensor zero = equal(length, Tensor::zeros(backend_, {rows_.count()}));
    assign(zeros_, zeros_ + zero);
    assign(nans_, nans_ + (1.0f - equal(length, length)));
    if (options_.kind == AttackKind::mim) {
      // A zero gradient is divided by one: it adds nothing and the momentum goes on.
      assign(momentum_, momentum_ * options_.decay + g / per_row(length + zero));
      assign(x_, bench_.step(options_.norm, rows_, x_, momentum_, sizes_));
    } else {
      assign(x_, bench_.step(options_.norm, rows_, x_, g, sizes_));
    }
  }

  Workbench& bench_;
  const AttackOptions& options_;
  Backend& backend_;
  const Rows& rows_;
  Labels labels_;
  std::vector<float> sizes_;  // of a step, for each row
  Tensor x_, momentum_, zeros_, nans_;
};

}  // namespace

Found ascend(Workbench& bench, const Rows& rows, int64_t attempt, const Tensor& first_gradient) {
  const Phase steps("steps");
  const Tensor start = bench.options().random_start ? bench.random_start(rows, attempt) : rows.origin;
  return Ascent(bench, rows).climb(start, first_gradient);
}

}  // namespace caltrop
