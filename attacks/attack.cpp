// craft(): looks at the clean images, sends the rows through the attack and its restarts, judges what comes
// back on what will be stored, and keeps the best of each row.

#include "attacks/attack.h"

#include <cmath>
#include <limits>

#include "attacks/attack_rows.h"
#include "attacks/attack_stages.h"
#include "attacks/objectives.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "kernels/phase.h"

namespace caltrop {
namespace {

constexpr int64_t kMaxIndex = int64_t{1} << 32;

void check_classes(const char* what, const std::vector<int32_t>& classes, int64_t images, int64_t outputs) {
  if (static_cast<int64_t>(classes.size()) != images) {
    fail("[attack] expected {} {}, got {}", images, what, classes.size());
  }
  for (const int32_t k : classes) {
    if (k < 0 || k >= outputs) fail("[attack] expected {} from 0 to {}, got {}", what, outputs - 1, k);
  }
}

void check_batch(const Classifier& classifier, const AttackBatch& batch, const AttackOptions& options) {
  const int64_t n = batch.x.rank() == 4 ? batch.x.dim(0) : -1;
  if (n < 0) fail("[attack] expected images (n,h,w,c), got {}", to_string(batch.x.shape()));
  if (static_cast<int64_t>(batch.indices.size()) != n)
    fail("[attack] expected {} indices, got {}", n, batch.indices.size());
  for (const int64_t index : batch.indices) {
    if (index < 0 || index >= kMaxIndex)
      fail("[attack] expected indices from 0 to {}, got {}", kMaxIndex - 1, index);
  }
  check_classes("labels", batch.labels, n, classifier.outputs());
  if (options.targeted) check_classes("targets", batch.targets, n, classifier.outputs());
}

// (n,...) -> (n * times,...), each image `times` times in a row.
Tensor repeat(const Tensor& x, int64_t times) {
  if (times == 1) return x;
  const int64_t n = x.dim(0), d = n > 0 ? x.size() / n : 0;
  Shape shape = x.shape();
  shape[0] = n * times;
  return broadcast_to(x.view({n, 1, d}), {n, times, d}).view(std::move(shape));
}

template <typename T>
std::vector<T> repeat(const std::vector<T>& values, size_t times) {
  std::vector<T> repeated;
  for (const T value : values) repeated.insert(repeated.end(), times, value);
  return repeated;
}

class Crafter {
 public:
  Crafter(const Classifier& classifier, const AttackBatch& batch, std::span<const float> sizes,
          const AttackOptions& options)
      : classifier_(classifier),
        backend_(classifier.backend()),
        batch_(batch),
        options_(options),
        sizes_(sizes) {
    result_.sizes = static_cast<int64_t>(sizes.size());
  }

  AttackResult run() {
    if (batch_.x.dim(0) == 0) return std::move(result_);
    look_at_clean();
    rows_ = {repeat(batch_.x, result_.sizes),
             repeat(batch_.indices, sizes_.size()),
             repeat(attacked_, sizes_.size()),
             {},
             {}};
    for (size_t i = 0; i < batch_.indices.size(); ++i)
      rows_.eps.insert(rows_.eps.end(), sizes_.begin(), sizes_.end());
    if (is_ascent(options_.kind)) {
      climb();
    } else {
      start_with_clean();
      for (const AttackOptions& stage : stages_of(options_)) run_stage(stage);
    }
    return std::move(result_);
  }

 private:
  // The clean predictions, the labels to attack, and the first gradient where all sizes share it.
  void look_at_clean() {
    const Phase clean("clean");
    Workbench bench(classifier_, options_);
    attacked_ = options_.targeted ? batch_.targets : batch_.labels;
    const bool shares_gradient = is_ascent(options_.kind) && !options_.random_start && !classifier_.random();
    if (!shares_gradient || options_.predicted_labels) {
      clean_logits_ = bench.evaluate(batch_.x, batch_.indices, kCleanStep);
    }
    if (options_.predicted_labels && !options_.targeted) attacked_ = argmax(clean_logits_).to_host();
    if (shares_gradient) {
      const Labels labels = bench.labels(attacked_);
      const auto loss = [&](const Tensor& z) {
        return std::vector<Tensor>{cross_entropy(z, labels, options_.cross_entropy)};
      };
      const Pass pass = bench.differentiate(batch_.x, loss, {.images = batch_.indices});
      first_gradient_ = pass.gradients[0];
      clean_logits_ = pass.logits;
    }
    const std::vector<int32_t> predicted = argmax(clean_logits_).to_host();
    for (size_t i = 0; i < batch_.labels.size(); ++i) {
      const int32_t target = options_.targeted ? batch_.targets[i] : -1;
      result_.images.push_back({batch_.indices[i], batch_.labels[i], target, predicted[i]});
    }
    spend(bench);
  }

