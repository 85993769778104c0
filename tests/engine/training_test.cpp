// The training loop on a small made-up task: it learns, it repeats exactly, it continues exactly.
#include "engine/training.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/autograd.h"
#include "engine/early_stopping.h"
#include "engine/error.h"
#include "engine/inference.h"
#include "engine/random.h"
#include "kernels/emulation/emulation.h"
#include "tests/reference.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

using reference::Values;

constexpr ImageShape kShape{10, 10, 1};

// Ten classes, each a bright bar at its own place in noise.
Images bars(int64_t count, uint64_t seed, Backend& backend = cpu_backend()) {
  reference::Samples samples(seed);
  std::vector<uint8_t> pixels(static_cast<size_t>(count * 100));
  for (uint8_t& p : pixels) p = static_cast<uint8_t>(samples.below(120));
  const std::vector<int32_t> labels = samples.labels(count, 10);
  for (size_t n = 0; n < labels.size(); ++n) {
    const auto label = static_cast<size_t>(labels[n]);
    for (size_t i = 0; i < 10; ++i) {
      const size_t at = label < 5 ? label * 2 * 10 + i : i * 10 + (label - 5) * 2;
      pixels[n * 100 + at] = static_cast<uint8_t>(200 + samples.below(56));
    }
  }
  return Images(backend, kShape, pixels, labels);
}

Model fresh(
    const char* line = "conv 8 3x3 | relu | maxpool 2 | flatten | dropout 0.1 | dense 20 | gelu | dense 10") {
  Model model(parse_architecture(line), kShape, cpu_backend());
  model.initialize(Initializer::he_uniform, 11);
  return model;
}

double accuracy(const Model& model, const Images& images) {
  const std::vector<int32_t> predicted = argmax_rows(predict(model, images), model.outputs());
  int64_t right = 0;
  for (size_t i = 0; i < predicted.size(); ++i) right += predicted[i] == images.labels()[i];
  return static_cast<double>(right) / static_cast<double>(images.count());
}

TrainingOptions options_of(int64_t epochs, int64_t batch, uint64_t seed) {
  TrainingOptions options;
  options.epochs = epochs;
  options.batch = batch;
  options.seed = seed;
  return options;
}
const TrainingOptions kOptions = options_of(4, 32, 5);

// The whole checkpoint after epochs [first, last].
SafeTensorFile train(Model& model, Optimizer& optimizer, const Images& images, int64_t first, int64_t last,
                     Objective& objective, std::vector<EpochResult>* results = nullptr) {
  TrainingOptions options = kOptions;
  options.done = first - 1;
  options.last = last;
  const std::vector<EpochResult> met = fit(model, optimizer, images, objective, options);
  if (results) *results = met;
  return checkpoint(model, optimizer, objective);
}

