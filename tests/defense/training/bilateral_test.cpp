// Bilateral adversarial training: the label's formula by hand and against loops over doubles, the image's step against
// the gradient towards the class it is confused with.
#include "defense/training/bilateral.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/autograd.h"
#include "tests/compare.h"
#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

// The formula, read off the paper, in double.
std::vector<double> by_hand(std::span<const float> z, size_t y, double beta, double gamma) {
  double total = 0;
  for (const float value : z) total += std::exp(static_cast<double>(value));
  std::vector<double> losses;
  for (const float value : z) losses.push_back(std::log(total) - static_cast<double>(value));
  double least = 1e300, most = -1e300, sum = 0;
  for (size_t k = 0; k < z.size(); ++k) {
    if (k != y) least = std::min(least, losses[k]), most = std::max(most, losses[k]);
  }
  for (size_t k = 0; k < z.size(); ++k) sum += k == y ? 0 : losses[k] - least + gamma;
  const double delta = 1 / (1 + beta * (most - least + gamma) / sum);
  std::vector<double> moved;
  for (size_t k = 0; k < z.size(); ++k)
    moved.push_back(k == y ? 1 - delta : delta * (losses[k] - least + gamma) / sum);
  return moved;
}

Labels labels_of(const std::vector<int32_t>& labels) {
  return Labels(cpu_backend(), std::span<const int32_t>(labels));
}

