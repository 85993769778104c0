#include "attacks/judge.h"

#include "attacks/attack_info.h"
#include "engine/metrics.h"
#include "engine/ops.h"
#include "kernels/phase.h"

namespace caltrop {
namespace {

constexpr float kRounding = 0.999f;  // of a lead, between the attack's own passes and the judge's

// Pixels of each row outside the box.
Tensor outside_box(const AttackOptions& options, const Tensor& x) {
  const Tensor low = Tensor::full(x.backend(), {}, options.low),
               high = Tensor::full(x.backend(), {}, options.high);
  return sum(greater(low, x) + greater(x, high), {1, 2, 3});
}

// How far a class that would be a success leads those that would not, in each row of logits.
std::vector<float> leads(const AttackOptions& options, const Tensor& logits, const Labels& labels) {
  const Tensor margin = logit_margin(logits, labels);  // of any other class before the label
  return (options.targeted ? -margin : margin).to_host();
}

}  // namespace

Judged judge(Workbench& bench, const Rows& rows, const Found& found) {
  const Phase judging("judge");
  const AttackOptions& options = bench.options();
  const AttackInfo& info = info_of(options.kind);
  Judged judged;
  judged.delta = found.x - rows.origin;
  judged.adversarial = bench.clip(rows.origin + judged.delta);

  const Tensor logits = bench.evaluate(judged.adversarial, rows.indices, kFinalStep);
  const std::vector<int32_t> predicted = argmax(logits).to_host();
  const std::vector<double> sure = confidences(logits.to_host(), bench.classifier().outputs());
  const Labels labels = bench.labels(rows.labels);
  const std::vector<bool> fooled = bench.fooled(logits, rows.labels);
  const std::vector<float> losses = cross_entropy(logits, labels).to_host();
  const std::vector<float> outside = outside_box(options, judged.adversarial).to_host();
  const Tensor zero = Tensor::zeros(judged.delta.backend(), {});
  const std::vector<float> unchanged = sum(equal(judged.delta, zero), {1, 2, 3}).to_host();
  const std::vector<RowStats> used = row_stats(judged.delta);

  const float tolerance = ball_tolerance(options.norm, bench.pixels());
  const float wanted = info.lead ? info.lead(options) * kRounding : 0.0f;
  const std::vector<float> lead = wanted > 0.0f ? leads(options, logits, labels) : std::vector<float>();
  for (size_t r = 0; r < rows.eps.size(); ++r) {
    const bool inside = norm_of(used[r], options.norm) <= rows.eps[r] + tolerance;
    AttackRow row;
    row.by = options.kind;
    row.prediction = predicted[r];
    row.within = inside || info.goal != Goal::nearest;
    row.success = fooled[r] && row.within && (lead.empty() || lead[r] >= wanted);
    row.loss = losses[r];
    row.confidence = static_cast<float>(sure[r]);
    row.linf = used[r].linf;
    row.l2 = used[r].l2;
    row.l1 = used[r].l1;
    row.l0 = static_cast<int32_t>(bench.pixels()) - static_cast<int32_t>(unchanged[r]);
    row.zero_gradients = found.zero_gradients[r];
    row.nan_gradients = found.nan_gradients[r];
    row.box_violations = static_cast<int32_t>(outside[r]);
    row.outside_ball = !inside && row.within;
    judged.rows.push_back(row);
  }
  return judged;
}

// Success before all: a misclassified image can have a lower loss than one that is still right. Then, of
// perturbations that look for the smallest, the shorter; of others the higher loss.
bool Best::beats(const AttackRow& now, const AttackRow& before) const {
  if (now.success != before.success) return now.success;
  // Where a search found nothing, its last iterate is stored, not the clean image that it began with.
  if (is_minimum_norm(options_.kind) && before.linf == 0.0f) return true;
  if (now.within != before.within) return now.within;
  if (is_minimum_norm(now.by) && now.success) {
    return options_.norm == Norm::linf ? now.linf < before.linf : now.l2 < before.l2;
  }
  return options_.targeted ? now.loss < before.loss : now.loss > before.loss;
}

void Best::take_over(const Places& places, Judged found) {
  if (rows_.empty()) {
    rows_ = std::move(found.rows);
    delta_ = found.delta;
    adversarial_ = found.adversarial;
    return;
  }
  // Of the gradients met those of all tries count; of an ascent, whose tries all make every step, the best one's.
  const bool counts_tries = !is_ascent(options_.kind);
  for (size_t r = 0; r < places.size(); ++r) {
    AttackRow& best = rows_[static_cast<size_t>(places[r])];
    AttackRow& now = found.rows[r];
    if (counts_tries) {
      now.zero_gradients += best.zero_gradients;
      now.nan_gradients += best.nan_gradients;
    }
    if (!beats(now, best)) {
      if (counts_tries) {
        best.zero_gradients = now.zero_gradients;
        best.nan_gradients = now.nan_gradients;
      }
      continue;
    }
    best = now;
    put(delta_, places[r], found.delta, static_cast<int64_t>(r));
    put(adversarial_, places[r], found.adversarial, static_cast<int64_t>(r));
  }
}

void Best::move_to(AttackResult& result) {
  result.rows = std::move(rows_);
  result.delta = delta_;
  result.adversarial = adversarial_;
}

}  // namespace caltrop
