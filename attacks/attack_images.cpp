#include "attacks/attack_images.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>

#include "attacks/attack_rows.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// Puts results that arrive in any order back into the order of the images.
class InOrder {
 public:
  InOrder(AttackReport& report, const AttackJob& job) : report_(report), job_(job), sink_(job.sink) {}

  // Whether no more is wanted: all is known, or the sink has thrown.
  bool over() const { return over_; }

  void arrive(int64_t first, AttackResult result) {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    if (!sink_) {  // the images themselves are not needed any more
      result.delta = {};
      result.adversarial = {};
    }
    waiting_.emplace(first, std::move(result));
    while (!over_ && !waiting_.empty() && waiting_.begin()->first == next_) {
      AttackResult ready = std::move(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
      take(ready);
    }
  }

 private:
  void take(AttackResult& ready) {
    const int64_t first = next_;
    next_ += static_cast<int64_t>(ready.images.size());
    for (size_t i = 0; i < ready.images.size() && !over_; ++i) {
      for (int64_t s = 0; s < ready.sizes; ++s) {
        report_.sizes[static_cast<size_t>(s)].add(ready.images[i], ready.row(static_cast<int64_t>(i), s));
      }
      // Image by image: a chunk's own sum would depend on where it ends.
      report_.forward_passes += ready.images[i].forward_passes;
      report_.backward_passes += ready.images[i].backward_passes;
      const auto own = std::span(ready.rows)
                           .subspan(i * static_cast<size_t>(ready.sizes), static_cast<size_t>(ready.sizes));
      const bool last = job_.last && job_.last(ready.images[i], own);
      if (!last && !known()) continue;
      over_ = true;
      ready.images.resize(i + 1);
      ready.rows.resize((i + 1) * static_cast<size_t>(ready.sizes));
    }
    if (!sink_) return;
    try {
      sink_(first, ready);
    } catch (...) {
      over_ = true;
      throw;
    }
  }

  bool known() const {
    const auto all = static_cast<int64_t>(job_.rows.size());
    return job_.until && std::ranges::all_of(report_.sizes, [&](const AttackSummary& summary) {
             return at_least(summary, *job_.until, all).has_value();
           });
  }

  AttackReport& report_;
  const AttackJob& job_;
  const AttackSink& sink_;
  std::mutex mutex_;
  std::map<int64_t, AttackResult> waiting_;
  int64_t next_ = 0;
  std::atomic<bool> over_ = false;
};

// What `answers` says of the clean images and of the attacked ones, instead of the classifier that was attacked.
void judge_again(AttackResult& result, const AttackBatch& batch, const AttackOptions& options,
                 const AttackJob& job) {
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  std::vector<int64_t> numbers;
  for (const AttackedImage& image : result.images)
    numbers.insert(numbers.end(), static_cast<size_t>(result.sizes), image.index);
  const std::vector<int32_t> clean = job.answers(batch.x, batch.indices),
                             after = job.answers(result.adversarial, numbers);
  for (size_t i = 0; i < result.images.size(); ++i) {
    AttackedImage& image = result.images[i];
    const int32_t attacked = options.targeted           ? image.target
                             : options.predicted_labels ? clean[i]
                                                        : image.label;
    image.clean_prediction = clean[i];
    image.clean_confidence = kNone;
    for (int64_t s = 0; s < result.sizes; ++s) {
      const size_t r = i * static_cast<size_t>(result.sizes) + static_cast<size_t>(s);
      AttackRow& row = result.rows[r];
      row.prediction = after[r];
      row.confidence = kNone;
      row.alarm = after[r] == job.alarm;
      row.success = row.within && !row.alarm && (after[r] == attacked) == options.targeted;
    }
  }
}

}  // namespace

void AttackSummary::add(const AttackedImage& image, const AttackRow& row) {
  const bool right_before = image.clean_prediction == image.label,
             right_after = row.prediction == image.label || row.alarm || !row.within;
  ++images;
  clean_correct += right_before;
  correct += right_after;
  robust += right_before && right_after;
  successes += row.success;
  successes_of_correct += right_before && row.success;
  loss += row.loss;
  sum_linf += row.linf;
  sum_l2 += row.l2;
  max_linf = std::max(max_linf, static_cast<double>(row.linf));
  max_l2 = std::max(max_l2, static_cast<double>(row.l2));
  zero_gradients += row.zero_gradients;
  nan_gradients += row.nan_gradients;
  box_violations += row.box_violations;
  ball_violations += row.outside_ball;
  clean_calibration.add(image.clean_confidence, right_before);
  // Where nothing within the size was found, the image as it is stands for it.
  calibration.add(row.within ? row.confidence : image.clean_confidence, right_after);

  const auto label = static_cast<size_t>(image.label),
             after = right_after && !row.alarm ? label : static_cast<size_t>(row.prediction);
  if (classes.size() <= label) classes.resize(label + 1);
  ClassCount& of_class = classes[label];
  ++of_class.images;
  of_class.clean_correct += right_before;
  of_class.robust += right_before && right_after;
  if (of_class.after.size() <= after) of_class.after.resize(after + 1);
  ++of_class.after[after];
}

