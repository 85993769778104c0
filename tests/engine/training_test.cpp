// The training loop on a small made-up task: it learns, it repeats exactly, it continues exactly.
#include "engine/training.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/error.h"
#include "engine/inference.h"
#include "tests/reference.h"

namespace caltrop::test {
namespace {

using reference::Values;

constexpr ImageShape kShape{10, 10, 1};

// Ten classes, each a bright bar at its own place in noise.
Images bars(int64_t count, uint64_t seed) {
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
  return Images(cpu_backend(), kShape, pixels, labels);
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

std::string refusal(const std::function<void()>& body) {
  try {
    body();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
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
                     std::vector<EpochResult>* results = nullptr) {
  for (int64_t epoch = first; epoch <= last; ++epoch) {
    const EpochResult result = train_epoch(model, optimizer, images, epoch, kOptions);
    if (results) results->push_back(result);
  }
  SafeTensorFile file = model.state();
  optimizer.save(file);
  return file;
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

TEST_SUITE("engine") {
  TEST_CASE("training learns, and twice the same is the same bits, for any number of threads") {
    const Images images = bars(300, 1), unseen = bars(200, 2);
    const int before = cpu_threads();
    std::vector<SafeTensorFile> ends;
    std::vector<EpochResult> results;
    for (const int threads : {1, 2, 3}) {
      set_cpu_threads(threads);
      Model model = fresh();
      Optimizer optimizer({.rule = Rule::adam, .rate = 3e-3f}, model.parameters());
      results.clear();
      ends.push_back(train(model, optimizer, images, 1, 4, &results));
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

  TEST_CASE("the losses of ten updates are those of the same training over doubles") {
    const Images images = bars(64, 3);
    Model model = fresh("conv 4 3x3 | relu | maxpool 2 | flatten | dense 10");
    const std::vector<double> expected = double_trace(images, model.state(), 0.05, 10);
    Optimizer optimizer({.rule = Rule::sgd, .rate = 0.05f}, model.parameters());
    TrainingOptions constant = options_of(10, 64, 0);
    constant.schedule = Schedule::parse("constant");
    for (int64_t step = 1; step <= 10; ++step) {
      const double loss = train_epoch(model, optimizer, images, step, constant).loss;
      const auto at = static_cast<size_t>(step - 1);
      CHECK(std::fabs(loss - expected[at]) <= 2e-6);
      if (at > 0) CHECK(expected[at] < expected[at - 1]);
    }
  }

  TEST_CASE("a run continued from a checkpoint ends with the bits of one that was not stopped") {
    const Images images = bars(200, 4);
    for (const char* line : {"conv 8 3x3 | relu | maxpool 2 | flatten | dropout 0.3 | dense 10",
                             "conv 6 3x3 | batchnorm | gelu | maxpool 2 | flatten | dense 10"}) {
      Model whole = fresh(line);
      Optimizer adam({.rule = Rule::adam}, whole.parameters());
      const SafeTensorFile middle = train(whole, adam, images, 1, 2);
      const SafeTensorFile end = train(whole, adam, images, 3, 4);

      Model resumed(parse_architecture(line), kShape, cpu_backend());
      resumed.load(middle);
      Optimizer again({.rule = Rule::adam}, resumed.parameters());
      again.load(middle);
      CHECK(train(resumed, again, images, 3, 4) == end);
    }
  }

  TEST_CASE("the order of images, the batch and the seed matter; the form of cross-entropy hardly") {
    const Images images = bars(100, 5);
    const auto run = [&](const TrainingOptions& options) {
      Model model = fresh();
      Optimizer optimizer({.rule = Rule::sgd, .rate = 0.05f}, model.parameters());
      (void)train_epoch(model, optimizer, images, 1, options);
      return predict(model, images);
    };
    const std::vector<float> base = run(options_of(5, 32, 1));
    CHECK(run(options_of(5, 32, 1)) == base);
    CHECK(run(options_of(5, 32, 2)) != base);
    CHECK(run(options_of(5, 33, 1)) != base);
    TrainingOptions torch_style = options_of(5, 32, 1);
    torch_style.cross_entropy = CrossEntropyGrad::torch;
    const std::vector<float> torch = run(torch_style);
    for (size_t i = 0; i < base.size(); ++i) REQUIRE(std::fabs(base[i] - torch[i]) <= 1e-4f);
  }

  TEST_CASE("progress counts every image, and a batch larger than the set is the set") {
    const Images images = bars(70, 6);
    Model model = fresh();
    Optimizer optimizer({.rule = Rule::sgd}, model.parameters());
    std::vector<int64_t> seen;
    (void)train_epoch(model, optimizer, images, 1, kOptions, [&](int64_t done) { seen.push_back(done); });
    CHECK(seen == std::vector<int64_t>{32, 64, 70});
    CHECK(optimizer.steps() == 3);
    (void)train_epoch(model, optimizer, images, 1, options_of(5, 1000, 0));
    CHECK(optimizer.steps() == 4);
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
    CHECK(refusal([&] { (void)train_epoch(model, optimizer, images, 1, options_of(5, 0, 0)); }) ==
          "[train] expected a batch of at least 1, got 0");
    CHECK(refusal([&] { (void)train_epoch(model, optimizer, bars(0, 1), 1, kOptions); }) ==
          "[train] expected at least one image");
    Model small = fresh("flatten | dense 3");
    Optimizer other({.rule = Rule::sgd}, small.parameters());
    CHECK(refusal([&] {
            (void)train_epoch(small, other, images, 1, kOptions);
          }).starts_with("[train] expected labels from 0 to 2, got "));
    const std::vector<int32_t> negative = {-1};
    const Images odd(cpu_backend(), kShape, std::vector<uint8_t>(100), negative);
    CHECK(refusal([&] { (void)train_epoch(model, optimizer, odd, 1, kOptions); }) ==
          "[train] expected labels from 0 to 9, got -1");
    CHECK(refusal([&] { (void)Images(cpu_backend(), kShape, std::vector<uint8_t>(99), negative); }) ==
          "[images] expected 100 pixels for 1 images of 10x10x1, got 99");
    const std::vector<int64_t> row = {20};
    CHECK(refusal([&] { (void)images.pixels(row); }) == "[images] expected rows below 20, got 20");
  }
}

}  // namespace
}  // namespace caltrop::test
