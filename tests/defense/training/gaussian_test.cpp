// Gaussian augmentation: the noise, and the mean over images and copies.
#include "defense/training/gaussian.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/autograd.h"
#include "tests/compare.h"
#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

// Sees the images that a forward pass is given, through a network that is linear in them: logit 0 is the mean pixel.
Model mean_pixel() {
  Model model = make_model("flatten | dense 2", {12, 12, 1});
  std::vector<float> w(2 * 144);
  std::fill_n(w.begin(), 144, 1.0f / 144.0f);
  set_parameter(model, 0, w);
  return model;
}

TEST_SUITE("defense") {
  TEST_CASE(
      "gaussian: the loss is the mean over images and copies, whose noise depends on seed, step and image") {
    std::vector<uint8_t> grey(30 * 144, 128);
    const Images images(cpu_backend(), {12, 12, 1}, grey, std::vector<int32_t>(30));
    const Model model = mean_pixel();
    const auto losses_of = [&](const Batch& batch, float sigma, double ratio) {
      GaussianAugmentation objective(sigma, ratio);
      objective.prepare(model, batch.batch);
      return objective.loss(model, batch.batch).losses.to_host();
    };
    const Batch batch(images, 10, 3);
    // Without noise a copy is the image.
    CrossEntropy plain;
    const std::vector<float> alone = plain.loss(model, batch.batch).losses.to_host();
    CHECK(largest_difference(losses_of(batch, 0, 1), alone) < 1e-6);
    const std::vector<float> half = losses_of(batch, 0, 0.5);
    for (size_t i = 0; i < 10; ++i)
      CHECK(half[i] == doctest::Approx(alone[i] * (i < 5 ? 2.0f : 1.0f) * 10 / 15).epsilon(1e-5));
    CHECK(same_bytes(losses_of(batch, 0, 0), alone));
    // CE = log(1 + exp(-m)) of the mean pixel m: what a copy's loss says of its noise. Its mean over 144 pixels has
    // the deviation sigma / 12.
    double squares = 0;
    constexpr int kSteps = 60;
    for (uint64_t step = 0; step < kSteps; ++step) {
      const Batch at(images, 10, step);
      const std::vector<float> both = losses_of(at, 0.06f, 1);
      for (size_t i = 0; i < 10; ++i) {
        const double copy = 2 * static_cast<double>(both[i]) - static_cast<double>(alone[i]);
        const double m = -std::log(std::expm1(copy));
        squares += (m - 128.0 / 255) * (m - 128.0 / 255);
      }
    }
    CHECK(std::sqrt(squares / (10 * kSteps)) == doctest::Approx(0.06 / 12).epsilon(0.12));
    // An image's noise is its own, wherever it stands in the mini-batch; another step has another.
    const std::vector<float> all = losses_of(Batch(images, 10, 3), 0.2f, 1),
                             few = losses_of(Batch(images, {7, 2}, 3), 0.2f, 1);
    CHECK(
        (few[0] == doctest::Approx(all[7]).epsilon(1e-6) && few[1] == doctest::Approx(all[2]).epsilon(1e-6)));
    CHECK_FALSE(same_bytes(losses_of(Batch(images, 10, 4), 0.2f, 1), all));
  }

  TEST_CASE("gaussian: copies stay in the box") {
    // Black images with noise clipped at 0: the mean pixel of a copy is that of max(noise, 0), 0.4 sigma.
    const Images images(cpu_backend(), {12, 12, 1}, std::vector<uint8_t>(10 * 144), std::vector<int32_t>(10));
    const Model model = mean_pixel();
    const Batch batch(images, 10, 3);
    GaussianAugmentation objective(0.3f, 1);
    objective.prepare(model, batch.batch);
    const std::vector<float> both = objective.loss(model, batch.batch).losses.to_host();
    double mean = 0;
    for (const float loss : both)
      mean -= std::log(std::expm1(2 * static_cast<double>(loss) - std::log(2.0))) / 10;
    CHECK(mean == doctest::Approx(0.3 * 0.39894).epsilon(0.1));
  }

  TEST_CASE("gaussian: a killed run goes on with the same bits") {
    Run run;
    const auto how = [](Defence& d) {
      option<double>(d, "ratio") = 0.5;
    };
    Killer whole, killed, rest;
    const std::string bytes = run.train("gaussian", "whole", whole, "", 3, how);
    CHECK(whole.epochs[2].tested.all.accuracy > 0.5);
    killed.left = 2;
    CHECK_THROWS_WITH_AS(run.train("gaussian", "killed", killed, "", 3, how), "killed", Error);
    CHECK(run.train("gaussian", "killed", rest, "", 3, how) == bytes);
  }
}

}  // namespace
}  // namespace caltrop::test
