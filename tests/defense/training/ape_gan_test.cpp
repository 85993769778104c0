// APE-GAN: its losses and steps against the same computed by hand, the network that comes out, and who judges what is made
// on the network alone.
#include "defense/training/ape_gan.h"

#include <doctest/doctest.h>

#include <cmath>

#include "defense/attack_target.h"
#include "engine/autograd.h"
#include "tests/compare.h"
#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

constexpr ImageShape kPairShape = {12, 12, 1};

// A pool made by hand: image k of the set, all its pixels darker by 0.2.
AttackedPool darker(const Images& clean, const std::vector<int64_t>& of) {
  AttackedPool pool;
  for (const int64_t image : of) pool.images.push_back({.image = image});
  pool.pixels = clamp(clean.pixels(of) - 0.2f, 0, 1);
  return pool;
}

Model drawn(const std::string& line, uint64_t seed) {
  return make_model(line, kPairShape, seed);
}

TEST_SUITE("defense") {
  TEST_CASE("ape-gan: the doubt of a logit, and its slope, do not overflow") {
    const std::vector<float> at = {0, 2, -3, 500, -500};
    const Tensor z = variable(Tensor::from(cpu_backend(), {5, 1}, at));
    for (const bool truth : {true, false}) {
      const Tensor losses = doubt(z, truth);
      const std::vector<float> said = losses.to_host(), slope = grad(sum(losses), z).to_host();
      for (size_t i = 0; i < at.size(); ++i) {
        const double v = truth ? -static_cast<double>(at[i]) : static_cast<double>(at[i]),
                     p = 1 / (1 + std::exp(-v));
        const double expected = v > 30 ? v : std::log1p(std::exp(v));
        CHECK(static_cast<double>(said[i]) == doctest::Approx(expected).epsilon(1e-5));
        CHECK(static_cast<double>(slope[i]) == doctest::Approx(truth ? -p : p).epsilon(1e-5));
      }
    }
  }

  TEST_CASE("ape-gan: what comes out is the generator and the network behind it, whole for gradients") {
    const Model generator = drawn(generator_line(kPairShape, 3), 3),
                network = drawn("normalize 0.5 0.5 | conv 4 3x3 | batchnorm | relu | flatten | dense 10", 4);
    REQUIRE(generator.outputs() == 144);
    const auto whole = cleaned_network(generator, network);
    const Images images = random_images(kPairShape, 6, 10);
    const Tensor x = variable(images.pixels(row_range(0, 6)));
    const Tensor cleaned = reshape(generator.forward(x), x.shape()), z = network.forward(cleaned);
    CHECK(largest_difference(whole->forward(x).to_host(), z.to_host()) < 1e-5);
    const std::vector<float> through = grad(sum(square(whole->forward(x))), x).to_host(),
                             chained = grad(sum(square(z)), x).to_host();
    CHECK(largest_difference(through, chained) < 1e-4);
    CHECK(largest_difference(through, std::vector<float>(through.size())) > 1e-4);
    for (const float pixel : cleaned.to_host()) CHECK((pixel > 0 && pixel < 1));
    CHECK_THROWS_WITH_AS(
        (void)generator_line({12, 14, 1}, 3),
        "the generator halves images twice: expected sides that are multiples of 4, got 12x14", Error);
  }

  TEST_CASE("ape-gan: the discriminator steps first, then the generator twice, by the authors' losses") {
    const Images images = random_images(kPairShape, 12, 10);
    const AttackedPool pool = darker(images, {7, 2, 9, 4, 4});
    const PairedImages pairs(images, pool);
    CHECK(pairs.labels() == images.labels_of(std::vector<int64_t>{7, 2, 9, 4, 4}));
    const Model network = drawn("flatten | dense 10", 4), generator = drawn(generator_line(kPairShape, 3), 3);
    const OptimizerOptions rule{.rate = 0.01f, .beta1 = 0.5f};
    ApeGanTraining objective({.distance = 0.7f, .adversarial = 0.3f, .rule = rule},
                             drawn(discriminator_line(3), 5), network, pairs);
    CHECK((objective.repeats() == 2 && objective.kinds() == 2));

    Batch batch(images, 4, 3);
    batch.rows = {3, 0, 2, 1};  // of the pairs
    batch.batch.rows = batch.rows;
    batch.batch.x = pairs.pixels(batch.rows);
    const std::vector<int64_t> of = {4, 7, 9, 2};
    objective.prepare(generator, batch.batch);
    const BatchLoss first = objective.loss(generator, batch.batch);

    // The same by hand: D's step on the clean images and on what G makes of the attacked ones, then G's loss.
    const Model critic = drawn(discriminator_line(3), 5);
    Optimizer optimizer(rule, critic.parameters());
    const ForwardOptions& how = batch.batch.forward;
    const Tensor clean = images.pixels(of),
                 cleaned = reshape(generator.forward(batch.batch.x, how), clean.shape());
    const auto losses_of_d = [&] {
      return doubt(critic.forward(clean, how), true) + doubt(critic.forward(cleaned.detach(), how), false);
    };
    const Tensor of_d = losses_of_d();
    optimizer.step(grad({mean(of_d)}, critic.parameters()));
    CHECK(mean(losses_of_d()).item() < mean(of_d).item());
    const std::vector<float> a = clean.to_host(), b = cleaned.to_host(),
                             z = critic.forward(cleaned, how).to_host(), losses = first.losses.to_host(),
                             said = first.reported.at(2).to_host();
    for (size_t r = 0; r < 4; ++r) {
      double distance = 0;
      for (size_t i = 0; i < 144; ++i)
        distance +=
            std::pow(static_cast<double>(a[r * 144 + i]) - static_cast<double>(b[r * 144 + i]), 2) / 144;
      const double fooled = std::log1p(std::exp(-static_cast<double>(z[r])));
      CHECK(static_cast<double>(losses[r]) == doctest::Approx(0.7 * distance + 0.3 * fooled).epsilon(1e-4));
      CHECK(said[r] == doctest::Approx(of_d.to_host()[r]).epsilon(1e-5));
    }
    CHECK(largest_difference(first.logits.to_host(), network.forward(cleaned.detach()).to_host()) < 1e-6);

    // The second step is the generator's alone: the discriminator stays, its loss is reported again.
    SafeTensorFile before, after;
    objective.save(before);
    batch.batch.kind = 1;
    objective.prepare(generator, batch.batch);
    const BatchLoss second = objective.loss(generator, batch.batch);
    CHECK(second.reported.at(2).to_host() == said);
    objective.save(after);
    CHECK(before.metadata == after.metadata);  // the optimizer's steps
    size_t same = 0;
    for (const auto& [name, tensor] : before.tensors) {
      if (name.find("running") == std::string::npos) same += *after.find(name) == tensor;
    }
    CHECK(same >= critic.parameters().size() * 3);  // weights and both moments
    // And what it keeps comes back from a checkpoint.
    ApeGanTraining other({.rule = rule}, drawn(discriminator_line(3), 6), network, pairs);
    other.load(after);
    SafeTensorFile again;
    other.save(again);
    CHECK(again == after);
  }

  TEST_CASE(
      "ape-gan: it takes attacks on the network alone back, and goes on after a kill with the same bits") {
    Run run;
    run.sizes = {0.2f};
    const auto how = [](Defence& d) {
      option<int64_t>(d, "width") = 16;
      option<double>(d, "lr") = 0.003;
    };
    Killer whole, killed, rest, again;
    const std::string bytes = run.train("ape-gan", "whole", whole, "", 10, how);
    CHECK(whole.epochs.back().reported.at("distance") < 0.5 * whole.epochs.front().reported.at("distance"));
    const Defended cleaned = run.defended;
    REQUIRE((cleaned.unaware && cleaned.unaware_answers_otherwise && cleaned.model));
    killed.left = 3;
    CHECK_THROWS_WITH_AS(run.train("ape-gan", "killed", killed, "", 10, how), "killed", Error);
    CHECK_FALSE(fs::exists(run.folder.path() / "killed" / "model.safetensors"));
    CHECK(run.train("ape-gan", "killed", rest, "", 10, how) == bytes);
    CHECK(run.train("ape-gan", "whole", again, "", 10, how) == bytes);  // trained no more
    CHECK((again.begun_at == 10 && again.epochs.empty()));
    const Tensor x = run.trial.test.pixels(row_range(0, 60));
    CHECK(same_bytes(run.defended.classifier->logits(x, {}).to_host(),
                     cleaned.classifier->logits(x, {}).to_host()));

    const AdaptiveOptions adaptive = adaptive_linf({"fgsm"}, 0.2f, 60);
    const Images& test = run.trial.test;
    Watch watch;
    const Defended bare = defended_by(std::make_shared<Model>(run.trial.target));
    const Fates alone = attack_defended(bare, test, 10, adaptive, watch)[1].exact,
                unaware = attack_defended(cleaned, test, 10, adaptive, watch, true)[1].exact,
                aware = attack_defended(cleaned, test, 10, adaptive, watch)[1].exact;
    CHECK(alone.right < 10);
    CHECK(unaware.right >= alone.right + 30);
    CHECK(aware.right < unaware.right);
    // A study's attacker who sees the network alone is judged by the defence as well.
    const float eps = 0.2f;
    const AttackTarget target(cleaned, test.labels(), 1, true);
    CHECK(&target.classifier() == cleaned.unaware.get());
    AttackJob job{.rows = row_range(0, 60)};
    target.judges(job);
    const AttackSummary summary =
        attack_images(target.classifier(), test, std::span(&eps, 1), attack_defaults(AttackKind::fgsm), job)
            .sizes.at(0);
    CHECK(summary.correct == unaware.right);
  }
}

}  // namespace
}  // namespace caltrop::test
