// craft(): looks at the clean images, sends the rows through the attack's stages and tries, and keeps the best
// that a judge finds for each (judge.h).

#include "attacks/attack.h"

#include <cmath>
#include <unordered_map>

#include "attacks/attack_info.h"
#include "attacks/attack_rows.h"
#include "attacks/judge.h"
#include "attacks/objectives.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/metrics.h"
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
  if (batch.clean && batch.clean.shape() != Shape{n, classifier.outputs()})
    fail("[attack] expected logits ({},{}), got {}", n, classifier.outputs(), to_string(batch.clean.shape()));
  if (batch.start && batch.start.shape() != batch.x.shape())
    fail("[attack] expected starts {}, got {}", to_string(batch.x.shape()), to_string(batch.start.shape()));
  if (batch.start && !info_of(options.kind).starts)
    fail("[attack] {} begins where its rule says: no start can be given", to_string(options.kind));
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

// The clean images of a batch, as far as an attack needs to know them.
struct Clean {
  std::vector<int32_t> attacked;  // the label that the attack is about, for each image
  Tensor logits;
  Tensor gradient;  // of an ascent from the images themselves: all sizes share it
};

class Crafter {
 public:
  Crafter(const Classifier& classifier, const AttackBatch& batch, std::span<const float> epsilons,
          const AttackOptions& options)
      : classifier_(classifier),
        batch_(batch),
        options_(options),
        info_(info_of(options.kind)),
        epsilons_(epsilons),
        best_(options) {
    result_.sizes = static_cast<int64_t>(epsilons.size());
  }

  AttackResult run() {
    if (batch_.x.dim(0) == 0) return std::move(result_);
    const Clean clean = look_at_clean();
    rows_ = {repeat(batch_.x, result_.sizes),
             repeat(batch_.indices, epsilons_.size()),
             repeat(clean.attacked, epsilons_.size()),
             {},
             {},
             batch_.start ? repeat(batch_.start, result_.sizes) : Tensor()};
    for (size_t i = 0; i < batch_.indices.size(); ++i)
      rows_.eps.insert(rows_.eps.end(), epsilons_.begin(), epsilons_.end());
    // An image that is wrong by itself is left as it is, but by an ascent.
    if (!info_.ascent) {
      Workbench bench(classifier_, options_);
      keep(bench, all_places(rows_.count()), rows_, nothing_found(rows_.origin));
    }
    const std::vector<AttackOptions> stages =
        info_.stages ? info_.stages(options_) : std::vector<AttackOptions>{options_};
    for (const AttackOptions& stage : stages) run_stage(stage, clean);
    best_.move_to(result_);
    return std::move(result_);
  }

 private:
  Clean look_at_clean() {
    const Phase looking("clean");
    Workbench bench(classifier_, options_);
    Clean clean{options_.targeted ? batch_.targets : batch_.labels, {}, {}};
    const bool shares_gradient =
        info_.ascent && !options_.random_start && !batch_.start && !classifier_.random();
    if (batch_.clean) {
      clean.logits = batch_.clean;
    } else if (!shares_gradient || options_.predicted_labels) {
      clean.logits = bench.evaluate(batch_.x, batch_.indices, kCleanStep);
    }
    if (options_.predicted_labels && !options_.targeted) clean.attacked = argmax(clean.logits).to_host();
    if (shares_gradient) {
      const Labels labels = bench.labels(clean.attacked);
      const auto loss = [&](const Tensor& z) {
        return std::vector<Tensor>{cross_entropy(z, labels, options_.cross_entropy)};
      };
      const Pass pass = bench.differentiate(batch_.x, loss, {.images = batch_.indices});
      clean.gradient = repeat(pass.gradients[0], result_.sizes);
      clean.logits = pass.logits;
    }
    const std::vector<int32_t> predicted = argmax(clean.logits).to_host();
    const std::vector<double> sure = confidences(clean.logits.to_host(), classifier_.outputs());
    for (size_t i = 0; i < batch_.labels.size(); ++i) {
      const int32_t target = options_.targeted ? batch_.targets[i] : -1;
      places_.try_emplace(batch_.indices[i], result_.images.size());
      result_.images.push_back(
          {batch_.indices[i], batch_.labels[i], target, predicted[i], static_cast<float>(sure[i])});
    }
    spend(bench);
    return clean;
  }

