// Poisoning: the ways to the meta-gradient agree, crafted images keep their budget and climb the target loss.
#include "attacks/poison/poison.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "attacks/poison/compare.h"
#include "attacks/poison/effect.h"
#include "engine/autograd.h"
#include "tests/attacks/setup.h"

namespace caltrop::test {
namespace {

// Smooth, so that finite differences have a limit to reach.
Model smooth_model() {
  return make_model("conv 4 3x3 | gelu | avgpool 2 | flatten | dense 12 | tanh | dense 3", {8, 8, 1});
}

InnerTraining::Batch labelled(const Images& images, int64_t begin, int64_t end) {
  const std::vector<int64_t> rows = row_range(begin, end);
  const std::vector<int32_t> labels = images.labels_of(rows);
  return {images.pixels(rows), Labels(cpu_backend(), std::span<const int32_t>(labels))};
}

InnerTraining inner_of(const Model& model, const Images& images, const InnerOptions& options) {
  std::vector<InnerTraining::Batch> steps;
  steps.reserve(5);
  for (int64_t s = 0; s < 5; ++s) steps.push_back(labelled(images, 10 + 8 * s, 18 + 8 * s));
  return {model, std::move(steps), labelled(images, 60, 80), labelled(images, 0, 6).labels, options};
}

double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double apart = 0, length = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    apart += d * d;
    length += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(apart / length);
}

double length_of(const std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(squares);
}

TEST_SUITE("attacks") {
  TEST_CASE("poison: the ways to the meta-gradient agree to 1e-3, under SGD and Adam") {
    const Model model = smooth_model();
    const Images images = random_images({8, 8, 1}, 80, 3);
    const Tensor x = images.pixels(row_range(0, 6));
    for (const Rule rule : {Rule::sgd, Rule::adam}) {
      CAPTURE(to_string(rule));
      InnerOptions options{
          .rule = rule, .rate = rule == Rule::sgd ? 0.2f : 0.01f, .method = MetaGradient::unrolled};
      const Tensor exact = inner_of(model, images, options).meta_gradient(x);
      const std::vector<float> g = exact.to_host();
      REQUIRE(length_of(g) > 1e-6);

      options.method = MetaGradient::stepwise;
      CHECK(relative_distance(inner_of(model, images, options).meta_gradient(x).to_host(), g) <= 1e-5);
      options.method = MetaGradient::forward_over_reverse;
      CHECK(relative_distance(inner_of(model, images, options).meta_gradient(x).to_host(), g) <= 1e-5);
      options.method = MetaGradient::differences;
      CHECK(relative_distance(inner_of(model, images, options).meta_gradient(x).to_host(), g) <= 1e-3);

      // Along the gradient itself the derivative is its length.
      const auto length = static_cast<float>(length_of(g));
      const double slope =
          inner_of(model, images, options).difference(x, exact / length, rule == Rule::sgd ? 0.1f : 0.007f);
      CHECK(std::abs(slope / static_cast<double>(length) - 1) <= 1e-3);
    }
  }

  TEST_CASE("poison: the exact ways agree where ReLU and max-pool have kinks") {
    const Model model =
        make_model("conv 4 3x3 | relu | maxpool 2 | flatten | dense 12 | relu | dense 3", {8, 8, 1});
    const Images images = random_images({8, 8, 1}, 80, 3);
    const Tensor x = images.pixels(row_range(0, 6));
    InnerOptions options{.rate = 0.05f, .method = MetaGradient::unrolled};
    const Tensor exact = inner_of(model, images, options).meta_gradient(x);
    const std::vector<float> g = exact.to_host();
    options.method = MetaGradient::stepwise;
    CHECK(relative_distance(inner_of(model, images, options).meta_gradient(x).to_host(), g) <= 1e-5);
    options.method = MetaGradient::forward_over_reverse;
    CHECK(relative_distance(inner_of(model, images, options).meta_gradient(x).to_host(), g) <= 1e-5);
    // No witness: the gradients of training jump at kinks, so the loss after training is not continuous here.
  }

  TEST_CASE("poison: checkpointing changes the memory, not the gradient") {
    const Model model = smooth_model();
    const Images images = random_images({8, 8, 1}, 80, 3);
    const Tensor x = images.pixels(row_range(0, 6));
    for (const Rule rule : {Rule::sgd, Rule::adam}) {
      InnerOptions options{.rule = rule, .rate = 0.05f, .method = MetaGradient::unrolled};
      const std::vector<float> whole = inner_of(model, images, options).meta_gradient(x).to_host();
      for (const int64_t steps : {1, 2, 3, 4, 5, 9}) {
        CAPTURE(steps);
        options.checkpoint = steps;
        const std::vector<float> parts = inner_of(model, images, options).meta_gradient(x).to_host();
        CHECK(relative_distance(parts, whole) <= 1e-5);
      }
    }
  }

  TEST_CASE("poison: one step on a linear model has a gradient in closed form") {
    // theta_1 = theta_0 - a/n sum x (p - y): with one step the target loss depends on x_g through that alone.
    // Moving x_g against a finite difference of the whole checks the sign and the factor 1/n.
    const Model model = make_model("flatten | dense 2", {2, 2, 1});
    const Images images = random_images({2, 2, 1}, 30, 2);
    const InnerTraining inner(model, {labelled(images, 5, 9)}, labelled(images, 10, 30),
                              labelled(images, 0, 2).labels,
                              {.rate = 0.5f, .method = MetaGradient::unrolled});
    const Tensor x = images.pixels(row_range(0, 2));
    const std::vector<float> g = inner.meta_gradient(x).to_host();
    for (size_t i = 0; i < g.size(); ++i) {
      std::vector<float> unit(g.size());
      unit[i] = 1;
      const double slope = inner.difference(x, Tensor::from(cpu_backend(), x.shape(), unit), 0.1f);
      CHECK(std::abs(slope - static_cast<double>(g[i])) <= 1e-3 * length_of(g));
    }
  }

  TEST_CASE("poison: crafted images keep the budget, raise the target loss, and depend on nothing else") {
    const Model model = smooth_model();
    const Images images = random_images({8, 8, 1}, 80, 3);
    const PoisonRoles roles = draw_poison_roles(80, 0.2, 3);
    CHECK((roles.poisoned.size() == 16 && roles.targets.size() == 8 && roles.clean.size() == 56));
    const std::vector<int64_t> trained_on = roles.trained_on();
    CHECK((trained_on.size() == 72 && std::is_sorted(trained_on.begin(), trained_on.end())));
    for (const int64_t target : roles.targets)
      CHECK_FALSE(std::binary_search(trained_on.begin(), trained_on.end(), target));
    PoisonOptions options;
    options.group = 6;
    options.batch = 8;
    options.targets = 8;
    options.seed = 3;
    options.inner.rate = 0.2f;
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      options.norm = norm;
      options.eps = norm == Norm::linf ? 0.2f : 1.0f;
      const std::vector<int32_t> labels = images.labels_of(roles.poisoned);
      const std::vector<float> delta = craft_poison(model, images, roles, labels, options);
      const std::vector<float> noise = random_poison(images, roles, options);
      REQUIRE((delta.size() == 16 * 64 && noise.size() == 16 * 64));
      for (size_t i = 0; i < 16; ++i) {
        for (const std::vector<float>& poison : {delta, noise}) {
          const auto row = row_of(poison, i, 64);
          const std::vector<float> values(row.begin(), row.end());
          double largest = 0;
          for (const float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
          CHECK((norm == Norm::linf ? largest : length_of(values)) <=
                static_cast<double>(options.eps) + 1e-6);
          CHECK(largest > 0.01);
        }
      }
      const auto loss = [&](const std::vector<float>& poison) {
        const std::vector<float> first(poison.begin(), poison.begin() + 16 * 64);
        const Labels named(cpu_backend(), std::span<const int32_t>(labels));
        std::vector<InnerTraining::Batch> steps(5, labelled(images, 0, 40));
        const InnerTraining inner(model, steps, labelled(images, 40, 80), named, options.inner);
        return inner.target_loss(images.pixels(roles.poisoned) +
                                 Tensor::from(cpu_backend(), {16, 8, 8, 1}, first));
      };
      CHECK(loss(delta) > loss(noise));
      CHECK(loss(delta) > loss(std::vector<float>(16 * 64)));

      set_cpu_threads(1);
      const std::vector<float> again = craft_poison(model, images, roles, labels, options);
      set_cpu_threads(0);
      CHECK(same_bytes(delta, again));
    }
  }

  TEST_CASE("poison: which networks have a loss after training that differences can witness") {
    const auto smooth = [](const char* line) {
      return is_smooth(parse_architecture(line));
    };
    CHECK(smooth("conv 4 3x3 | gelu | avgpool 2 | flatten | dense 2"));
    CHECK_FALSE(smooth("conv 4 3x3 | relu | flatten | dense 2"));
    CHECK_FALSE(smooth("conv 4 3x3 | maxpool 2 | flatten | dense 2"));
    CHECK_FALSE(smooth("flatten | dense 4 | leakyrelu 0.1 | dense 2"));
  }

  TEST_CASE("poison: what cannot be differentiated or drawn is refused") {
    const Images images = random_images({12, 12, 1}, 80, 10);
    const Model model = small_model();  // with batch norm
    CHECK(mentions(refusal([&] { (void)inner_of(model, images, {}); }), "batchnorm"));
    CHECK(mentions(refusal([] { (void)draw_poison_roles(10, 0.95, 1); }), "share"));
    CHECK(mentions(refusal([] { (void)draw_poison_roles(10, 0, 1); }), "share"));
    const auto refused = [](auto change) {
      PoisonOptions options;
      change(options);
      return refusal([&] { check_poison(options, 784); });
    };
    CHECK(refused([](PoisonOptions&) {}).empty());
    CHECK(mentions(refused([](PoisonOptions& o) { o.eps = 5; }), "eps 5 is absurd"));
    CHECK(mentions(refused([](PoisonOptions& o) { o.eps = 0; }), "eps 0 is no budget"));
    CHECK(mentions(refused([](PoisonOptions& o) { o.inner.checkpoint = 2; }), "--checkpoint is for --lane"));
    CHECK(mentions(refusal([] { (void)parse_meta_gradient("magic"); }),
                   "unrolled, stepwise, forward-over-reverse or differences"));
  }

  TEST_CASE("poison: the comparison of the ways says which agree, and which must") {
    const Images images = random_images({8, 8, 1}, 80, 3);
    const PoisonRoles roles = draw_poison_roles(80, 0.1, 3);
    PoisonOptions options{.inner = {}, .unrolled_steps = 3, .group = 6, .batch = 8, .targets = 8};
    options.inner.rate = 0.2f;
    const MetaGradientComparison smooth = compare_meta_gradients(smooth_model(), images, roles, options);
    REQUIRE(smooth.ways.size() == 6);
    CHECK((smooth.smooth && smooth.agree));
    CHECK(smooth.ways[0].name == "unrolled");
    CHECK(smooth.ways[0].apart == 0.0);
    CHECK(smooth.ways[5].name == "finite differences");
    for (const MetaGradientWay& way : smooth.ways) {
      CHECK(way.apart <= kMetaGradientsAgree);
      CHECK(way.slope == doctest::Approx(smooth.ways[0].slope).epsilon(2e-3));
      CHECK(way.seconds > 0);
    }
    const Model kinks =
        make_model("conv 4 3x3 | relu | maxpool 2 | flatten | dense 12 | relu | dense 3", {8, 8, 1});
    const MetaGradientComparison rough = compare_meta_gradients(kinks, images, roles, options);
    CHECK_FALSE(rough.smooth);
    CHECK(rough.agree);  // differences need not
    const Model flat = make_model("flatten | dense 3", {8, 8, 1});
    set_parameter(flat, 0, std::vector<float>(192));
    options.inner.rate = 0;
    CHECK(mentions(refusal([&] { (void)compare_meta_gradients(flat, images, roles, options); }),
                   "the meta-gradient is zero"));
  }

  TEST_CASE("poison: stored in 8 bits within the budget, and labels that are flipped") {
    const std::vector<uint8_t> clean = {0, 255, 100, 100, 100, 100};
    const std::vector<float> delta = {-0.5f, 0.5f, 0.1f, -0.1f, 10.0f / 255, 0.0f};
    CHECK(stored_poison(clean, delta) == std::vector<uint8_t>{0, 255, 125, 75, 110, 100});
    const Images images = random_images({8, 8, 1}, 80, 3);
    const PoisonRoles roles = draw_poison_roles(80, 0.2, 3);
    const std::vector<int32_t> labels = images.labels_of(roles.poisoned),
                               flipped = flipped_labels(images, roles, 3, 5);
    REQUIRE(flipped.size() == labels.size());
    for (size_t i = 0; i < labels.size(); ++i)
      CHECK((flipped[i] != labels[i] && flipped[i] >= 0 && flipped[i] < 3));
    CHECK(flipped == flipped_labels(images, roles, 3, 5));
    CHECK(flipped != flipped_labels(images, roles, 3, 6));
    CHECK(flipped_labels(images, roles, 1, 5) == labels);
  }

  TEST_CASE("poison: the training sets that are compared differ in the poisoned images alone") {
    const Images images = random_images({8, 8, 1}, 40, 3);
    const PoisonRoles roles = draw_poison_roles(40, 0.2, 3);
    const std::vector<int32_t> labels(8, 2);
    const std::vector<uint8_t> poison(8 * 64, 77);
    const PoisonOptions options{.inner = {}, .eps = 0.1f};
    const std::vector<PoisonTrainingSet> sets = poison_training_sets(images, roles, poison, labels, options);
    REQUIRE(sets.size() == 3);
    const std::vector<int64_t> rows = roles.trained_on();
    const std::vector<uint8_t> clean = sets[0].images.bytes();
    CHECK(clean == images.at(rows).bytes());
    for (size_t i = 0; i < rows.size(); ++i) {
      const bool poisoned = std::ranges::count(roles.poisoned, rows[i]) > 0;
      for (const size_t k : {1, 2}) {
        CHECK(sets[k].images.labels()[i] == (poisoned ? 2 : sets[0].images.labels()[i]));
        const std::vector<uint8_t> bytes = sets[k].images.bytes();
        bool same = true;
        for (size_t p = 64 * i; p < 64 * (i + 1); ++p) {
          same = same && bytes[p] == clean[p];
          if (k == 1 && poisoned) CHECK_UNARY(bytes[p] == 77);
          if (k == 2) CHECK_UNARY(std::abs(bytes[p] - clean[p]) <= 26);  // 0.1 of 255
        }
        CHECK(same == !poisoned);
      }
    }
    PoisonEffect effect("poisoned", 3);
    const Model model = smooth_model();
    effect.add(model, images, images.at(roles.targets));
    effect.add(model, images, images.at(roles.targets));
    CHECK(effect.accuracy[0] == effect.accuracy[1]);
    CHECK(effect.on_targets.size() == 2);
    const std::vector<int32_t> said = argmax_rows(predict(model, images), 3);
    int64_t right = 0;
    for (size_t i = 0; i < said.size(); ++i) right += said[i] == images.labels()[i];
    CHECK(effect.accuracy[0] == doctest::Approx(static_cast<double>(right) / 40));
    CHECK(effect.recall[2].size() == 2);
  }
}

}  // namespace
}  // namespace caltrop::test
