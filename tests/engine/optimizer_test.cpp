// Optimisers as a training sees them: rules over several steps, state that survives a checkpoint, schedules.
#include "engine/optimizer.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"
#include "tests/reference.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

using reference::Samples;
using reference::Values;

constexpr Rule kRules[] = {Rule::sgd, Rule::adam, Rule::rmsprop, Rule::adagrad};

Tensor parameter(const std::vector<float>& values) {
  return variable(Tensor::from(cpu_backend(), {static_cast<int64_t>(values.size())}, values));
}

// A valley: 0.5 * sum of k (w_k - 1)^2 for k = 1, 2, ..., and a gradient that follows it.
Tensor valley(const Tensor& w) {
  std::vector<float> steepness;
  for (int64_t k = 1; k <= w.size(); ++k) steepness.push_back(static_cast<float>(k));
  return sum(square(w - 1.0f) * Tensor::from(cpu_backend(), w.shape(), steepness) * 0.5f);
}

// The rules over doubles (formulas in kernels/backend.h), a whole run.
Values expected_run(const OptimizerOptions& o, Values w, int steps) {
  const auto rate = static_cast<double>(o.rate), decay = static_cast<double>(o.weight_decay);
  const auto momentum = static_cast<double>(o.momentum);
  Values first(w.size()), second(w.size());
  for (int t = 1; t <= steps; ++t) {
    for (size_t i = 0; i < w.size(); ++i) {
      const double g = static_cast<double>(i + 1) * (w[i] - 1.0) + decay * w[i];
      double &m = first[i], &v = second[i];
      switch (o.rule) {
        case Rule::sgd:
          m = momentum * m + g;
          w[i] -= rate * (o.nesterov ? g + momentum * m : m);
          break;
        case Rule::adam:
          m = 0.9 * m + 0.1 * g;
          v = 0.999 * v + 0.001 * g * g;
          w[i] -= rate * (m / (1.0 - std::pow(0.9, t))) / (std::sqrt(v / (1.0 - std::pow(0.999, t))) + 1e-8);
          break;
        case Rule::rmsprop:
          m = 0.99 * m + 0.01 * g * g;
          w[i] -= rate * g / (std::sqrt(m) + 1e-8);
          break;
        case Rule::adagrad:
          m += g * g;
          w[i] -= rate * g / (std::sqrt(m) + 1e-10);
          break;
      }
    }
  }
  return w;
}