TEST_SUITE("defense") {
  TEST_CASE("bilateral: the label keeps beta times as much of its class as of any other") {
    // Three classes, y = 0, losses of the others 1 and 3: with gamma 0.5 and beta 2 they get 0.5 and 2.5 of S = 3, so
    // delta = 1 / (1 + 2 x 2.5 / 3) = 3/8, and the label is 5/8, 1/16, 5/16.
    const float rest = std::log(1 - std::exp(-1.0f) - std::exp(-3.0f));
    const std::vector<float> small =
        moved_labels(Tensor::from(cpu_backend(), {1, 3}, {rest, -1, -3}), labels_of({0}), 2, 0.5f).to_host();
    CHECK(largest_difference(small, std::vector<float>{0.625f, 0.0625f, 0.3125f}) < 1e-6);

    std::vector<float> z;
    std::vector<int32_t> labels;
    Random random(3, Purpose::test);
    for (int32_t row = 0; row < 40; ++row) {
      // From rows that are unsure to rows beyond fp32's softmax, right and wrong ones.
      for (int k = 0; k < 10; ++k) z.push_back(random.normal() * (row % 4 == 0 ? 60.0f : 3.0f));
      labels.push_back(row % 10);
    }
    const Tensor logits = Tensor::from(cpu_backend(), {40, 10}, z);
    const std::vector<float> moved = moved_labels(logits, labels_of(labels), 9, 0.01f).to_host();
    const std::vector<int32_t> towards = most_confused(logits, labels_of(labels)).to_host();
    for (size_t r = 0; r < 40; ++r) {
      const std::span<const float> row = std::span(z).subspan(r * 10, 10), label = std::span(moved).subspan(r * 10, 10);
      const auto y = static_cast<size_t>(labels[r]);
      const std::vector<double> expected = by_hand(row, y, 9, 0.01);
      double sum = 0, largest = 0, confused = -1e300;
      for (size_t k = 0; k < 10; ++k) {
        CHECK(static_cast<double>(label[k]) == doctest::Approx(expected[k]).epsilon(2e-5));
        sum += static_cast<double>(label[k]);
        if (k == y) continue;
        largest = std::max(largest, static_cast<double>(label[k]));
        confused = std::max(confused, static_cast<double>(row[k]));
      }
      CHECK(sum == doctest::Approx(1).epsilon(1e-6));
      CHECK(static_cast<double>(label[y]) == doctest::Approx(9 * largest).epsilon(1e-5));
      CHECK(towards[r] != labels[r]);
      CHECK(static_cast<double>(row[static_cast<size_t>(towards[r])]) == confused);
    }
  }

  TEST_CASE("bilateral: the image steps towards the class it is confused with, the loss is of both") {
    const Model model = make_model("conv 4 3x3 | relu | maxpool 2 | flatten | dense 10", {12, 12, 1}, 3);
    const Images images = random_images({12, 12, 1}, 12, 10);
    const Batch batch(images, 12, 3);
    const float eps = 0.2f;
    const CraftOptions craft{.eps = eps, .step_size = eps, .start = CraftStart::unboxed};
    BilateralTraining objective({.craft = craft, .beta = 9, .gamma = 0.01f});
    objective.prepare(model, batch.batch);
    const BatchLoss loss = objective.loss(model, batch.batch);

    CraftOptions still = craft;
    still.steps = 0;
    StepCraft start(still);
    start.prepare(batch.batch, 12);
    const Tensor begun = start.attack(model, batch.batch.x, nullptr, batch.batch.forward),
                 x = variable(begun);
    const Tensor clean = model.forward(batch.batch.x);
    const Labels towards = most_confused(clean, batch.batch.labels);
    const std::vector<float> slope = grad(sum(cross_entropy(model.forward(x), towards)), x).to_host(),
                             from = batch.batch.x.to_host();
    std::vector<float> at = begun.to_host();
    for (size_t i = 0; i < at.size(); ++i) {
      at[i] -= slope[i] > 0 ? eps : slope[i] < 0 ? -eps : 0.0f;  // down the loss of that class
      at[i] = std::clamp(std::clamp(at[i], from[i] - eps, from[i] + eps), 0.0f, 1.0f);
    }
    const std::vector<float> z =
        log_softmax(model.forward(Tensor::from(cpu_backend(), {12, 12, 12, 1}, at))).to_host();
    const std::vector<float> losses = loss.losses.to_host(), moved = loss.reported.at(0).to_host(),
                             answers = clean.to_host();
    for (size_t r = 0; r < 12; ++r) {
      const auto y = static_cast<size_t>(images.labels()[r]);
      const std::vector<double> label = by_hand(std::span(answers).subspan(r * 10, 10), y, 9, 0.01);
      double expected = 0;
      for (size_t k = 0; k < 10; ++k) expected -= label[k] * static_cast<double>(z[r * 10 + k]);
      CHECK(static_cast<double>(losses[r]) == doctest::Approx(expected).epsilon(1e-4));
      CHECK(static_cast<double>(moved[r]) == doctest::Approx(1 - label[y]).epsilon(1e-4));
    }
    // No gradient reaches the label: that of the last bias is the mean of p - y'.
    const std::vector<float> slopes = grad(mean(loss.losses), model.parameters().back()).to_host();
    for (size_t k = 0; k < 10; ++k) {
      double expected = 0;
      for (size_t r = 0; r < 12; ++r) {
        const auto y = static_cast<size_t>(images.labels()[r]);
        expected += (std::exp(static_cast<double>(z[r * 10 + k])) -
                     by_hand(std::span(answers).subspan(r * 10, 10), y, 9, 0.01)[k]) /
                    12;
      }
      CHECK(std::abs(static_cast<double>(slopes[k]) - expected) < 1e-5);
    }
  }

  TEST_CASE("bilateral: it learns, and a killed run goes on with the same bits") {
    Run run;
    run.sizes = {0.05f};
    const auto how = [](Defence& d) {
      option<double>(d, "eps") = 0.05;
      option<double>(d, "lr") = 0.004;
    };
    Killer whole, killed, rest;
    const std::string bytes = run.train("bilateral", "whole", whole, "", 4, how);
    CHECK(whole.epochs.back().tested.all.accuracy > 0.8);
    const double moved = whole.epochs.back().reported.at("label_moved");
    CHECK((moved > 0.1 && moved < 0.5));  // of 9 other classes at beta 9 at most a half
    killed.left = 2;
    CHECK_THROWS_WITH_AS(run.train("bilateral", "killed", killed, "", 4, how), "killed", Error);
    CHECK(run.train("bilateral", "killed", rest, "", 4, how) == bytes);
  }
}

}  // namespace
}  // namespace caltrop::test