std::vector<std::vector<int64_t>> AttackSummary::confusion() const {
  size_t outputs = classes.size();
  for (const ClassCount& one : classes) outputs = std::max(outputs, one.after.size());
  std::vector<std::vector<int64_t>> rows(outputs, std::vector<int64_t>(outputs));
  for (size_t k = 0; k < classes.size(); ++k) std::ranges::copy(classes[k].after, rows[k].begin());
  return rows;
}

void FooledImages::add(const AttackedImage& image, const AttackRow& row) {
  if (!row.success || image.clean_prediction != image.label) return;
  const double norms[] = {static_cast<double>(row.l0), row.l1, row.l2, row.linf};
  for (size_t k = 0; k < norms_.size(); ++k) norms_[k].push_back(norms[k]);
  ++by_attack_[to_string(row.by)];
}

std::array<FooledImages::Spread, 4> FooledImages::spreads() const {
  std::array<Spread, 4> spreads;
  for (size_t k = 0; k < norms_.size() && count() > 0; ++k) {
    std::vector<double> values = norms_[k];
    std::ranges::sort(values);
    const size_t half = values.size() / 2;
    spreads[k] = {
        .mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()),
        .median = values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]),
        .max = values.back()};
  }
  return spreads;
}

std::optional<bool> at_least(const AttackSummary& summary, double share, int64_t images) {
  // As shares, so that 7 of 100 are 0.07 of them.
  if (share_of(summary.robust, images) >= share) return true;
  if (share_of(summary.robust + images - summary.images, images) < share) return false;
  return std::nullopt;
}

AttackReport attack_images(const Classifier& classifier, const Images& images,
                           std::span<const float> epsilons, const AttackOptions& options,
                           const AttackJob& job) {
  if (!(images.shape() == classifier.input())) {
    fail("[attack] expected images of {}x{}x{} as the model takes them, got {}x{}x{}",
         classifier.input().height, classifier.input().width, classifier.input().channels,
         images.shape().height, images.shape().width, images.shape().channels);
  }
  check_attack(options, epsilons, images.image_size());
  const auto count = static_cast<int64_t>(job.rows.size());
  if (options.targeted && job.targets.size() != job.rows.size()) {
    fail("[attack] expected {} targets, got {}", count, job.targets.size());
  }
  if (!job.starts.empty() && job.starts.size() != job.rows.size() * static_cast<size_t>(images.image_size()))
    fail("[attack] expected starts of {} values, got {}", count * images.image_size(), job.starts.size());
  AttackReport report;
  for (const float eps : epsilons) report.sizes.push_back({.size = eps});
  InOrder results(report, job);

  const auto outputs = static_cast<size_t>(classifier.outputs());
  if (!job.clean.empty() && job.clean.size() != static_cast<size_t>(images.count()) * outputs)
    fail("[attack] expected the logits of {} images, got {} numbers", images.count(), job.clean.size());
  const auto clean_logits = [&](std::span<const int64_t> rows) {
    std::vector<float> logits;
    for (const int64_t row : rows)
      std::ranges::copy(job.clean.subspan(static_cast<size_t>(row) * outputs, outputs),
                        std::back_inserter(logits));
    return Tensor::from(classifier.backend(), {static_cast<int64_t>(rows.size()), classifier.outputs()},
                        logits);
  };
  const auto body = [&](int64_t begin, int64_t end) {
    if (results.over()) return;  // then the others need not be worked out any more
    const auto rows =
        std::span(job.rows).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    AttackBatch batch{images.pixels(rows), {rows.begin(), rows.end()}, {}, {}};
    for (const int64_t row : rows) batch.labels.push_back(images.labels()[static_cast<size_t>(row)]);
    if (!job.clean.empty()) batch.clean = clean_logits(rows);
    if (!job.starts.empty()) {
      const auto size = static_cast<size_t>(images.image_size());
      batch.start = Tensor::from(
          classifier.backend(), batch.x.shape(),
          std::span(job.starts)
              .subspan(static_cast<size_t>(begin) * size, static_cast<size_t>(end - begin) * size));
    }
    if (options.targeted) batch.targets.assign(job.targets.begin() + begin, job.targets.begin() + end);
    AttackResult result = craft_checked(classifier, batch, epsilons, options);
    if (job.answers) judge_again(result, batch, options, job);
    results.arrive(begin, std::move(result));
  };
  const int64_t suited = std::max<int64_t>(1, classifier.chunk() / static_cast<int64_t>(epsilons.size()));
  for_chunks(classifier.backend(), count, job.batch > 0 ? job.batch : suited, body, job.progress);
  return report;
}

AttackReport attack_images(const Model& model, const Images& images, std::span<const float> epsilons,
                           const AttackOptions& options, const AttackJob& job) {
  return attack_images(Network(model), images, epsilons, options, job);
}

AttackBatch first_of_each_class(const Model& model, const Images& images, int64_t classes) {
  const std::vector<int32_t> said = argmax_rows(predict(model, images), model.outputs());
  AttackBatch first;
  for (int32_t k = 0; k < static_cast<int32_t>(classes); ++k) {
    for (size_t i = 0; i < said.size(); ++i) {
      if (images.labels()[i] != k || said[i] != k) continue;
      first.indices.push_back(static_cast<int64_t>(i));
      first.labels.push_back(k);
      break;
    }
  }
  if (!first.indices.empty()) first.x = images.pixels(first.indices);
  return first;
}

}  // namespace caltrop