// Losses of plain gradient descent on the whole set, over doubles, for a network
// conv 4 3x3 | relu | maxpool 2 | flatten | dense 10 that starts from `state`.
std::vector<double> double_trace(const Images& images, const SafeTensorFile& state, double rate, int steps) {
  const auto values = [&](const char* name) {
    const std::span<const float> all = state.find(name)->floats();
    return Values(all.begin(), all.end());
  };
  Values w = values("0.weight"), b = values("0.bias"), dense_w = values("4.weight"),
         dense_b = values("4.bias");
  const int64_t n = images.count(), features = 4 * 4 * 4;
  const Conv2d conv{n, 10, 10, 1, 4, 3, 3};
  const Pool2d pool{n, 8, 8, 4, 2, 2, 2, 2};
  const Values x = reference::widen(images.pixels(row_range(0, n)).to_host());
  const auto descend = [rate](Values& parameter, const Values& gradient) {
    for (size_t i = 0; i < parameter.size(); ++i) parameter[i] -= rate * gradient[i];
  };
  std::vector<double> losses;
  for (int step = 0; step < steps; ++step) {
    Values z = reference::conv2d(conv, x, w);
    for (size_t i = 0; i < z.size(); ++i) z[i] = std::max(0.0, z[i] + b[i % 4]);
    const reference::Maxima pooled = reference::maxpool(pool, z);
    Values logits = reference::matmul(false, true, n, 10, features, pooled.values, dense_w);
    for (size_t i = 0; i < logits.size(); ++i) logits[i] += dense_b[i % 10];
    const Values log_p = reference::log_softmax(n, 10, logits);
    double loss = 0.0;
    Values d_logits, d_dense_b(10), d_z(z.size()), d_b(4);
    for (size_t i = 0; i < log_p.size(); ++i) {
      const bool label = static_cast<int32_t>(i % 10) == images.labels()[i / 10];
      if (label) loss -= log_p[i] / static_cast<double>(n);
      d_logits.push_back((std::exp(log_p[i]) - (label ? 1.0 : 0.0)) / static_cast<double>(n));
      d_dense_b[i % 10] += d_logits.back();
    }
    losses.push_back(loss);
    const Values d_dense_w = reference::matmul(true, false, 10, features, n, d_logits, pooled.values);
    const Values d_pooled = reference::matmul(false, false, n, features, 10, d_logits, dense_w);
    for (size_t i = 0; i < d_pooled.size(); ++i) {
      const size_t at = (i / 64 * 64 + static_cast<size_t>(pooled.index[i])) * 4 + i % 4;
      if (z[at] > 0.0) d_z[at] += d_pooled[i];
    }
    for (size_t i = 0; i < d_z.size(); ++i) d_b[i % 4] += d_z[i];
    descend(w, reference::conv2d_dweight(conv, x, d_z));
    descend(b, d_b);
    descend(dense_w, d_dense_w);
    descend(dense_b, d_dense_b);
  }
  return losses;
}

// Objectives of other kinds than cross-entropy, as a user would write them.

// The soft labels of a teacher at a temperature (Hinton et al. 2015): what the images' own labels say does not count.
class Distillation final : public Objective {
 public:
  Distillation(const Model& teacher, float temperature) : teacher_(teacher), temperature_(temperature) {}
  BatchLoss loss(const Model& model, const MiniBatch& batch) override {
    Tensor targets;
    {
      const NoGrad values_only;
      targets = softmax(teacher_.forward(batch.x) / temperature_);
    }
    const Tensor logits = model.forward(batch.x, batch.forward);
    return {soft_cross_entropy(logits / temperature_, targets), logits};
  }

 private:
  const Model& teacher_;
  float temperature_;
};

// Adversarial images made within the step, by FGSM from a random start (Wong et al. 2020).
class FastAdversarial final : public Objective {
 public:
  FastAdversarial(float eps, bool replayable) : eps_(eps), replayable_(replayable) {}
  bool replayable() const override { return replayable_; }
  std::vector<std::string> reports() const override { return {"clean_loss"}; }

  void prepare(const Model& model, const MiniBatch& batch) override {
    const int64_t size = batch.x.shape()[0];
    if (!starts_.contains(size)) starts_[size] = Tensor::zeros(model.backend(), batch.x.shape());
    const Tensor& start = starts_.at(size);
    Random random(batch.forward.seed, Purpose::test, batch.forward.step);
    std::vector<float> values(static_cast<size_t>(start.size()));
    for (float& value : values) value = random.uniform(-eps_, eps_);
    model.backend().upload(start.mutable_data(), values.data(), values.size() * sizeof(float));
  }

  BatchLoss loss(const Model& model, const MiniBatch& batch) override {
    const Tensor& start = starts_.at(batch.x.shape()[0]);
    const Tensor begun = variable(clamp(batch.x + start, 0, 1));
    const Tensor ascent = sign(grad(sum(cross_entropy(model.forward(begun), batch.labels)), begun));
    const Tensor attacked = clamp(batch.x + clamp(start + ascent * (1.25f * eps_), -eps_, eps_), 0, 1);
    const Tensor logits = model.forward(attacked, batch.forward);
    return {
        cross_entropy(logits, batch.labels), logits, {cross_entropy(model.forward(batch.x), batch.labels)}};
  }

 private:
  float eps_;
  bool replayable_;
  std::map<int64_t, Tensor> starts_;  // by the size of the mini-batch
};