  void spend(const Workbench& bench) {
    result_.forward_passes += bench.forward_passes();
    result_.backward_passes += bench.backward_passes();
  }

  // fgsm to mim climb with every row in every try: of two tries the higher loss is worth having, fooled or
  // not.
  void climb() {
    const Tensor first = first_gradient_ ? repeat(first_gradient_, result_.sizes) : Tensor();
    for (int64_t t = 0; t < options_.restarts; ++t) {
      Workbench bench(classifier_, options_);
      const Found found = ascend(bench, rows_, options_.first_try + t, first);
      keep(all_places(rows_.count()), judge(bench, rows_, found));
      spend(bench);
    }
  }

  // The others attack what nothing has fooled yet. An image that is wrong by itself is left as it is.
  void start_with_clean() {
    Workbench bench(classifier_, options_);
    const auto count = static_cast<size_t>(rows_.count());
    keep(all_places(rows_.count()),
         judge(bench, rows_, {rows_.origin, std::vector<int32_t>(count, 0), std::vector<int32_t>(count, 0)}));
    if (options_.kind == AttackKind::cw && options_.cw.confidence > 0.0f) {
      for (AttackRow& row : result_.rows)
        row.success = false;  // wrong, but perhaps not by the margin asked for
    }
    spend(bench);
  }

  void run_stage(const AttackOptions& stage) {
    const bool directed = stage.kind == AttackKind::apgd_t || stage.kind == AttackKind::fab_t;
    const int64_t goals = directed ? std::min(stage.target_classes, classifier_.outputs() - 1) : 1;
    const std::vector<Labels> ranks = directed ? ranking(clean_logits_, goals + 1) : std::vector<Labels>();
    for (int64_t goal = 0; goal < goals; ++goal) {
      for (int64_t t = 0; t < stage.restarts; ++t) {
        const Places open = open_rows(stage.kind);
        if (open.empty()) return;
        Rows rows = take(rows_, open);
        if (directed) {
          rows.goals = take(repeat(ranks[static_cast<size_t>(goal) + 1].to_host(), sizes_.size()), open);
        }
        Workbench bench(classifier_, stage);
        keep(open,
             judge(bench, rows, attack(bench, rows, stage.first_try + goal * stage.restarts + t, t > 0)));
        spend(bench);
      }
    }
  }

  static Found attack(Workbench& bench, const Rows& rows, int64_t attempt, bool again) {
    switch (bench.options().kind) {
      case AttackKind::cw:
        return carlini_wagner(bench, rows);
      case AttackKind::deepfool:
        return deepfool(bench, rows);
      case AttackKind::apgd_ce:
      case AttackKind::apgd_dlr:
      case AttackKind::apgd_t:
        return apgd(bench, rows, attempt);
      case AttackKind::fab:
      case AttackKind::fab_t:
        return fab(bench, rows, attempt, again);
      case AttackKind::square:
        return square_attack(bench, rows, attempt);
      default:
        return ascend(bench, rows, attempt);
    }
  }

  // A search for the smallest perturbation goes on where no size says that one is small enough.
  Places open_rows(AttackKind kind) const {
    Places open;
    for (size_t r = 0; r < result_.rows.size(); ++r) {
      const AttackRow& row = result_.rows[r];
      const bool may_shrink = is_minimum_norm(kind) && std::isinf(rows_.eps[r]) && row.linf > 0.0f;
      if (!row.success || may_shrink) open.push_back(static_cast<int64_t>(r));
    }
    return open;
  }

  struct Candidates {
    Tensor delta, adversarial;
    std::vector<AttackRow> rows;
  };