TEST_SUITE("engine") {
  TEST_CASE("each optimiser follows its formula for twenty steps") {
    std::vector<OptimizerOptions> all;
    for (const Rule rule : kRules) {
      all.push_back({.rule = rule, .rate = 0.05f});
      all.push_back({.rule = rule, .rate = 0.05f, .weight_decay = 0.1f});
    }
    all.push_back({.rule = Rule::sgd, .rate = 0.02f, .momentum = 0.9f});
    all.push_back(
        {.rule = Rule::sgd, .rate = 0.02f, .momentum = 0.9f, .nesterov = true, .weight_decay = 0.1f});
    for (const OptimizerOptions& options : all) {
      const std::vector<float> start = Samples(5).floats(9, -2.0, 2.0);
      const Tensor w = parameter(start);
      Optimizer optimizer(options, {w});
      for (int t = 0; t < 20; ++t) optimizer.step({grad(valley(w), w)});
      CHECK(optimizer.steps() == 20);
      const Values expected = expected_run(options, reference::widen(start), 20);
      const std::vector<float> actual = w.to_host();
      for (size_t i = 0; i < actual.size(); ++i) {
        CAPTURE(to_string(options.rule));
        CHECK(std::fabs(static_cast<double>(actual[i]) - expected[i]) <= 2e-5);
      }
    }
  }

  TEST_CASE("each optimiser goes down the valley") {
    for (const Rule rule : kRules) {
      const Tensor w = parameter({-2.0f, 3.0f, 0.0f, 5.0f});
      Optimizer optimizer({.rule = rule, .rate = rule == Rule::adagrad ? 0.5f : 0.05f}, {w});
      const float before = valley(w).item();
      for (int t = 0; t < 200; ++t) optimizer.step({grad(valley(w), w)});
      CAPTURE(to_string(rule));
      CHECK(valley(w).item() <= 0.01f * before);
    }
  }

  TEST_CASE("a schedule's factor scales the rate of one step") {
    const Tensor a = parameter({2.0f}), b = parameter({2.0f});
    Optimizer whole({.rule = Rule::sgd, .rate = 0.1f}, {a}), half({.rule = Rule::sgd, .rate = 0.2f}, {b});
    whole.step({grad(valley(a), a)});
    half.step({grad(valley(b), b)}, 0.5f);
    CHECK(a.item() == b.item());
  }

  TEST_CASE("a run continued from its checkpoint ends with the same bits") {
    for (const Rule rule : kRules) {
      const OptimizerOptions options{
          .rule = rule, .rate = 0.03f, .momentum = rule == Rule::sgd ? 0.9f : 0.0f};
      const Tensor w = parameter({-2.0f, 3.0f, 0.5f}), u = parameter({1.5f, -1.0f});
      const auto advance = [](Optimizer& optimizer, const Tensor& x, const Tensor& y, int steps) {
        for (int t = 0; t < steps; ++t) optimizer.step({grad(valley(x), x), grad(valley(y), y)});
      };
      Optimizer whole(options, {w, u});
      advance(whole, w, u, 7);
      SafeTensorFile file;
      whole.save(file);
      const Tensor w2 = parameter(w.to_host()), u2 = parameter(u.to_host());
      advance(whole, w, u, 6);

      Optimizer resumed(options, {w2, u2});
      const std::string bytes = serialize_safetensors(file, "c.st");
      resumed.load(parse_safetensors(std::as_bytes(std::span(bytes)), "c.st"));
      CHECK(resumed.steps() == 7);
      advance(resumed, w2, u2, 6);
      CHECK(w2.to_host() == w.to_host());
      CHECK(u2.to_host() == u.to_host());
    }
  }

  TEST_CASE("refusals of the optimiser") {
    const Tensor w = parameter({1.0f, 2.0f});
    Optimizer optimizer({.rule = Rule::adam}, {w});
    CHECK(refusal([&] { optimizer.step({}); }) == "[optimizer] expected 1 gradients, got 0");
    CHECK(refusal([&] { optimizer.step({Tensor::zeros(cpu_backend(), {3})}); }) ==
          "[optimizer] expected a gradient of shape (2), got (3)");
    CHECK(optimizer.steps() == 0);
    SafeTensorFile file;
    CHECK(refusal([&] { optimizer.load(file); }) == "the checkpoint holds no state of an optimiser");
    file.metadata["optimizer.steps"] = "3";
    CHECK(refusal([&] { optimizer.load(file); }) == "the checkpoint lacks 'optimizer.0.1' of shape (2)");
    optimizer.save(file);
    file.metadata["optimizer.steps"] = "many";
    CHECK(refusal([&] { optimizer.load(file); }).find("'many'") != std::string::npos);
    file.metadata["optimizer.steps"] = "-3";
    CHECK(refusal([&] { optimizer.load(file); }).find("'-3'") != std::string::npos);
    file.metadata["optimizer.steps"] = "3x";
    CHECK(refusal([&] { optimizer.load(file); }).find("'3x'") != std::string::npos);
    for (const Rule rule : kRules) CHECK(parse_rule(to_string(rule)) == rule);
    CHECK(refusal([] { (void)parse_rule("adamw"); }) ==
          "unknown optimiser 'adamw': expected sgd, adam, rmsprop or adagrad");
  }

  TEST_CASE("schedules") {
    const auto at = [](const char* text, double progress) {
      return static_cast<double>(Schedule::parse(text).factor(progress));
    };
    CHECK(at("constant", 0.7) == 1.0);
    CHECK(at("linear", 0.0) == 1.0);
    CHECK(std::fabs(at("linear", 0.25) - 0.75) <= 1e-6);
    CHECK(at("linear", 1.0) == 0.0);
    CHECK(at("cosine", 0.0) == 1.0);
    CHECK(std::fabs(at("cosine", 0.5) - 0.5) <= 1e-6);
    CHECK(std::fabs(at("cosine", 0.25) - 0.5 * (1.0 + std::sqrt(0.5))) <= 1e-6);
    CHECK(std::fabs(at("cosine", 1.0)) <= 1e-6);
    CHECK(at("triangle 0.2", 0.0) == 0.0);
    CHECK(std::fabs(at("triangle 0.2", 0.1) - 0.5) <= 1e-6);
    CHECK(at("triangle 0.2", 0.2) == 1.0);
    CHECK(std::fabs(at("triangle 0.2", 0.6) - 0.5) <= 1e-6);
    CHECK(at("triangle 0.2", 1.0) == 0.0);
    CHECK(at("step 0.5 0.1", 0.4) == 1.0);
    CHECK(std::fabs(at("step 0.5 0.1", 0.6) - 0.1) <= 1e-6);
    CHECK(std::fabs(at("step 0.25 0.5", 0.9) - 0.125) <= 1e-6);
    // Progress is a share; beyond it nothing strange happens.
    CHECK(at("linear", 1.5) == 0.0);
    CHECK(at("linear", -1.0) == 1.0);
    CHECK(Schedule::parse("step 0.5 0.1").text() == "step 0.5 0.1");
    CHECK(Schedule().factor(0.5) == 1.0f);
    for (const char* bad : {"", "linaer", "linear 0.5", "triangle", "triangle 0", "triangle 1", "triangle x",
                            "triangle 0.5 0.5", "triangle nan", "step 0.5", "step 0.5 0", "step 0 0.5",
                            "step 0.5 2", "step 0.5 0.1 x"}) {
      const std::string text = refusal([&] { (void)Schedule::parse(bad); });
      CAPTURE(bad);
      CHECK(text.find("schedule") != std::string::npos);
      CHECK(text.find('\n') == std::string::npos);
    }
  }
}

}  // namespace
}  // namespace caltrop::test