// One perturbation of all images, kept from step to step, that an optimizer of its own makes worse with the gradients
// of the very pass that trains the network, each mini-batch twice (Shafahi et al. 2019, 2020).
class Universal final : public Objective {
 public:
  explicit Universal(float eps)
      : eps_(eps),
        delta_(variable(Tensor::zeros(cpu_backend(), {1, 10, 10, 1}))),
        optimizer_({.rate = 0.05f}, {delta_}) {}
  int64_t repeats() const override { return 2; }
  void prepare(const Model& /*model*/, const MiniBatch& batch) override { optimizer_.begin_step(batch.rate); }
  BatchLoss loss(const Model& model, const MiniBatch& batch) override {
    const Tensor logits = model.forward(clamp(batch.x + delta_, 0, 1), batch.forward);
    return {cross_entropy(logits, batch.labels), logits, {}, {delta_}};
  }
  void update(const MiniBatch& /*batch*/, const std::vector<Tensor>& gradients) override {
    const NoGrad values_only;
    optimizer_.apply({-gradients.at(0)});
    const Tensor inside = clamp(delta_, -eps_, eps_);
    delta_.backend().copy(delta_.mutable_data(), inside.data(),
                          static_cast<size_t>(inside.size()) * sizeof(float));
  }
  void save(SafeTensorFile& file) const override {
    optimizer_.save(file, "objective.optimizer");
    file.tensors.emplace_back("objective.delta", SafeTensor::from_floats(delta_.shape(), delta_.to_host()));
  }
  void load(const SafeTensorFile& file) override {
    optimizer_.load(file, "objective.optimizer");
    const std::span<const float> values = file.find("objective.delta")->floats();
    delta_.backend().upload(delta_.mutable_data(), values.data(), values.size_bytes());
  }
  std::vector<float> delta() const { return delta_.to_host(); }

 private:
  float eps_;
  Tensor delta_;
  Optimizer optimizer_;
};

// A second network in turn with the first: in the steps of kind 0 it takes a step of its own before, which those of kind 1
// see.
class InTurns final : public Objective {
 public:
  InTurns(Backend& backend, bool replayable)
      : replayable_(replayable),
        scale_(variable(Tensor::full(backend, {1}, 1))),
        optimizer_({.rate = 0.1f}, {scale_}) {}
  int64_t repeats() const override { return 3; }
  int64_t kinds() const override { return 3; }
  bool replayable() const override { return replayable_; }
  std::vector<std::string> reports() const override { return {"scale"}; }
  void prepare(const Model& /*model*/, const MiniBatch& batch) override {
    seen.push_back(batch.kind);
    if (batch.kind == 0) optimizer_.begin_step(batch.rate);
  }
  BatchLoss loss(const Model& model, const MiniBatch& batch) override {
    const Tensor logits = model.forward(batch.x, batch.forward);
    if (batch.kind == 0)
      optimizer_.apply({grad({mean(cross_entropy(logits.detach() * scale_, batch.labels))}, {scale_})});
    const Tensor scale = broadcast_to(scale_.detach(), {batch.x.dim(0)});
    return {cross_entropy(logits, batch.labels) * scale, logits, {scale}};
  }
  int64_t steps() const { return optimizer_.steps(); }

  std::vector<int64_t> seen;

 private:
  bool replayable_;
  Tensor scale_;
  Optimizer optimizer_;
};

// Wrong: one loss for the whole mini-batch.
class Whole final : public Objective {
  BatchLoss loss(const Model& model, const MiniBatch& batch) override {
    const Tensor logits = model.forward(batch.x, batch.forward);
    return {mean(cross_entropy(logits, batch.labels)), logits};
  }
};

// The share of images that FGSM leaves as they were classified rightly.
double robust_accuracy(const Model& model, const Images& images, float eps) {
  const Tensor x = variable(images.pixels(row_range(0, images.count())));
  const Labels labels(cpu_backend(), images.count());
  cpu_backend().upload(labels.data(), images.labels().data(), images.labels().size() * sizeof(int32_t));
  const Tensor g = grad(sum(cross_entropy(model.forward(x), labels)), x);
  const std::vector<int32_t> said = argmax(model.forward(clamp(x + sign(g) * eps, 0, 1))).to_host();
  int64_t right = 0;
  for (size_t i = 0; i < said.size(); ++i) right += said[i] == images.labels()[i];
  return static_cast<double>(right) / static_cast<double>(images.count());
}

