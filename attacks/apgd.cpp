// Auto-PGD (Croce & Hein, ICML 2020, algorithm 1): projected gradient ascent with momentum that needs no step
// size.
//
//   z       = P(x_k + eta d(g_k))
//   x_{k+1} = P(x_k + 3/4 (z - x_k) + 1/4 (x_k - x_{k-1}))
//
// d is the sign or the unit gradient, P the projection onto the ball and the box, eta = 2 eps at first. At
// checkpoints, after 22 steps and then at intervals that shrink from 22 by 3 to 6 (of 100 steps), a row whose
// loss climbed in at most rho of the steps since the last, or that kept its step and found no better loss,
// halves its step and goes back to the best point so far. A row that is fooled leaves the batch.

#include <algorithm>

#include "attacks/attack_rows.h"
#include "attacks/objectives.h"
#include "engine/autograd.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

constexpr float kMomentum = 0.25f;

// When to look back, as shares of all steps.
struct Checkpoints {
  explicit Checkpoints(int64_t steps)
      : window(std::max<int64_t>(steps * 22 / 100, 1)),
        least(std::max<int64_t>(steps * 6 / 100, 1)),
        shrink(std::max<int64_t>(steps * 3 / 100, 1)) {}
  int64_t window, least, shrink;
  int64_t since = 0;  // steps since the last

  bool reached() { return ++since == window; }
  void next() {
    window = std::max(window - shrink, least);
    since = 0;
  }
};

// What decides a row's step size.
struct Pace {
  float step, last_loss, best_loss, best_at_checkpoint;
  int64_t climbs = 0;  // since the last checkpoint
  bool halved = true;  // at the last checkpoint

  // The two conditions of section 3.2; `steps` are those since the last checkpoint.
  bool stalls(int64_t steps, float rho) const {
    const bool oscillates = static_cast<float>(climbs) <= rho * static_cast<float>(steps);
    return oscillates || (!halved && best_at_checkpoint >= best_loss);
  }
};

class AutoPgd {
 public:
  AutoPgd(Workbench& bench, const Rows& rows, const Try& attempt)
      : bench_(bench),
        options_(bench.options()),
        open_(rows),
        places_(all_places(rows.count())),
        step_((static_cast<uint64_t>(attempt.number) % 64) * static_cast<uint64_t>(options_.steps + 1)) {
    // Gradients always climb here: a targeted attack negates its loss.
    climbing_ = options_;
    climbing_.targeted = false;
    x_ = rows.start && !attempt.again ? bench.project(options_.norm, rows, rows.start)
                                      : bench.boundary_start(rows, attempt.number);
    found_ = nothing_found(Tensor::uninitialized(bench.backend(), x_.shape()));
    for (const float eps : rows.eps) paces_.push_back({2.0f * eps, 0, 0, 0});
  }

  Found run() {
    before_ = x_;
    look(true);
    for (Pace& pace : paces_) pace.best_at_checkpoint = pace.best_loss;
    Checkpoints checkpoints(options_.steps);
    for (int64_t k = 0; k < options_.steps && !places_.empty(); ++k) {
      advance(k == 0);
      look(false);
      if (checkpoints.reached()) {
        look_back(checkpoints.window);
        checkpoints.next();
      }
    }
    put(found_.x, places_, best_);
    return found_;
  }

 private:
  Tensor loss(const Tensor& z) const {
    const Labels labels = bench_.labels(open_.labels);
    switch (options_.kind) {
      case AttackKind::apgd_dlr: {
        const Tensor ratio = difference_of_logits_ratio(z, labels);
        return options_.targeted ? -ratio : ratio;
      }
      case AttackKind::apgd_t:
        return difference_of_logits_ratio(z, labels, bench_.labels(open_.goals));
      default: {
        const Tensor entropy = cross_entropy(z, labels, options_.cross_entropy);
        return options_.targeted ? -entropy : entropy;
      }
    }
  }