  // What became of the rows, measured on what will be stored.
  static Candidates judge(Workbench& bench, const Rows& rows, const Found& found) {
    const Phase judging("judge");
    const AttackOptions& options = bench.options();
    Candidates judged;
    judged.delta = found.x - rows.origin;
    Rows anywhere = rows;
    anywhere.eps.assign(rows.eps.size(), 2.0f * (options.high - options.low));
    judged.adversarial = bench.project(Norm::linf, anywhere, rows.origin + judged.delta);

    const Tensor logits = bench.evaluate(judged.adversarial, rows.indices, kFinalStep);
    const std::vector<int32_t> predicted = argmax(logits).to_host();
    const Labels labels = bench.labels(rows.labels);
    const std::vector<bool> fooled = bench.fooled(logits, rows.labels);
    const std::vector<float> losses = cross_entropy(logits, labels).to_host();
    const std::vector<float> margins = logit_margin(logits, labels).to_host();
    const std::vector<float> outside = outside_box(options, judged.adversarial).to_host();
    const Tensor zero = Tensor::zeros(judged.delta.backend(), {});
    const std::vector<float> unchanged = sum(equal(judged.delta, zero), {1, 2, 3}).to_host();
    const std::vector<RowStats> used = row_stats(judged.delta);

    const float tolerance = ball_tolerance(options.norm, bench.pixels());
    const bool needs_margin = options.kind == AttackKind::cw && options.cw.confidence > 0.0f;
    for (size_t r = 0; r < rows.eps.size(); ++r) {
      const bool inside = norm_of(used[r], options.norm) <= rows.eps[r] + tolerance;
      AttackRow row;
      row.by = options.kind;
      row.prediction = predicted[r];
      row.within = inside || !is_minimum_norm(options.kind);
      row.success = fooled[r] && row.within;
      if (needs_margin) {
        const float margin = options.targeted ? -margins[r] : margins[r];
        row.success = row.success && margin >= options.cw.confidence * 0.999f;
      }
      row.loss = losses[r];
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

  // Pixels of each row outside the box.
  static Tensor outside_box(const AttackOptions& options, const Tensor& x) {
    const Tensor low = Tensor::full(x.backend(), {}, options.low),
                 high = Tensor::full(x.backend(), {}, options.high);
    return sum(greater(low, x) + greater(x, high), {1, 2, 3});
  }

  // Success before all: a misclassified image can have a lower loss than one that is still right. Then, of
  // perturbations that look for the smallest, the shorter; of others the higher loss.
  bool better(const AttackRow& now, const AttackRow& before) const {
    if (now.success != before.success) return now.success;
    // Where a search found nothing, its last iterate is stored, not the clean image that it began with.
    if (is_minimum_norm(options_.kind) && before.linf == 0.0f) return true;
    if (now.within != before.within) return now.within;
    if (is_minimum_norm(now.by) && now.success) {
      return options_.norm == Norm::linf ? now.linf < before.linf : now.l2 < before.l2;
    }
    return options_.targeted ? now.loss < before.loss : now.loss > before.loss;
  }

  // Takes over the rows in which this try beats those before it; the gradients that it met are counted in any
  // case.
  void keep(const Places& places, Candidates found) {
    if (result_.rows.empty()) {
      result_.rows = std::move(found.rows);
      result_.delta = found.delta;
      result_.adversarial = found.adversarial;
      return;
    }
    const bool counts_tries = !is_ascent(options_.kind);
    for (size_t r = 0; r < places.size(); ++r) {
      AttackRow& best = result_.rows[static_cast<size_t>(places[r])];
      AttackRow& now = found.rows[r];
      if (counts_tries) {
        now.zero_gradients += best.zero_gradients;
        now.nan_gradients += best.nan_gradients;
      }
      if (!better(now, best)) {
        if (counts_tries) {
          best.zero_gradients = now.zero_gradients;
          best.nan_gradients = now.nan_gradients;
        }
        continue;
      }
      best = now;
      put(result_.delta, places[r], found.delta, static_cast<int64_t>(r));
      put(result_.adversarial, places[r], found.adversarial, static_cast<int64_t>(r));
    }
  }

  const Classifier& classifier_;
  Backend& backend_;
  const AttackBatch& batch_;
  const AttackOptions& options_;
  std::span<const float> sizes_;
  std::vector<int32_t> attacked_;  // the label that the attack is about, for each image
  Tensor clean_logits_, first_gradient_;
  Rows rows_;
  AttackResult result_;
};

}  // namespace

AttackResult craft(const Classifier& classifier, const AttackBatch& batch, std::span<const float> sizes,
                   const AttackOptions& options) {
  check_attack(options, sizes, classifier.image_size());
  check_batch(classifier, batch, options);
  return Crafter(classifier, batch, sizes, options).run();
}

AttackResult craft(const Model& model, const AttackBatch& batch, std::span<const float> sizes,
                   const AttackOptions& options) {
  return craft(Network(model), batch, sizes, options);
}

}  // namespace caltrop
