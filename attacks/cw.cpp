// Carlini & Wagner's L2 attack ("Towards evaluating the robustness of neural networks", S&P 2017, section
// VI).
//
//   minimise over w   |x' - x|^2 + c max(f(x') + kappa, 0),   x' = (tanh w + 1) / 2,
//   f = z_y - max_{k != y} z_k  (targeted: max_{k != t} z_k - z_t)
//
// by Adam from w_0 = atanh(0.999999 (2x - 1)): without the factor a pixel of 0 or 1 has an infinite w and
// never moves, which is four fifths of MNIST. The code works with u = 2w, of which x' is the plain sigmoid;
// Adam's steps are the same with twice the rate and half the epsilon. For each image c is searched: ten times
// larger while nothing was found, then by bisection. Every round begins afresh, w = w_0 and Adam's state
// zero. Of all iterates the nearest is kept that is adversarial with margin kappa. An image whose loss stands
// still ends its round and leaves the batch.

#include <cmath>
#include <limits>
#include <memory>

#include "attacks/attack_rows.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"
#include "engine/optimizer.h"

namespace caltrop {
namespace {

constexpr float kInside = 0.999999f;
constexpr float kNoBound = 1e9f;      // c has no upper bound yet
constexpr float kFar = 1e10f;         // squared distance of an image not found
constexpr float kProgress = 0.9999f;  // a loss that stays above this share of the last stands still
constexpr int64_t kChecks = 10;       // in a round

// One round: all rows begin at w_0 with their own c; those that stand still leave.
class Round {
 public:
  Round(Workbench& bench, const Rows& rows, const Tensor& u0, const Tensor& p0, std::span<const float> c,
        uint64_t first_step)
      : bench_(bench), options_(bench.options()), backend_(bench.backend()), step_(first_step) {
    places_ = all_places(rows.count());
    last_loss_.assign(places_.size(), std::numeric_limits<float>::infinity());
    indices_ = rows.indices;
    labels_on_host_ = rows.labels;
    labels_ = bench.labels(rows.labels);
    c_ = Tensor::from(backend_, {rows.count()}, c);
    p0_ = p0;
    for (Tensor* state : {&u_, &m_, &v_, &best_}) *state = Tensor::zeros(backend_, u0.shape());
    assign(u_, u0);
    best_distance_ = Tensor::full(backend_, {rows.count()}, kFar);
    loss_ = Tensor::zeros(backend_, {rows.count()});
    pace_ = Buffer<Pace>(backend_, 1);
  }

  // What the round found: the nearest adversarial iterate of each row and its squared distance (kFar: none),
  // and the last iterate of all.
  struct Outcome {
    Tensor best, last;
    std::vector<float> distance;
  };
  Outcome run(Found& found) {
    Outcome outcome{Tensor::zeros(backend_, u_.shape()), Tensor::zeros(backend_, u_.shape()),
                    std::vector<float>(places_.size(), kFar)};
    const int64_t every = (options_.steps + kChecks - 1) / kChecks;
    std::unique_ptr<Replay> replay;
    for (int64_t k = 0; k < options_.steps && !places_.empty(); ++k, ++step_) {
      set_pace(k);
      const bool check = k % every == 0;
      Tensor gradient;
      if (check || bench_.classifier().random()) {
        gradient = iterate();
      } else {
        if (!replay) replay = backend_.capture([this] { iterate(); });
        replay->run();
      }
      const int64_t passes = bench_.classifier().passes();
      bench_.count(indices_, passes, passes);
      if (!check) continue;
      bench_.note(gradient, places_, found);
      if (options_.cw.abort_early && drop_idle(outcome)) replay.reset();
    }
    leave(all_places(static_cast<int64_t>(places_.size())), outcome);
    return outcome;
  }

 private:
  void set_pace(int64_t k) {
    const Pace pace = adam_pace(2.0 * static_cast<double>(options_.cw.learning_rate), k + 1);
    backend_.upload(pace_.data(), &pace, sizeof pace);
  }

  // One step of Adam, on p = sigmoid(u), dp/du = p (1 - p). Between pixels and p lies the width of the box.
  // Returns the gradient of f: what a captured step makes dies with it.
  Tensor iterate() {
    const Tensor p = sigmoid(u_);
    const Tensor x = pixels_of(p);
    const auto margin = [this](const Tensor& z) {
      const Tensor other_leads = logit_margin(z, labels_);
      return std::vector<Tensor>{options_.targeted ? other_leads : -other_leads};
    };
    const Pass pass = bench_.classifier().differentiate(x, margin, {.images = indices_, .step = step_});
    const Tensor hinge = maximum(pass.values[0] + options_.cw.confidence, Tensor::zeros(backend_, {}));
    const Tensor moved = p - p0_;
    const Tensor distance = sum(moved * moved, {1, 2, 3}) * (width() * width());
    keep_nearest(x, distance, bench_.classifier().random() ? margin(verdict(x))[0] : pass.values[0]);
    assign(loss_, distance + c_ * hinge);

    const Tensor push = c_ * step(hinge) * width();
    const Tensor slope =
        (pass.gradients[0] * per_row(push) + moved * (2.0f * width() * width())) * (p * (1.0f - p));
    const ParameterUpdate update{u_.mutable_data(), slope.data(), m_.mutable_data(), v_.mutable_data(),
                                 u_.size()};
    backend_.adam(std::span(&update, 1), {.epsilon = 0.5f * Adam().epsilon}, pace_.data());
    return pass.gradients[0];
  }