  // Loss and gradient at x_; keeps the best; rows that are fooled leave.
  void look(bool first) {
    const auto objective = [this](const Tensor& z) {
      return std::vector<Tensor>{loss(z)};
    };
    const Pass pass = bench_.differentiate(x_, objective, {.images = open_.indices, .step = step_++});
    gradient_ = pass.gradients[0];
    bench_.note(gradient_, places_, found_);
    const std::vector<float> losses = pass.values[0].to_host();
    Places better;
    for (size_t r = 0; r < losses.size(); ++r) {
      Pace& pace = paces_[r];
      const float before = first || (options_.apgd.authors_quirks && step_on_zero_) ? 0.0f : pace.last_loss;
      if (!first) pace.climbs += losses[r] > before;
      if (first || losses[r] > pace.best_loss) {
        pace.best_loss = losses[r];
        better.push_back(static_cast<int64_t>(r));
      }
      pace.last_loss = losses[r];
    }
    step_on_zero_ = first;
    if (first) {
      best_ = Tensor::uninitialized(x_.backend(), x_.shape());
      best_gradient_ = Tensor::uninitialized(x_.backend(), x_.shape());
      assign(best_, x_);
      assign(best_gradient_, gradient_);
    } else {
      put(best_, better, take(x_, better));
      put(best_gradient_, better, take(gradient_, better));
    }
    drop_fooled(bench_.fooled(pass.logits, open_.labels));
  }

  void drop_fooled(const std::vector<bool>& fooled) {
    // Of a network that answers at random all steps are taken, as the authors do, and the point of the highest
    // loss is the answer: the loss may be a mean over draws (EOT), the logits here are of one draw.
    if (bench_.classifier().random()) return;
    Places left;
    for (size_t r = 0; r < fooled.size(); ++r) {
      if (!fooled[r]) {
        left.push_back(static_cast<int64_t>(r));
      } else {
        put(found_.x, places_[r], x_, static_cast<int64_t>(r));
      }
    }
    if (left.size() == places_.size()) return;
    places_ = take(places_, left);
    if (left.empty()) return;
    open_ = take(open_, left);
    paces_ = take(paces_, left);
    for (Tensor* tensor : {&x_, &before_, &gradient_, &best_, &best_gradient_}) *tensor = take(*tensor, left);
  }

  void advance(bool first) {
    std::vector<float> steps;
    for (const Pace& pace : paces_) steps.push_back(pace.step);
    Workbench climber(bench_.classifier(), climbing_);
    const Tensor z = climber.step(options_.norm, open_, x_, gradient_, steps);
    Tensor next = z;
    if (!first) {
      next = climber.project(options_.norm, open_,
                             x_ + (z - x_) * (1.0f - kMomentum) + (x_ - before_) * kMomentum);
    }
    before_ = x_;
    x_ = next;
  }

  // A checkpoint: rows that stall go back to their best point with half the step.
  void look_back(int64_t steps) {
    Places stalled;
    for (size_t r = 0; r < paces_.size(); ++r) {
      Pace& pace = paces_[r];
      pace.halved = pace.stalls(steps, options_.apgd.rho);
      pace.best_at_checkpoint = pace.best_loss;
      pace.climbs = 0;
      if (!pace.halved) continue;
      pace.step *= 0.5f;
      stalled.push_back(static_cast<int64_t>(r));
    }
    if (stalled.empty()) return;
    // In memory of their own: before_ may share theirs.
    const auto back_to = [&](Tensor& tensor, const Tensor& best) {
      const Tensor copy = Tensor::uninitialized(tensor.backend(), tensor.shape());
      assign(copy, tensor);
      put(copy, stalled, take(best, stalled));
      tensor = copy;
    };
    back_to(x_, best_);
    back_to(gradient_, best_gradient_);
    if (options_.apgd.authors_quirks) return;
    back_to(before_, best_);  // without the momentum of the path that was left
    for (const int64_t r : stalled)
      paces_[static_cast<size_t>(r)].last_loss = paces_[static_cast<size_t>(r)].best_loss;
  }

  Workbench& bench_;
  const AttackOptions& options_;
  AttackOptions climbing_;
  Rows open_;
  Places places_;
  uint64_t step_;
  std::vector<Pace> paces_;
  Tensor x_, before_, gradient_, best_, best_gradient_;
  bool step_on_zero_ = false;
  Found found_;
};

}  // namespace

Found apgd(Workbench& bench, const Rows& rows, const Try& attempt) {
  const NoGrad values_only;
  return AutoPgd(bench, rows, attempt).run();
}

}  // namespace caltrop
