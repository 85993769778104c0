#include "engine/training.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/random.h"
#include "kernels/phase.h"

namespace caltrop {
namespace {

// Mini-batches of one size through forward pass, gradients and update, on memory that stays: so the step is
// captured once and replayed. The first runs op by op, which fills the allocator's caches.
class TrainingStep {
 public:
  TrainingStep(Model& model, Optimizer& optimizer, const TrainingOptions& options, const ImageShape& shape,
               int64_t size)
      : model_(model),
        optimizer_(optimizer),
        options_(options),
        parameters_(model.parameters()),
        x_(Tensor::uninitialized(model.backend(), {size, shape.height, shape.width, shape.channels})),
        losses_(Tensor::uninitialized(model.backend(), {size})),
        labels_(model.backend(), size),
        predicted_(model.backend(), size) {}

  // Trains on `rows`. Losses and predictions, as met before the update, go to device memory.
  void run(const ImageSource& images, std::span<const int64_t> rows, uint64_t step, float factor,
           float* losses, int32_t* predicted) {
    const Phase mini_batch("mini-batch");
    Backend& backend = model_.backend();
    images.pixels(rows, x_);
    const std::vector<int32_t> labels = images.labels_of(rows);
    backend.upload(labels_.data(), labels.data(), labels.size() * sizeof(int32_t));
    optimizer_.begin_step(factor);
    // The masks of dropout change with the step, and a replay repeats what it captured.
    if (!warm_ || model_.draws_random_numbers()) {
      train(step);
      warm_ = true;
    } else {
      if (!replay_) replay_ = backend.capture([this] { train(0); });
      replay_->run();
    }
    backend.copy(losses, losses_.data(), static_cast<size_t>(losses_.size()) * sizeof(float));
    backend.copy(predicted, predicted_.data(), static_cast<size_t>(predicted_.count()) * sizeof(int32_t));
  }

 private:
  void train(uint64_t step) {
    Backend& backend = model_.backend();
    Tensor logits, losses;
    {
      const Phase forward("forward");
      logits = model_.forward(x_, {.training = true, .seed = options_.seed, .step = step});
      losses = cross_entropy(logits, labels_, options_.cross_entropy);
    }
    std::vector<Tensor> gradients;
    {
      const Phase backward("backward");
      gradients = grad({mean(losses)}, parameters_);
    }
    const Phase update("update");
    optimizer_.apply(gradients);
    backend.copy(losses_.mutable_data(), losses.data(), static_cast<size_t>(losses.size()) * sizeof(float));
    const Labels predicted = argmax(logits);
    backend.copy(predicted_.data(), predicted.data(),
                 static_cast<size_t>(predicted.count()) * sizeof(int32_t));
  }

  Model& model_;
  Optimizer& optimizer_;
  const TrainingOptions& options_;
  const std::vector<Tensor> parameters_;
  const Tensor x_, losses_;
  const Labels labels_, predicted_;
  std::unique_ptr<Replay> replay_;
  bool warm_ = false;
};

}  // namespace

EpochResult train_epoch(Model& model, Optimizer& optimizer, const ImageSource& images, int64_t epoch,
                        const TrainingOptions& options, const BatchProgress& progress) {
  if (options.batch < 1) fail("[train] expected a batch of at least 1, got {}", options.batch);
  const int64_t count = images.count();
  if (count == 0) fail("[train] expected at least one image");
  const auto [lowest, highest] = std::minmax_element(images.labels().begin(), images.labels().end());
  if (*lowest < 0 || *highest >= model.outputs()) {
    fail("[train] expected labels from 0 to {}, got {}", model.outputs() - 1,
         *lowest < 0 ? *lowest : *highest);
  }
  const std::vector<int64_t> order =
      Random(options.seed, Purpose::shuffle, static_cast<uint64_t>(epoch)).permutation(count);
  const Phase whole("epoch");
  const int64_t batches = (count + options.batch - 1) / options.batch;
  const Tensor losses = Tensor::uninitialized(model.backend(), {count});
  const Labels predicted(model.backend(), count);
  std::optional<TrainingStep> full, rest;
  for (int64_t b = 0; b < batches; ++b) {
    const int64_t begin = b * options.batch, size = std::min(options.batch, count - begin);
    std::optional<TrainingStep>& step = size == options.batch ? full : rest;
    if (!step) step.emplace(model, optimizer, options, images.shape(), size);
    const auto number = static_cast<uint64_t>((epoch - 1) * batches + b);
    const double share = static_cast<double>(number) / static_cast<double>(options.epochs * batches);
    step->run(images, std::span(order).subspan(static_cast<size_t>(begin), static_cast<size_t>(size)), number,
              options.schedule.factor(share), losses.mutable_data() + begin, predicted.data() + begin);
    if (progress) progress(begin + size);
  }

  EpochResult result{.epoch = epoch};
  for (const float loss : losses.to_host()) result.loss += static_cast<double>(loss);
  const std::vector<int32_t> truth = images.labels_of(order), said = predicted.to_host();
  int64_t correct = 0;
  for (size_t i = 0; i < truth.size(); ++i) correct += said[i] == truth[i];
  result.loss /= static_cast<double>(count);
  result.accuracy = static_cast<double>(correct) / static_cast<double>(count);
  return result;
}

}  // namespace caltrop