TEST_SUITE("engine") {
  TEST_CASE("images: some of a set, and a set with other images, without the pixels leaving the device") {
    const std::vector<uint8_t> pixels = {0, 1, 10, 11, 20, 21, 30, 31};
    const Images all(cpu_backend(), {1, 2, 1}, pixels, std::vector<int32_t>{0, 1, 2, 3});
    CHECK(all.bytes() == pixels);
    const Images some = all.at(std::vector<int64_t>{2, 3, 0, 2});
    CHECK(some.bytes() == std::vector<uint8_t>{20, 21, 30, 31, 0, 1, 20, 21});
    CHECK(some.labels() == std::vector<int32_t>{2, 3, 0, 2});
    CHECK(all.at({}).count() == 0);
    CHECK_THROWS_AS((void)all.at(std::vector<int64_t>{4}), Error);
    const Images other =
        all.with(std::vector<int64_t>{3, 1}, std::vector<uint8_t>{5, 6, 7, 8}, std::vector<int32_t>{9, 8});
    CHECK(other.bytes() == std::vector<uint8_t>{0, 1, 7, 8, 20, 21, 5, 6});
    CHECK(other.labels() == std::vector<int32_t>{0, 8, 2, 9});
    CHECK(all.bytes() == pixels);
    CHECK_THROWS_AS((void)all.with(std::vector<int64_t>{1}, std::vector<uint8_t>{5}, std::vector<int32_t>{1}),
                    Error);
  }

  TEST_CASE("training learns, and twice the same is the same bits, for any number of threads") {
    const Images images = bars(300, 1), unseen = bars(200, 2);
    const int before = cpu_threads();
    std::vector<SafeTensorFile> ends;
    std::vector<EpochResult> results;
    for (const int threads : {1, 2, 3}) {
      set_cpu_threads(threads);
      Model model = fresh();
      Optimizer optimizer({.rule = Rule::adam, .rate = 3e-3f}, model.parameters());
      CrossEntropy objective;
      ends.push_back(train(model, optimizer, images, 1, 4, objective, &results));
      CHECK(accuracy(model, unseen) >= 0.9);
    }
    set_cpu_threads(before);
    CHECK(ends[1] == ends[0]);
    CHECK(ends[2] == ends[0]);
    CHECK(std::fabs(results[0].loss) <= 2.5);
    for (size_t e = 1; e < results.size(); ++e) CHECK(results[e].loss <= results[e - 1].loss);
    CHECK(results.back().loss <= 0.5 * results[0].loss);
    CHECK(results.back().accuracy >= 0.9);
    CHECK(results.back().epoch == 4);
  }

  TEST_CASE("a network trained from its line alone has the bits of the same training by hand") {
    const Images images = bars(256, 1);
    const ZooEntry network{"", "flatten | dense 10", "glorot_uniform", ""};
    int64_t last = 0;
    const Model trained = train_network(network, images, 2, 7, [&](int64_t done) { last = done; });
    CHECK(last == 2 * 256);
    Model model(parse_architecture(network.line), kShape, cpu_backend());
    model.initialize(Initializer::glorot_uniform, 7);
    Optimizer optimizer({}, model.parameters());
    CrossEntropy objective;
    TrainingOptions options = options_of(2, 128, 7);
    options.schedule = Schedule::parse("linear");
    fit(model, optimizer, images, objective, options);
    CHECK(serialize_safetensors(trained.state(), "") == serialize_safetensors(model.state(), ""));
  }

  TEST_CASE("the losses of ten updates are those of the same training over doubles") {
    const Images images = bars(64, 3);
    Model model = fresh("conv 4 3x3 | relu | maxpool 2 | flatten | dense 10");
    const std::vector<double> expected = double_trace(images, model.state(), 0.05, 10);
    Optimizer optimizer({.rule = Rule::sgd, .rate = 0.05f}, model.parameters());
    TrainingOptions constant = options_of(10, 64, 0);
    constant.schedule = Schedule::parse("constant");
    CrossEntropy objective;
    const std::vector<EpochResult> results = fit(model, optimizer, images, objective, constant);
    REQUIRE(results.size() == 10);
    for (size_t at = 0; at < results.size(); ++at) {
      CHECK(std::fabs(results[at].loss - expected[at]) <= 2e-6);
      if (at > 0) CHECK(expected[at] < expected[at - 1]);
    }
  }

  TEST_CASE("a run continued from a checkpoint ends with the bits of one that was not stopped") {
    const Images images = bars(200, 4);
    for (const char* line : {"conv 8 3x3 | relu | maxpool 2 | flatten | dropout 0.3 | dense 10",
                             "conv 6 3x3 | batchnorm | gelu | maxpool 2 | flatten | dense 10"}) {
      Model whole = fresh(line);
      Optimizer adam({.rule = Rule::adam}, whole.parameters());
      CrossEntropy objective;
      const SafeTensorFile middle = train(whole, adam, images, 1, 2, objective);
      const SafeTensorFile end = train(whole, adam, images, 3, 4, objective);
      Model once = fresh(line);
      Optimizer one({.rule = Rule::adam}, once.parameters());
      CHECK(train(once, one, images, 1, 4, objective) == end);

      Model resumed(parse_architecture(line), kShape, cpu_backend());
      Optimizer again({.rule = Rule::adam}, resumed.parameters());
      load_checkpoint(middle, resumed, again, objective);
      CHECK(train(resumed, again, images, 3, 4, objective) == end);
    }
  }

  TEST_CASE("the order of images, the batch and the seed matter; the form of cross-entropy hardly") {
    const Images images = bars(100, 5);
    const auto run = [&](TrainingOptions options, CrossEntropyGrad gradient = CrossEntropyGrad::stable) {
      Model model = fresh();
      Optimizer optimizer({.rule = Rule::sgd, .rate = 0.05f}, model.parameters());
      options.last = 1;
      CrossEntropy objective(gradient);
      fit(model, optimizer, images, objective, options);
      return predict(model, images);
    };
    const std::vector<float> base = run(options_of(5, 32, 1));
    CHECK(run(options_of(5, 32, 1)) == base);
    CHECK(run(options_of(5, 32, 2)) != base);
    CHECK(run(options_of(5, 33, 1)) != base);
    const std::vector<float> torch = run(options_of(5, 32, 1), CrossEntropyGrad::torch);
    for (size_t i = 0; i < base.size(); ++i) REQUIRE(std::fabs(base[i] - torch[i]) <= 1e-4f);
  }

  TEST_CASE("progress counts every image, and a batch larger than the set is the set") {
    const Images images = bars(70, 6);
    Model model = fresh();
    Optimizer optimizer({.rule = Rule::sgd}, model.parameters());
    CrossEntropy objective;
    std::vector<std::pair<int64_t, int64_t>> seen;
    std::vector<int64_t> ended;
    TrainingCallbacks callbacks;
    callbacks.progress = [&](int64_t epoch, int64_t done) {
      seen.emplace_back(epoch, done);
    };
    callbacks.epoch = [&](const EpochResult& result) {
      ended.push_back(result.epoch);
      return result.epoch < 2;
    };
    fit(model, optimizer, images, objective, kOptions, callbacks);
    CHECK(seen == decltype(seen){{1, 32}, {1, 64}, {1, 70}, {2, 102}, {2, 134}, {2, 140}});
    CHECK(ended == std::vector<int64_t>{1, 2});
    CHECK(optimizer.steps() == 6);
    fit(model, optimizer, images, objective, options_of(1, 1000, 0));
    CHECK(optimizer.steps() == 7);
  }

  TEST_CASE("distillation: a student learns what its teacher says, whatever the labels") {
    const Images images = bars(300, 9), unseen = bars(200, 10);
    Model teacher = fresh();
    Optimizer first({.rate = 3e-3f}, teacher.parameters());
    CrossEntropy hard;
    fit(teacher, first, images, hard, options_of(4, 32, 5));
    std::vector<uint8_t> pixels;
    for (const float p : images.pixels(row_range(0, 300)).to_host())
      pixels.push_back(static_cast<uint8_t>(std::lround(p * 255)));
    const Images unlabelled(cpu_backend(), kShape, pixels, std::vector<int32_t>(300, 0));
    Model student = fresh("conv 4 3x3 | relu | maxpool 2 | flatten | dense 10");
    Optimizer second({.rate = 1e-2f}, student.parameters());
    Distillation soft(teacher, 2);
    const std::vector<EpochResult> results = fit(student, second, unlabelled, soft, options_of(8, 32, 5));
    CHECK(accuracy(student, unseen) >= 0.9);
    CHECK(results.back().accuracy <= 0.3);  // as the labels have it
  }

  TEST_CASE("adversarial training: images made within the step harden, captured or not") {
    constexpr float kEps = 0.15f;
    const Images images = bars(300, 11), unseen = bars(200, 12);
    const auto robustness = [&](Objective& objective) {
      Model model = fresh("flatten | dense 40 | relu | dense 10");
      Optimizer optimizer({.rate = 3e-3f}, model.parameters());
      const std::vector<EpochResult> results =
          fit(model, optimizer, images, objective, options_of(10, 32, 5));
      if (!objective.reports().empty()) {
        CHECK(results.back().reported.at("clean_loss") < results.back().loss);
        CHECK(results.back().reported.at("clean_loss") < results.front().reported.at("clean_loss"));
      }
      return robust_accuracy(model, unseen, kEps);
    };
    CrossEntropy plain;
    FastAdversarial hardening(kEps, true);
    CHECK(robustness(hardening) >= robustness(plain) + 0.1);

    const Images few = bars(10, 13, emulated_backend());
    std::vector<SafeTensorFile> ends;
    for (const bool replayable : {true, false}) {
      Model model(parse_architecture("flatten | dense 10"), kShape, few.backend());
      model.initialize(Initializer::he_uniform, 2);
      Optimizer optimizer({}, model.parameters());
      FastAdversarial objective(kEps, replayable);
      fit(model, optimizer, few, objective, options_of(3, 4, 5));
      ends.push_back(checkpoint(model, optimizer, objective));
    }
    CHECK(ends[0] == ends[1]);
  }

  TEST_CASE("steps of several kinds take turns, each captured on its own") {
    const Images few = bars(10, 15, emulated_backend());
    std::vector<SafeTensorFile> ends;
    std::vector<double> scales;
    for (const bool replayable : {true, false}) {
      Model model(parse_architecture("flatten | dense 10"), kShape, few.backend());
      model.initialize(Initializer::he_uniform, 2);
      Optimizer optimizer({}, model.parameters());
      InTurns objective(few.backend(), replayable);
      const std::vector<EpochResult> results = fit(model, optimizer, few, objective, options_of(3, 4, 5));
      ends.push_back(checkpoint(model, optimizer, objective));
      scales.push_back(results.back().reported.at("scale"));
      REQUIRE(objective.seen.size() == 3 * 3 * 3);
      for (size_t k = 0; k < 27; ++k) CHECK(objective.seen[k] == static_cast<int64_t>(k % 3));
      CHECK((objective.steps() == 9 && optimizer.steps() == 27));
    }
    CHECK(ends[0] == ends[1]);
    CHECK((scales[0] == scales[1] && scales[0] != 1));
  }

  TEST_CASE("an objective's own optimizer and what it keeps are part of a checkpoint") {
    const Images images = bars(70, 14);
    Universal whole(0.1f);
    Model model = fresh();
    Optimizer optimizer({}, model.parameters());
    const SafeTensorFile middle = train(model, optimizer, images, 1, 2, whole);
    const SafeTensorFile end = train(model, optimizer, images, 3, 4, whole);
    CHECK(optimizer.steps() == 4 * 3 * 2);
    for (const float d : whole.delta()) CHECK(std::fabs(d) <= 0.1f);
    CHECK(whole.delta() != std::vector<float>(100));

    Universal again(0.1f);
    Model resumed = fresh();
    Optimizer other({}, resumed.parameters());
    load_checkpoint(middle, resumed, other, again);
    CHECK(train(resumed, other, images, 3, 4, again) == end);
  }

  TEST_CASE("early stopping keeps the best weights, and goes on from a checkpoint") {
    Model model = fresh("flatten | dense 10");
    const auto weights = [&](uint64_t seed) {
      model.initialize(Initializer::he_uniform, seed);
      return model.state();
    };
    EarlyStopping looking(2), early(2);
    weights(1);
    const Images held_out = bars(9, 3);
    const Evaluation said = evaluate(model, held_out);
    const EarlyStopping::Look look = looking.look(model, 1, held_out);
    CHECK(look.accuracy == said.metrics.accuracy);
    double sum = 0;
    for (const double loss : cross_entropies(said.logits, held_out.labels(), 10)) sum += loss;
    CHECK(look.loss == doctest::Approx(sum / 9));
    CHECK(looking.best_epoch() == 1);
    const SafeTensorFile first = weights(1);
    CHECK(early.go_on(model, 1, 3.0));
    const SafeTensorFile best = weights(2);
    CHECK(early.go_on(model, 2, 0.1 + 0.2));
    CHECK((early.best() == best && early.best_epoch() == 2));
    weights(3);
    CHECK(early.go_on(model, 3, 0.1 + 0.2));  // as good is no better
    SafeTensorFile file = model.state();
    early.save(file);
    EarlyStopping resumed(2);
    resumed.load(file, 3, "checkpoint");
    CHECK(resumed.best() == best);
    for (EarlyStopping* each : {&early, &resumed}) {
      CHECK_FALSE(each->stopped());
      CHECK_FALSE(each->go_on(model, 4, std::nan("")));
      CHECK((each->stopped() && each->best_epoch() == 2 && each->best() == best));
    }
    CHECK(refusal([&] { resumed.load(first, 3, "checkpoint"); }) ==
          "checkpoint: expected a best.epoch from 1 to 3 and a best.loss in its metadata");
  }

  TEST_CASE("predictions do not depend on chunks, and count themselves") {
    const Images images = bars(77, 7);
    const Model model = fresh();
    int64_t last = 0, calls = 0;
    const std::vector<float> whole = predict(model, images, 1000);
    const std::vector<float> chunked = predict(model, images, 0, [&](int64_t done) {
      CHECK(done > last);
      last = done;
      ++calls;
    });
    CHECK(chunked == whole);
    CHECK(last == 77);
    CHECK(calls == (77 + model.chunk() - 1) / model.chunk());
    for (const int64_t batch : {1, 7, 64}) CHECK(predict(model, images, batch) == whole);
    CHECK(argmax_rows({1, 3, 3, 9, -1, 9}, 3) == std::vector<int32_t>{1, 0});
    CHECK(predict(model, bars(0, 1)).empty());
  }

  TEST_CASE("refusals of training") {
    const Images images = bars(20, 8);
    Model model = fresh();
    Optimizer optimizer({.rule = Rule::sgd}, model.parameters());
    CrossEntropy objective;
    CHECK(refusal([&] { fit(model, optimizer, images, objective, options_of(5, 0, 0)); }) ==
          "[train] expected a batch of at least 1, got 0");
    CHECK(refusal([&] { fit(model, optimizer, bars(0, 1), objective, kOptions); }) ==
          "[train] expected at least one image");
    Model small = fresh("flatten | dense 3");
    Optimizer other({.rule = Rule::sgd}, small.parameters());
    CHECK(refusal([&] {
            fit(small, other, images, objective, kOptions);
          }).starts_with("[train] expected labels from 0 to 2, got "));
    const std::vector<int32_t> negative = {-1};
    const Images odd(cpu_backend(), kShape, std::vector<uint8_t>(100), negative);
    CHECK(refusal([&] { fit(model, optimizer, odd, objective, kOptions); }) ==
          "[train] expected labels from 0 to 9, got -1");
    CHECK(refusal([&] { (void)Images(cpu_backend(), kShape, std::vector<uint8_t>(99), negative); }) ==
          "[images] expected 100 pixels for 1 images of 10x10x1, got 99");
    Optimizer wild({.rule = Rule::sgd, .rate = 1e30f}, model.parameters());
    const std::string diverged = refusal([&] { fit(model, wild, images, objective, options_of(5, 20, 0)); });
    CHECK((diverged.starts_with("the ") && diverged.ends_with("; try a smaller learning rate than 1e+30")));
    Whole whole;
    CHECK(refusal([&] { fit(model, optimizer, images, whole, kOptions); }) ==
          "[train] expected of the objective a loss and 0 reports for each image");
    const std::vector<int64_t> row = {20};
    CHECK(refusal([&] { (void)images.pixels(row); }) == "[images] expected rows below 20, got 20");
  }
}

}  // namespace
}  // namespace caltrop::test