  // One attack: towards each of its goals, from each of its starts.
  void run_stage(const AttackOptions& stage, const Clean& clean) {
    const AttackInfo& info = info_of(stage.kind);
    const int64_t goals = info.by_class ? std::min(stage.target_classes, classifier_.outputs() - 1) : 1;
    const std::vector<Labels> ranks =
        info.by_class ? ranking(clean.logits, goals + 1) : std::vector<Labels>();
    for (int64_t goal = 0; goal < goals; ++goal) {
      for (int64_t t = 0; t < stage.restarts; ++t) {
        const Places open = open_rows(info);
        if (open.empty()) return;
        Rows rows = static_cast<int64_t>(open.size()) == rows_.count() ? rows_ : take(rows_, open);
        if (info.by_class)
          rows.goals = take(repeat(ranks[static_cast<size_t>(goal) + 1].to_host(), epsilons_.size()), open);
        Workbench bench(classifier_, stage);
        const int64_t number = stage.first_try + goal * stage.restarts + t;
        keep(bench, open, rows, info.run(bench, rows, {number, t > 0, clean.gradient}));
      }
    }
  }

  // The rows that are worth a try. An ascent climbs with all: of two tries the higher loss is worth having, fooled
  // or not. Others leave what is fooled, but a search for the smallest perturbation goes on where no size says
  // that one is small enough.
  Places open_rows(const AttackInfo& info) const {
    if (info.ascent) return all_places(rows_.count());
    Places open;
    for (size_t r = 0; r < best_.rows().size(); ++r) {
      const AttackRow& row = best_.rows()[r];
      const bool may_shrink = info.goal == Goal::nearest && std::isinf(rows_.eps[r]) && row.linf > 0.0f;
      if (!row.success || may_shrink) open.push_back(static_cast<int64_t>(r));
    }
    return open;
  }

  void keep(Workbench& bench, const Places& places, const Rows& rows, const Found& found) {
    best_.take_over(places, judge(bench, rows, found));
    spend(bench);
  }

  void spend(const Workbench& bench) {
    result_.forward_passes += bench.forward_passes();
    result_.backward_passes += bench.backward_passes();
    for (const auto& [index, passes] : bench.passes_by_image()) {
      AttackedImage& image = result_.images[places_.at(index)];
      image.forward_passes += passes.forward;
      image.backward_passes += passes.backward;
    }
  }

  const Classifier& classifier_;
  const AttackBatch& batch_;
  const AttackOptions& options_;
  const AttackInfo& info_;
  std::span<const float> epsilons_;
  Rows rows_;
  Best best_;
  AttackResult result_;
  std::unordered_map<int64_t, size_t> places_;  // of images in it, by their number in the set
};

}  // namespace

AttackResult craft_checked(const Classifier& classifier, const AttackBatch& batch,
                           std::span<const float> epsilons, const AttackOptions& options) {
  check_batch(classifier, batch, options);
  return Crafter(classifier, batch, epsilons, options).run();
}

AttackResult craft(const Classifier& classifier, const AttackBatch& batch, std::span<const float> epsilons,
                   const AttackOptions& options) {
  check_attack(options, epsilons, classifier.image_size());
  return craft_checked(classifier, batch, epsilons, options);
}

AttackResult craft(const Model& model, const AttackBatch& batch, std::span<const float> epsilons,
                   const AttackOptions& options) {
  return craft(Network(model), batch, epsilons, options);
}

}  // namespace caltrop