  // What the nearest is judged by where one draw, or the mean of the margins, may be luck.
  Tensor verdict(const Tensor& x) { return bench_.evaluate(x, indices_, step_); }

  float width() const { return options_.high - options_.low; }
  Tensor pixels_of(const Tensor& p) const {
    return options_.low == 0.0f && options_.high == 1.0f ? p : p * width() + options_.low;
  }

  // An iterate counts when it is adversarial with margin kappa: f <= -kappa, and f < 0, since a tie is no
  // success. A comparison with NaN is false, so that an iterate gone astray never counts.
  void keep_nearest(const Tensor& x, const Tensor& distance, const Tensor& f) {
    const Tensor ahead = -f, kappa = Tensor::full(backend_, {}, options_.cw.confidence);
    Tensor adversarial = greater(ahead, kappa);
    if (options_.cw.confidence > 0.0f) adversarial = adversarial + equal(ahead, kappa);
    const Tensor nearer = adversarial * greater(best_distance_, distance);
    assign(best_, where(per_row(nearer), x, best_));
    assign(best_distance_, where(nearer, distance, best_distance_));
  }

  // Takes out the rows whose loss stands still since the last check. Whether any did.
  bool drop_idle(Outcome& outcome) {
    const std::vector<float> loss = loss_.to_host();
    Places idle, busy;
    for (size_t r = 0; r < loss.size(); ++r) {
      const bool moves = loss[r] <= kProgress * last_loss_[r];
      (moves ? busy : idle).push_back(static_cast<int64_t>(r));
      last_loss_[r] = loss[r];
    }
    if (idle.empty()) return false;
    leave(idle, outcome);
    for (Tensor* state : {&u_, &m_, &v_, &best_, &p0_, &best_distance_, &c_, &loss_}) {
      *state = take(*state, busy);
    }
    places_ = take(places_, busy);
    indices_ = take(indices_, busy);
    last_loss_ = take(last_loss_, busy);
    labels_on_host_ = take(labels_on_host_, busy);
    labels_ = bench_.labels(labels_on_host_);
    return true;
  }

  void leave(const Places& rows, Outcome& outcome) const {
    if (rows.empty()) return;
    const std::vector<float> distance = best_distance_.to_host();
    const Tensor x = pixels_of(sigmoid(take(u_, rows)));
    const Places homes = take(places_, rows);
    put(outcome.best, homes, take(best_, rows));
    put(outcome.last, homes, x);
    for (size_t r = 0; r < rows.size(); ++r) {
      outcome.distance[static_cast<size_t>(homes[r])] = distance[static_cast<size_t>(rows[r])];
    }
  }

  Workbench& bench_;
  const AttackOptions& options_;
  Backend& backend_;
  uint64_t step_;
  Places places_;  // of the rows that are still in, among those of the attack
  std::vector<float> last_loss_;
  std::vector<int64_t> indices_;
  std::vector<int32_t> labels_on_host_;
  Labels labels_;
  Tensor c_, p0_, u_, m_, v_, best_, best_distance_, loss_;
  Buffer<Pace> pace_;
};

// The search for c, for each image its own.
struct Search {
  float c, low = 0.0f, high = 1e10f;

  void narrow(bool found) {
    (found ? high : low) = found ? std::min(high, c) : std::max(low, c);
    c = high < kNoBound ? 0.5f * (low + high) : 10.0f * c;
  }
};

}  // namespace

Found carlini_wagner(Workbench& bench, const Rows& rows, const Try&) {
  const NoGrad values_only;
  const AttackOptions& options = bench.options();
  const auto count = static_cast<size_t>(rows.count());
  const Tensor share =
      (rows.origin - options.low) * (1.0f / (options.high - options.low));  // of the box, 0 to 1
  const Tensor inside = (share - 0.5f) * kInside + 0.5f;
  const Tensor u0 = log(inside / (1.0f - inside));
  const Tensor p0 = sigmoid(u0);

  Found found = nothing_found(Tensor::zeros(bench.backend(), rows.origin.shape()));
  std::vector<float> nearest(count, kFar);
  std::vector<Search> searches(count, Search{options.cw.first_constant});
  for (int64_t round = 0; round < options.cw.rounds; ++round) {
    std::vector<float> c;
    for (Search& search : searches) {
      // Carlini's code ends a long search at the last c known to work.
      const bool last = options.cw.rounds >= 10 && round == options.cw.rounds - 1;
      if (last) search.c = search.high;
      c.push_back(search.c);
    }
    Round work(bench, rows, u0, p0, c, static_cast<uint64_t>(round * options.steps));
    const Round::Outcome outcome = work.run(found);
    for (size_t r = 0; r < count; ++r) {
      const auto row = static_cast<int64_t>(r);
      const bool success = outcome.distance[r] < kFar;
      if (outcome.distance[r] < nearest[r]) {
        nearest[r] = outcome.distance[r];
        put(found.x, row, outcome.best, row);
      } else if (!(nearest[r] < kFar)) {
        put(found.x, row, outcome.last,
            row);  // the best guess of an image that nothing fools; judged a failure
      }
      searches[r].narrow(success);
    }
  }
  return found;
}

}  // namespace caltrop
