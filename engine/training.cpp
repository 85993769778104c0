#include "engine/training.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/random.h"
#include "kernels/phase.h"

namespace caltrop {
namespace {

void copy(const Tensor& from, const Tensor& to, int64_t at) {
  from.backend().copy(to.mutable_data() + at, from.data(), static_cast<size_t>(from.size()) * sizeof(float));
}
void copy(const Labels& from, const Labels& to, int64_t at) {
  from.backend().copy(to.data() + at, from.data(), static_cast<size_t>(from.count()) * sizeof(int32_t));
}

// What is measured image by image, on the device.
struct Measured {
  std::vector<Tensor> values;  // the losses, then what the objective reports
  Labels predicted;

  Measured(Backend& backend, size_t reports, int64_t count) : predicted(backend, count) {
    for (size_t k = 0; k <= reports; ++k) values.push_back(Tensor::uninitialized(backend, {count}));
  }
  void copy_to(const Measured& all, int64_t at) const {
    for (size_t k = 0; k < values.size(); ++k) copy(values[k], all.values[k], at);
    copy(predicted, all.predicted, at);
  }
};

// Mini-batches of one size through loss, gradients and update, on memory that stays: so the step is captured once and
// replayed. The first runs op by op, which fills the allocator's caches.
class TrainingStep {
 public:
  TrainingStep(const Model& model, Optimizer& optimizer, Objective& objective, const ImageShape& shape,
               int64_t size)
      : model_(model),
        optimizer_(optimizer),
        objective_(objective),
        parameters_(model.parameters()),
        batch_{.x = Tensor::uninitialized(model.backend(), {size, shape.height, shape.width, shape.channels}),
               .labels = Labels(model.backend(), size)},
        measured_(model.backend(), objective.reports().size(), size),
        kinds_(static_cast<size_t>(objective.kinds())) {}

  // Trains on `rows`; what is measured goes to `all`, from place `at`.
  void run(const ImageSource& images, std::span<const int64_t> rows, const ForwardOptions& forward,
           float rate, int64_t kind, const Measured& all, int64_t at) {
    const Phase mini_batch("mini-batch");
    Backend& backend = model_.backend();
    images.pixels(rows, batch_.x);
    const std::vector<int32_t> labels = images.labels_of(rows);
    backend.upload(batch_.labels.data(), labels.data(), labels.size() * sizeof(int32_t));
    batch_.rows = rows;
    batch_.rate = rate;
    batch_.kind = kind;
    batch_.forward = forward;
    objective_.prepare(model_, batch_);
    optimizer_.begin_step(rate);
    // The masks of dropout change with the step, and a replay repeats what it captured.
    Kind& step = kinds_[static_cast<size_t>(kind)];
    if (!step.warm || model_.draws_random_numbers() || !objective_.replayable()) {
      train();
      step.warm = true;
    } else {
      if (!step.replay) step.replay = backend.capture([this] { train(); });
      step.replay->run();
    }
    measured_.copy_to(all, at);
  }

 private:
  void train() {
    BatchLoss batch;
    {
      const Phase forward("forward");
      batch = objective_.loss(model_, batch_);
    }
    check(batch);
    std::vector<Tensor> gradients, asked;
    {
      const Phase backward("backward");
      std::vector<Tensor> wrt = parameters_;
      wrt.insert(wrt.end(), batch.wrt.begin(), batch.wrt.end());
      gradients = grad({mean(batch.losses)}, wrt);
      const auto own = gradients.begin() + static_cast<std::ptrdiff_t>(parameters_.size());
      asked.assign(own, gradients.end());
      gradients.erase(own, gradients.end());
    }
    const Phase update("update");
    optimizer_.apply(gradients);
    objective_.update(batch_, asked);
    copy(batch.losses, measured_.values[0], 0);
    for (size_t k = 0; k < batch.reported.size(); ++k) copy(batch.reported[k], measured_.values[k + 1], 0);
    copy(argmax(batch.logits), measured_.predicted, 0);
  }

  void check(const BatchLoss& batch) const {
    const Shape expected = measured_.values[0].shape();
    bool fits = batch.losses.shape() == expected && batch.reported.size() + 1 == measured_.values.size();
    for (const Tensor& values : batch.reported) fits = fits && values.shape() == expected;
    if (!fits)
      fail("[train] expected of the objective a loss and {} reports for each image",
           measured_.values.size() - 1);
  }

  const Model& model_;
  Optimizer& optimizer_;
  Objective& objective_;
  const std::vector<Tensor> parameters_;
  MiniBatch batch_;
  const Measured measured_;
  struct Kind {
    std::unique_ptr<Replay> replay;
    bool warm = false;
  };
  std::vector<Kind> kinds_;
};

// The epochs of one training, on memory that they share.
class Epochs {
 public:
  Epochs(const Model& model, Optimizer& optimizer, const ImageSource& images, Objective& objective,
         const TrainingOptions& options, const TrainingCallbacks& callbacks)
      : model_(model),
        optimizer_(optimizer),
        images_(images),
        objective_(objective),
        options_(options),
        callbacks_(callbacks),
        all_(model.backend(), objective.reports().size(), images.count()) {}

