// The loop that the attacks share. Everything large stays on the device of the model; the host keeps one
// number or two for each row.

#include "attacks/attack.h"

#include <cmath>
#include <memory>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/random.h"
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

void check_batch(const Model& model, const AttackBatch& batch, const AttackOptions& options) {
  const int64_t n = batch.x.rank() == 4 ? batch.x.dim(0) : -1;
  if (n < 0) fail("[attack] expected images (n,h,w,c), got {}", to_string(batch.x.shape()));
  if (static_cast<int64_t>(batch.indices.size()) != n)
    fail("[attack] expected {} indices, got {}", n, batch.indices.size());
  for (const int64_t index : batch.indices) {
    if (index < 0 || index >= kMaxIndex)
      fail("[attack] expected indices from 0 to {}, got {}", kMaxIndex - 1, index);
  }
  check_classes("labels", batch.labels, n, model.outputs());
  if (options.targeted) check_classes("targets", batch.targets, n, model.outputs());
}

// Random numbers of one image in one try: its noise, and apart from it the length of an L2 start.
enum class Draw : uint8_t { noise = 0, radius = 1 };
uint64_t start_stream(int64_t attempt, Draw draw, int64_t index) {
  return stream_of(Purpose::random_start, (static_cast<uint64_t>(attempt) << 33) |
                                              (static_cast<uint64_t>(draw) << 32) |
                                              static_cast<uint64_t>(index));
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
std::vector<T> repeat(std::span<const T> values, int64_t times) {
  std::vector<T> repeated;
  for (const T value : values) repeated.insert(repeated.end(), static_cast<size_t>(times), value);
  return repeated;
}

class Crafter {
 public:
  Crafter(const Model& model, const AttackBatch& batch, std::span<const float> sizes,
          const AttackOptions& options)
      : model_(model),
        backend_(model.backend()),
        batch_(batch),
        options_(options),
        sizes_(sizes),
        images_(batch.x.dim(0)),
        rows_(images_ * static_cast<int64_t>(sizes.size())),
        pixels_(model.input().height * model.input().width * model.input().channels) {}

  AttackResult run() {
    result_.sizes = static_cast<int64_t>(sizes_.size());
    if (images_ == 0) return std::move(result_);
    look_at_clean();
    for (int64_t i = 0; i < images_; ++i) {
      for (const float eps : sizes_) {
        eps_.push_back(eps);
        step_sizes_.push_back(step_size_of(options_, eps));
      }
    }
    origin_ = repeat(batch_.x, result_.sizes);
    labels_ = Labels(backend_,
                     std::span<const int32_t>(repeat(std::span<const int32_t>(attacked_), result_.sizes)));
    for (int64_t t = 0; t < options_.restarts; ++t) {
      const Tensor start = options_.random_start ? random_start(options_.first_try + t) : origin_;
      keep(judge(climb(start)));
    }
    return std::move(result_);
  }

 private:
  struct Pass {
    Tensor logits, gradient;
  };

  // Logits, and the gradient of each image's own loss w.r.t. its pixels. The seed is one for every loss (a
  // sum, not a mean), so that the number of images scales nothing.
  Pass differentiate(const Tensor& x, const Labels& labels) const {
    const Recording on(true);
    const Tensor leaf = variable(x);
    const Tensor logits = model_.forward(leaf);
    const Tensor loss = cross_entropy(logits, labels, options_.cross_entropy);
    return {logits.detach(), grad(loss, leaf)};
  }
  void count_gradients(int64_t images) {
    result_.forward_passes += images;
    result_.backward_passes += images;
  }

  Tensor evaluate(const Tensor& x) {
    const NoGrad values_only;
    result_.forward_passes += x.dim(0);
    return model_.forward(x);
  }

  // The clean predictions, the labels to attack, and the first gradient where all sizes share it.
  void look_at_clean() {
    const Phase clean("clean");
    attacked_ = options_.targeted ? batch_.targets : batch_.labels;
    Tensor logits;
    if (options_.random_start || options_.predicted_labels) logits = evaluate(batch_.x);
    if (options_.predicted_labels && !options_.targeted) attacked_ = argmax(logits).to_host();
    if (!options_.random_start) {
      const Pass pass = differentiate(batch_.x, Labels(backend_, std::span<const int32_t>(attacked_)));
      count_gradients(images_);
      first_gradient_ = pass.gradient;
      logits = pass.logits;
    }
    const std::vector<int32_t> predicted = argmax(logits).to_host();
    for (size_t i = 0; i < batch_.labels.size(); ++i) {
      const int32_t target = options_.targeted ? batch_.targets[i] : -1;
      result_.images.push_back({batch_.indices[i], batch_.labels[i], target, predicted[i]});
    }
  }

  // y = clip(project(x + size * direction(g))) with the step `size` of each row.
  Tensor step(const Tensor& x, const Tensor& g, const std::vector<float>& size) const {
    return step(options_.norm, x, g, eps_, size);
  }
  Tensor step(Norm norm, const Tensor& x, const Tensor& g, const std::vector<float>& eps,
              const std::vector<float>& size) const {
    AttackStep rule{.norm = norm, .rows = rows_, .cols = pixels_};
    rule.direction = options_.targeted ? -1.0f : 1.0f;
    rule.low = options_.low;
    rule.high = options_.high;
    Tensor y = Tensor::uninitialized(backend_, x.shape());
    backend_.attack_step(rule, x.data(), origin_.data(), g.data(), eps.data(), size.data(), y.mutable_data());
    return y;
  }

  // L-inf: eps * U[-1,1) for each pixel. L2: a Gaussian direction of length eps * u^(1/d), uniform in the
  // ball. All sizes of an image share its draw and scale it, so that a size does not depend on its
  // neighbours.
  Tensor random_start(int64_t attempt) const {
    std::vector<uint64_t> streams;
    for (const int64_t index : batch_.indices) streams.push_back(start_stream(attempt, Draw::noise, index));
    Tensor noise = Tensor::uninitialized(backend_, {images_, 1, pixels_});
    if (options_.norm == Norm::linf) {
      backend_.random(Distribution::uniform, options_.seed, streams, pixels_, noise.mutable_data());
      const Tensor eps = Tensor::from(backend_, {1, result_.sizes, 1}, sizes_);
      const Tensor x = batch_.x.view({images_, 1, pixels_}) + (noise * 2.0f - 1.0f) * eps;
      return step(x.view(origin_.shape()), origin_, std::vector<float>(eps_.size(), 0.0f));
    }
    backend_.random(Distribution::normal, options_.seed, streams, pixels_, noise.mutable_data());
    std::vector<float> lengths;
    for (const int64_t index : batch_.indices) {
      const double u = Random(options_.seed, start_stream(attempt, Draw::radius, index)).uniform();
      const double length = std::pow(u, 1.0 / static_cast<double>(pixels_));
      for (const float eps : sizes_) lengths.push_back(static_cast<float>(length * eps));
    }
    return step(origin_, repeat(noise.view(batch_.x.shape()), result_.sizes), lengths);
  }

  // The attack itself. What it works on stays where it is, so that a step is captured once and replayed; the
  // steps before that run op by op.
  Tensor climb(const Tensor& start) {
    const Phase steps("steps");
    x_ = Tensor::uninitialized(backend_, origin_.shape());
    assign(x_, start);
    momentum_ = Tensor::zeros(backend_, origin_.shape());
    zeros_ = Tensor::zeros(backend_, {rows_});
    nans_ = Tensor::zeros(backend_, {rows_});
    const auto step_by_gradient = [this] {
      ascend(differentiate(x_, labels_).gradient);
    };
    int64_t k = 0;
    if (first_gradient_ && options_.steps > 0) {
      ascend(repeat(first_gradient_, result_.sizes));
      ++k;
    }
    count_gradients((options_.steps - k) * rows_);
    if (k < options_.steps) {
      step_by_gradient();
      ++k;
    }
    if (k < options_.steps) {
      const std::unique_ptr<Replay> replay = backend_.capture(step_by_gradient);
      for (; k < options_.steps; ++k) replay->run();
    }
    return x_;
  }

  // One step of every row along `g`.
  void ascend(const Tensor& g) const {
    const Tensor length = sum(abs(g), {1, 2, 3});  // |g|_1 of each row
    const Tensor zero = equal(length, Tensor::zeros(backend_, {rows_}));
    assign(zeros_, zeros_ + zero);
    assign(nans_, nans_ + (1.0f - equal(length, length)));
    if (options_.kind == AttackKind::mim) {
      // A zero gradient is divided by one: it adds nothing and the momentum goes on.
      const Tensor unit = g / reshape(length + zero, {rows_, 1, 1, 1});
      assign(momentum_, momentum_ * options_.decay + unit);
      assign(x_, step(x_, momentum_, step_sizes_));
    } else {
      assign(x_, step(x_, g, step_sizes_));
    }
  }

  void assign(const Tensor& to, const Tensor& from) const {
    backend_.copy(to.mutable_data(), from.data(), static_cast<size_t>(to.size()) * sizeof(float));
  }

  struct Candidate {
    Tensor delta, adversarial;
    std::vector<AttackRow> rows;
  };

  // What became of the rows, measured on what will be stored.
  Candidate judge(const Tensor& x) {
    const Phase judging("judge");
    Candidate found;
    found.delta = x - origin_;
    const Tensor sum_x = origin_ + found.delta;
    const std::vector<float> anywhere(eps_.size(), 2.0f * (options_.high - options_.low));
    found.adversarial = step(Norm::linf, sum_x, sum_x, anywhere, std::vector<float>(eps_.size(), 0.0f));

    const Tensor logits = evaluate(found.adversarial);
    const std::vector<int32_t> predicted = argmax(logits).to_host();
    const std::vector<float> losses = cross_entropy(logits, labels_).to_host();
    const std::vector<float> zeros = zeros_.to_host(), nans = nans_.to_host();
    const std::vector<float> outside = outside_box(found.adversarial).to_host();
    std::vector<RowStats> used(eps_.size());
    backend_.row_stats(rows_, pixels_, found.delta.data(), used.data());

    const float tolerance = ball_tolerance(options_.norm, pixels_);
    for (size_t r = 0; r < eps_.size(); ++r) {
      const int32_t attacked = attacked_[r / sizes_.size()];
      AttackRow row;
      row.prediction = predicted[r];
      row.success = options_.targeted ? predicted[r] == attacked : predicted[r] != attacked;
      row.loss = losses[r];
      row.linf = used[r].linf;
      row.l2 = used[r].l2;
      row.l1 = used[r].l1;
      row.zero_gradients = static_cast<int32_t>(zeros[r]);
      row.nan_gradients = static_cast<int32_t>(nans[r]);
      row.box_violations = static_cast<int32_t>(outside[r]);
      const float length = options_.norm == Norm::linf ? row.linf
                           : options_.norm == Norm::l2 ? row.l2
                                                       : row.l1;
      row.outside_ball = !(length <= eps_[r] + tolerance) || used[r].nans > 0.0f;
      found.rows.push_back(row);
    }
    return found;
  }

  // Pixels of each row outside the box.
  Tensor outside_box(const Tensor& x) const {
    const Tensor low = Tensor::full(backend_, {}, options_.low),
                 high = Tensor::full(backend_, {}, options_.high);
    return sum(greater(low, x) + greater(x, high), {1, 2, 3});
  }

  // Success before loss: a misclassified image can have a lower loss than one that is still right.
  bool better(const AttackRow& now, const AttackRow& before) const {
    if (now.success != before.success) return now.success;
    return options_.targeted ? now.loss < before.loss : now.loss > before.loss;
  }

  // Takes over the rows in which this try beats those before it.
  void keep(Candidate found) {
    if (result_.rows.empty()) {
      result_.rows = std::move(found.rows);
      result_.delta = found.delta;
      result_.adversarial = found.adversarial;
      return;
    }
    for (int64_t r = 0; r < rows_; ++r) {
      AttackRow& best = result_.rows[static_cast<size_t>(r)];
      if (!better(found.rows[static_cast<size_t>(r)], best)) continue;
      best = found.rows[static_cast<size_t>(r)];
      copy_row(result_.delta, found.delta, r);
      copy_row(result_.adversarial, found.adversarial, r);
    }
  }

  void copy_row(const Tensor& to, const Tensor& from, int64_t row) {
    const int64_t at = row * pixels_;
    backend_.copy(to.mutable_data() + at, from.data() + at, static_cast<size_t>(pixels_) * sizeof(float));
  }

  const Model& model_;
  Backend& backend_;
  const AttackBatch& batch_;
  const AttackOptions& options_;
  std::span<const float> sizes_;
  int64_t images_, rows_, pixels_;
  std::vector<int32_t> attacked_;        // the label that the loss is about, for each image
  std::vector<float> eps_, step_sizes_;  // of each row
  Tensor origin_, first_gradient_;
  Tensor x_, momentum_, zeros_, nans_;  // of the try under way
  Labels labels_;                       // attacked_, for each row
  AttackResult result_;
};

}  // namespace

AttackResult craft(const Model& model, const AttackBatch& batch, std::span<const float> sizes,
                   const AttackOptions& options) {
  const ImageShape& shape = model.input();
  check_attack(options, sizes, shape.height * shape.width * shape.channels);
  check_batch(model, batch, options);
  return Crafter(model, batch, sizes, options).run();
}

}  // namespace caltrop
