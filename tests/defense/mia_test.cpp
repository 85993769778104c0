// Bootstraps, the vote and its ties, and the ensemble as something to attack.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "attacks/attack_images.h"
#include "defense/evading.h"
#include "defense/mia.h"
#include "defense/same_size.h"
#include "defense/scores.h"
#include "engine/autograd.h"
#include "tests/attacks/setup.h"

namespace caltrop::test {
namespace {

Model linear(const std::vector<float>& weight, const std::vector<float>& bias) {
  Model model = make_model("flatten | dense " + std::to_string(bias.size()),
                           {1, static_cast<int64_t>(weight.size() / bias.size()), 1});
  set_parameter(model, 0, weight);
  set_parameter(model, 1, bias);
  return model;
}

TEST_SUITE("defense") {
  TEST_CASE("mia: a bootstrap draws with replacement, as many as there are, and each member its own") {
    const std::vector<int64_t> rows = row_range(1000, 3000);
    const std::vector<int64_t> a = bootstrap(rows, 7, 0), b = bootstrap(rows, 7, 1);
    REQUIRE(a.size() == rows.size());
    CHECK(a == bootstrap(rows, 7, 0));
    CHECK(a != b);
    const std::set<int64_t> distinct(a.begin(), a.end());
    CHECK((*distinct.begin() >= 1000 && *distinct.rbegin() < 3000));
    // 1 - 1/e = 63.2 % of 2000, standard deviation about 0.7 %
    CHECK(std::abs(static_cast<double>(distinct.size()) / 2000 - 0.632) < 0.03);
    CHECK_THROWS_AS((void)bootstrap(std::vector<int64_t>{}, 7, 0), Error);
    CHECK_NOTHROW(expect_all_classes(std::vector<int32_t>{2, 0, 1, 1}, 3, "the set"));
    CHECK_THROWS_WITH_AS(expect_all_classes(std::vector<int32_t>{0, 2}, 3, "bootstrap 2"),
                         "bootstrap 2 holds no image of class 1; take more images", Error);
  }

  TEST_CASE("mia: the vote and its ties") {
    const auto vote = [](const std::vector<std::vector<float>>& logits) {
      return majority_vote(logits, 3).at(0);
    };
    CHECK(vote({{5, 0, 0}, {5, 0, 0}, {0, 0, 99}}) == 0);  // two votes beat one, however sure
    // One vote each: the sums of softmax decide.
    CHECK(vote({{1, 0, 0}, {0, 1, 0}, {0, 0, 4}}) == 2);
    CHECK(vote({{1, 0, 0}, {0, 4, 0}, {0, 0, 1}}) == 1);
    // All equal: the lowest class. Two networks: a tie of two.
    CHECK(vote({{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}) == 0);
    CHECK(vote({{0, 2, 0}, {0, 0, 3}}) == 2);
    // A class without votes never wins a tie, even with the largest sum.
    CHECK(vote({{1.0f, -9, 0.9f}, {-9, 1.0f, 0.9f}}) == 0);
    CHECK(vote({{1000, -1000, 0}, {-1000, 1000, 999.9f}}) == 0);  // no overflow
    const std::vector<std::vector<float>> uneven = {{1, 2, 3}, {1, 2, 3, 4, 5, 6}};
    CHECK_THROWS_AS((void)majority_vote(uneven, 3), Error);
    CHECK_THROWS_AS((void)majority_vote({}, 3), Error);
  }

  TEST_CASE("mia: an ensemble's logits are the log of the mean softmax, also where classes underflow") {
    const Model a = linear({1, 2, 3, 4, 5, 6}, {0, 0, 0}), b = linear({6, 5, 4, 3, 2, 1}, {300, 0, -300});
    const Ensemble both({&a, &b}), logits({&a, &b}, EnsembleMean::logits);
    const Tensor x = Tensor::from(cpu_backend(), {1, 1, 2, 1}, {0.25f, 0.75f});
    const auto log_p = [&](const Model& model, size_t k) {
      const std::vector<float> z = model.forward(x).to_host();
      double total = 0, top = *std::max_element(z.begin(), z.end());
      for (const float value : z) total += std::exp(static_cast<double>(value) - top);
      return static_cast<double>(z[k]) - top - std::log(total);
    };
    const std::vector<float> z = both.logits(x, {}).to_host(), m = logits.logits(x, {}).to_host();
    for (size_t k = 0; k < 3; ++k) {
      const double expected = std::log((std::exp(log_p(a, k)) + std::exp(log_p(b, k))) / 2);
      CHECK(std::abs(static_cast<double>(z[k]) - expected) <= 1e-4);
      CHECK(std::abs(m[k] - (a.forward(x).to_host()[k] + b.forward(x).to_host()[k]) / 2) <= 1e-4f);
    }
  }

  TEST_CASE("mia: the gradient of an ensemble is that of its formula") {
    const Model a = small_model(1), b = small_model(2), c = small_model(3);
    const Ensemble all({&a, &b, &c});
    const Images images = random_images({12, 12, 1}, 4, 10);
    const Tensor x = images.pixels(row_range(0, 4));
    const Labels labels(cpu_backend(), std::span(images.labels()));
    const Objectives loss = [&](const Tensor& z) {
      return std::vector<Tensor>{cross_entropy(z, labels)};
    };
    const Pass pass = all.differentiate(x, loss, {});
    // Directly: -log of the mean probability of the label.
    const Tensor leaf = variable(x);
    Tensor mean = softmax(a.forward(leaf)) + softmax(b.forward(leaf)) + softmax(c.forward(leaf));
    const Tensor direct = -log(pick(mean / 3.0f, labels));
    const std::vector<float> expected = grad(direct, leaf).to_host(), got = pass.gradients[0].to_host();
    const std::vector<float> values = direct.to_host(), losses = pass.values[0].to_host();
    for (size_t i = 0; i < values.size(); ++i) CHECK(std::abs(values[i] - losses[i]) <= 1e-4f);
    float largest = 0;
    for (const float g : expected) largest = std::max(largest, std::abs(g));
    for (size_t i = 0; i < got.size(); ++i) CHECK_UNARY(std::abs(got[i] - expected[i]) <= 1e-3f * largest);
    CHECK(all.passes() == 3);
  }

  TEST_CASE("mia: attacks run on an ensemble, the same for any batch; its vote is that of its networks") {
    const Model a = small_model(1), b = small_model(2), c = small_model(3);
    const Ensemble all({&a, &b, &c});
    const Images images = random_images({12, 12, 1}, 20, 10);
    const std::vector<float> sizes = {0.1f, 0.3f};
    std::vector<std::vector<float>> results;
    for (const int64_t batch : {1, 7, 20}) {
      results.emplace_back();
      AttackJob job{.rows = row_range(0, 20), .batch = batch};
      job.sink = [&](int64_t, const AttackResult& chunk) {
        const std::vector<float> x = chunk.adversarial.to_host();
        results.back().insert(results.back().end(), x.begin(), x.end());
      };
      const AttackReport report =
          attack_images(all, images, sizes, attack_of(AttackKind::pgd, Norm::linf, true), job);
      CHECK(report.sizes[1].mean_loss() > report.sizes[0].mean_loss());
    }
    CHECK(same_bytes(results[0], results[1]));
    CHECK(same_bytes(results[0], results[2]));
    const std::vector<int32_t> votes = all.vote(images);
    CHECK(votes == all.vote(images, 3));
    const std::vector<std::vector<float>> logits = {predict(a, images), predict(b, images),
                                                    predict(c, images)};
    CHECK(votes == majority_vote(logits, 10));

    CHECK(votes == all.vote(images.pixels(row_range(0, 20))));

    const Model other = make_model("flatten | dense 3", {12, 12, 1});
    CHECK_THROWS_AS(Ensemble({&a, &other}), Error);
    CHECK_THROWS_AS(Ensemble({}), Error);
  }

  TEST_CASE("evading: what an attack sees of a detector, and when it succeeds") {
    // Classes 0, 1 and attacked (2), read off two pixels: z = (a, b, 0.5).
    const Model model = linear({1, 0, 0, 1, 0, 0}, {0, 0, 0.5f});
    const Network network(model);
    const std::vector<int32_t> labels = {1, 0};
    const Evading evading(network, labels);
    CHECK(evading.outputs() == 2);
    const Tensor x = Tensor::from(cpu_backend(), {2, 1, 2, 1}, {0.25f, 0.375f, 0.75f, 0.0f});
    const std::vector<int64_t> images = {0, 1};
    const std::vector<float> z = evading.logits(x, {.images = images}).to_host();
    CHECK(z == std::vector<float>{0.25f, 0.5f, 0.75f, 0.0f});  // max(0.375, 0.5) for image 0's class 1
    CHECK_THROWS_AS((void)evading.logits(x, {}), Error);

    // Images (0, 1/255) of class 1: class 0 wins only above the alarm's 0.5, not from 0.3 on.
    const Images set(cpu_backend(), {1, 2, 1}, std::vector<uint8_t>{0, 1, 0, 1}, std::vector<int32_t>{1, 1});
    const std::vector<float> sizes = {0.3f, 0.6f};
    const AttackOptions pgd = attack_of(AttackKind::pgd, Norm::linf);
    const Evading known(network, set.labels());
    const AttackReport report = attack_images(known, set, sizes, pgd, {.rows = row_range(0, 2)});
    CHECK(report.sizes[0].successes == 0);
    CHECK(report.sizes[1].successes == 2);
  }

  TEST_CASE("evading: the margin is what an attack climbs, whatever loss it asks for") {
    const Model model = small_model(4);
    const Network network(model);
    const Images images = random_images({12, 12, 1}, 5, 9);
    const std::vector<int64_t> rows = row_range(0, 5);
    const Tensor x = images.pixels(rows);
    const Evading own(network, images.labels()), margin(network, images.labels(), Climb::margin);
    const auto constant = [](const Tensor& z) {
      return std::vector<Tensor>{sum(z * 0.0f, {1})};
    };
    const Pass pass = margin.differentiate(x, constant, {.images = rows});
    // max_{k not in {y,K}} z_k - max(z_y, z_K), K = 9, in double.
    const std::vector<float> z = model.forward(x).to_host(), values = pass.values[0].to_host();
    for (size_t i = 0; i < 5; ++i) {
      const auto y = static_cast<size_t>(images.labels()[i]);
      float wrong = -INFINITY;
      for (size_t k = 0; k < 9; ++k) {
        if (k != y) wrong = std::max(wrong, z[i * 10 + k]);
      }
      CHECK(std::abs(values[i] - (wrong - std::max(z[i * 10 + y], z[i * 10 + 9]))) <= 1e-6f);
    }
    // Its gradient, by the function's difference along it.
    const std::vector<float> g = pass.gradients[0].to_host();
    const float h = 1e-3f;
    const auto at = [&](float step) {
      return margin.differentiate(x + pass.gradients[0] * step, constant, {.images = rows})
          .values[0]
          .to_host();
    };
    const std::vector<float> after = at(h), before = at(-h);
    for (size_t i = 0; i < 5; ++i) {
      double squares = 0;
      for (size_t p = 0; p < 144; ++p) squares += static_cast<double>(g[i * 144 + p]) * g[i * 144 + p];
      const double slope = static_cast<double>(after[i] - before[i]) / (2 * static_cast<double>(h));
      CHECK(std::abs(slope - squares) <= 0.02 * squares + 1e-3);
    }
    // PGD along it ends with a larger margin than it began with.
    const std::vector<float> sizes = {0.2f};
    AttackJob job{.rows = rows};
    double sum_after = 0, sum_before = 0;
    job.sink = [&](int64_t, const AttackResult& chunk) {
      for (const float value :
           margin.differentiate(chunk.adversarial, constant, {.images = rows}).values[0].to_host())
        sum_after += static_cast<double>(value);
    };
    attack_images(margin, images, sizes, attack_of(AttackKind::pgd, Norm::linf), job);
    for (const float value : values) sum_before += static_cast<double>(value);
    CHECK(sum_after > sum_before + 0.1);
  }

  TEST_CASE("same size: hidden dense layers grow until the parameters are as many") {
    const ImageShape shape{28, 28, 1};
    const Architecture eat3 = parse_architecture(
        "conv 64 3x3 | gelu | maxpool 2 | conv 32 3x3 | gelu | maxpool 2 | flatten | dense 100 | gelu | "
        "dense 100 | "
        "gelu | dense 100 | gelu | dense 11");
    for (const int64_t wanted : {count_parameters(eat3, shape), int64_t{200000}, int64_t{800000}}) {
      const Architecture wide = with_parameters(eat3, shape, wanted);
      CHECK(std::abs(static_cast<double>(count_parameters(wide, shape) - wanted)) <=
            0.003 * static_cast<double>(wanted));
      REQUIRE(wide.layers.size() == eat3.layers.size());
      CHECK((wide.layers[0] == eat3.layers[0] && wide.layers.back() == eat3.layers.back()));
    }
    CHECK(with_parameters(eat3, shape, count_parameters(eat3, shape)) == eat3);
    CHECK_THROWS_AS((void)with_parameters(eat3, shape, 1000), Error);
    CHECK_THROWS_AS((void)with_parameters(parse_architecture("flatten | dense 3"), shape, 9999), Error);
  }

  TEST_CASE("scores: by hand, and the mean of networks") {
    // Two clean images, one of attack a and two of attack b; three classes.
    AttackedPool pool;
    pool.attacks.resize(2);
    pool.attacks[0].name = "a";
    pool.attacks[1].name = "b";
    pool.images = {{.position = 0, .attack = 1}, {.position = 1, .attack = 0}, {.position = 2, .attack = 1}};
    const std::vector<int32_t> labels = {0, 1, 2, 2, 2}, said = {0, 0, 2, 2, 1};
    const std::vector<double> losses = {1, 2, 3, 4, 5};
    const Scores scores = scores_of(losses, said, labels, 2, pool);
    CHECK((scores.all.loss == doctest::Approx(3) && scores.all.accuracy == doctest::Approx(0.6)));
    REQUIRE(scores.attacks.size() == 2);
    CHECK((scores.attacks[0].first == "a" && scores.attacks[0].second.images == 3));
    CHECK(scores.attacks[0].second.loss == doctest::Approx(7.0 / 3));
    CHECK(scores.attacks[1].second.accuracy == doctest::Approx(0.5));
    CHECK_THROWS_AS((void)scores_of(losses, said, labels, 3, pool), Error);

    const std::vector<std::vector<float>> logits = {{0, 0, 0, 800, 0, 0}, {1, 2, 3, 0, 0, 800}};
    const std::vector<int32_t> two = {0, 0};
    CHECK(cross_entropies(logits[0], two, 3)[0] == doctest::Approx(std::log(3.0)));
    CHECK(cross_entropies(logits[1], two, 3)[1] == doctest::Approx(800));
    const std::vector<double> mean = mean_cross_entropies(logits, two, 3);
    const double p = std::exp(1.0) / (std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
    CHECK(mean[0] == doctest::Approx(-std::log((1.0 / 3 + p) / 2)));
    CHECK(mean[1] == doctest::Approx(std::log(2.0)));
    CHECK_THROWS_AS((void)mean_cross_entropies(logits, labels, 3), Error);
  }
}

}  // namespace
}  // namespace caltrop::test