  EpochResult run(int64_t epoch) {
    const Phase whole("epoch");
    const int64_t count = images_.count(), batches = (count + options_.batch - 1) / options_.batch;
    const int64_t repeats = objective_.repeats();
    const std::vector<int64_t> order =
        Random(options_.seed, Purpose::shuffle, static_cast<uint64_t>(epoch)).permutation(count);
    for (int64_t b = 0; b < batches; ++b) {
      const int64_t begin = b * options_.batch, size = std::min(options_.batch, count - begin);
      const std::span rows = std::span(order).subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
      const int64_t number = (epoch - 1) * batches + b;
      const float rate = options_.schedule.factor(static_cast<double>(number) /
                                                  static_cast<double>(options_.epochs * batches));
      for (int64_t r = 0; r < repeats; ++r) {
        const auto step = static_cast<uint64_t>(number * repeats + r);
        step_of(size).run(images_, rows, {.training = true, .seed = options_.seed, .step = step}, rate,
                          r % objective_.kinds(), all_, begin);
      }
      if (callbacks_.progress) callbacks_.progress(epoch, (epoch - 1) * count + begin + size);
    }
    return result(epoch, order);
  }

 private:
  TrainingStep& step_of(int64_t size) {
    std::unique_ptr<TrainingStep>& step = size == options_.batch ? full_ : rest_;
    if (!step) step = std::make_unique<TrainingStep>(model_, optimizer_, objective_, images_.shape(), size);
    return *step;
  }

  EpochResult result(int64_t epoch, const std::vector<int64_t>& order) const {
    const auto mean_of = [](const Tensor& values) {
      double sum = 0;
      for (const float value : values.to_host()) sum += static_cast<double>(value);
      return sum / static_cast<double>(values.size());
    };
    EpochResult result{.epoch = epoch, .loss = mean_of(all_.values[0])};
    const std::vector<std::string> names = objective_.reports();
    for (size_t k = 0; k < names.size(); ++k) result.reported[names[k]] = mean_of(all_.values[k + 1]);
    const std::vector<int32_t> truth = images_.labels_of(order), said = all_.predicted.to_host();
    int64_t correct = 0;
    for (size_t i = 0; i < truth.size(); ++i) correct += said[i] == truth[i];
    result.accuracy = static_cast<double>(correct) / static_cast<double>(truth.size());
    return result;
  }

  const Model& model_;
  Optimizer& optimizer_;
  const ImageSource& images_;
  Objective& objective_;
  const TrainingOptions& options_;
  const TrainingCallbacks& callbacks_;
  const Measured all_;
  std::unique_ptr<TrainingStep> full_,
      rest_;  // the rest: the last mini-batch of an epoch, where it is smaller
};

void check(const Model& model, const ImageSource& images, const TrainingOptions& options) {
  if (options.batch < 1) fail("[train] expected a batch of at least 1, got {}", options.batch);
  if (images.count() == 0) fail("[train] expected at least one image");
  const auto [lowest, highest] = std::minmax_element(images.labels().begin(), images.labels().end());
  if (*lowest < 0 || *highest >= model.outputs()) {
    fail("[train] expected labels from 0 to {}, got {}", model.outputs() - 1,
         *lowest < 0 ? *lowest : *highest);
  }
}

// The loss of the last mini-batch was taken before its update, so the weights are looked at as well.
void expect_finite(const EpochResult& result, const Model& model, const Optimizer& optimizer) {
  if (std::isfinite(result.loss) && model.finite()) return;
  fail("the {} in epoch {}; try a smaller learning rate than {:g}",
       std::isfinite(result.loss) ? "weights were no longer finite"
                                  : fmt::format("loss became {}", result.loss),
       result.epoch, optimizer.options().rate);
}

}  // namespace

void Objective::prepare(const Model& /*model*/, const MiniBatch& /*batch*/) {}
void Objective::update(const MiniBatch& /*batch*/, const std::vector<Tensor>& /*gradients*/) {}
void Objective::save(SafeTensorFile& /*file*/) const {}
void Objective::load(const SafeTensorFile& /*file*/) {}

BatchLoss CrossEntropy::loss(const Model& model, const MiniBatch& batch) {
  const Tensor logits = model.forward(batch.x, batch.forward);
  return {cross_entropy(logits, batch.labels, gradient_), logits};
}

std::vector<EpochResult> fit(Model& model, Optimizer& optimizer, const ImageSource& images,
                             Objective& objective, const TrainingOptions& options,
                             const TrainingCallbacks& callbacks) {
  check(model, images, options);
  Epochs epochs(model, optimizer, images, objective, options, callbacks);
  std::vector<EpochResult> results;
  const int64_t last = options.last > 0 ? options.last : options.epochs;
  for (int64_t epoch = options.done + 1; epoch <= last; ++epoch) {
    results.push_back(epochs.run(epoch));
    expect_finite(results.back(), model, optimizer);
    if (callbacks.epoch && !callbacks.epoch(results.back())) break;
  }
  return results;
}

Model train_network(const ZooEntry& network, const ImageSource& images, int64_t epochs, uint64_t seed,
                    const Progress& progress) {
  Model model(parse_architecture(network.line), images.shape(), images.backend());
  model.initialize(parse_initializer(network.initializer), seed);
  train_further(model, images, epochs, seed, {.progress = [&](int64_t, int64_t done) {
                  if (progress) progress(done);
                }});
  return model;
}

void train_further(Model& model, const ImageSource& images, int64_t epochs, uint64_t seed,
                   const TrainingCallbacks& callbacks) {
  Optimizer optimizer({}, model.parameters());
  const TrainingOptions how{.epochs = epochs, .seed = seed, .schedule = Schedule::parse("linear")};
  CrossEntropy objective;
  fit(model, optimizer, images, objective, how, callbacks);
}

SafeTensorFile checkpoint(const Model& model, const Optimizer& optimizer, const Objective& objective) {
  SafeTensorFile file = model.state();
  optimizer.save(file);
  objective.save(file);
  return file;
}

void load_checkpoint(const SafeTensorFile& file, Model& model, Optimizer& optimizer, Objective& objective) {
  model.load(file);
  optimizer.load(file);
  objective.load(file);
}

}  // namespace caltrop
