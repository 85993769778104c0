// The three readings of gradient masking: units that stay zero, noise that is what it says, gradients that are hidden
// from those alone who do not look.
#include "defense/training/masking.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/autograd.h"
#include "engine/inference.h"
#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

// Units whose activation is zero on every image.
std::vector<int64_t> silent(const Model& model, const ImageSource& images) {
  const Features all = features(model, images);
  std::vector<int64_t> units;
  for (int64_t u = 0; u < all.width; ++u) {
    bool zero = true;
    for (size_t i = static_cast<size_t>(u); i < all.values.size(); i += static_cast<size_t>(all.width))
      zero = zero && all.values[i] == 0.0f;
    if (zero) units.push_back(u);
  }
  return units;
}

TEST_SUITE("defense") {
  TEST_CASE("masking: the penultimate layer is found, and its least active units") {
    const auto layer = [](const char* line) {
      return penultimate_layer(parse_architecture(line));
    };
    CHECK(layer("flatten | dense 9 | relu | dense 10") == 1);
    CHECK(layer("flatten | dense 9 | batchnorm | relu | dropout 0.5 | dense 10") == 1);
    CHECK_FALSE(layer("flatten | dense 10"));
    CHECK_FALSE(layer("conv 3 3 | relu | flatten | dense 10"));
    CHECK_FALSE(layer("flatten | dense 9 | relu | dense 10 | softmax"));
    // Units of known means: unit u is the sum of the pixels times its weight.
    const Images images = random_images({4, 4, 1}, 20, 10);
    const Model model = make_model("flatten | dense 6 | relu | dense 10", {4, 4, 1});
    const float weights[] = {0.5f, -1.0f, 0.1f, 0.9f, 0.1f, -2.0f};
    std::vector<float> w;
    for (const float each : weights) w.insert(w.end(), 16, each);
    set_parameter(model, 0, w);
    CHECK((least_active(model, images, 0.5) == std::vector<int64_t>{1, 2, 5}));  // of 2 and 4 the first
    CHECK((least_active(model, images, 0.2) == std::vector<int64_t>{1}));
    CHECK(least_active(model, images, 0).empty());
  }

  TEST_CASE("masking: pruned units stay zero through fine-tuning, and a killed run prunes the same") {
    for (const char* line : {"flatten | dense 24 | relu | dense 10",
                             "flatten | dense 24 | batchnorm | gelu | dropout 0.2 | dense 10"}) {
      CAPTURE(std::string(line));
      Run run;
      run.trial.target = make_model(line, {12, 12, 1}, 3);
      Killer whole;
      const std::string bytes = run.train("masking", "whole", whole, "", 4, [](Defence& d) {
        option<std::optional<int64_t>>(d, "fine-tune") = 2;
      });
      REQUIRE(whole.epochs.size() == 4);
      CHECK((whole.epochs[1].stage == "whole" && whole.epochs[2].stage == "pruned"));
      Model before = make_model(line, {12, 12, 1}), after = make_model(line, {12, 12, 1});
      before.load(read_safetensors(run.folder.path() / "whole" / "whole.safetensors"));
      after.load(read_safetensors(run.folder.path() / "whole" / "model.safetensors"));
      const std::vector<int64_t> units = least_active(before, run.trial.train, 0.5);
      REQUIRE(units.size() == 12);
      const std::vector<int64_t> left = silent(after, run.trial.train);
      CHECK(std::includes(left.begin(), left.end(), units.begin(), units.end()));
      const std::vector<float> last = after.parameters()[after.parameters().size() - 2].to_host(),
                               old = before.parameters()[after.parameters().size() - 2].to_host();
      int64_t moved = 0;
      for (size_t i = 0; i < last.size(); ++i) {
        const bool pruned = std::ranges::binary_search(units, static_cast<int64_t>(i % 24));
        if (pruned) CHECK(last[i] == 0.0f);
        moved += !pruned && last[i] != old[i];
      }
      CHECK(moved > 60);  // of 120
      CHECK(whole.epochs[3].tested.all.accuracy > 0.5);
      Killer killed, rest;
      killed.left = 3;
      const auto two = [](Defence& d) {
        option<std::optional<int64_t>>(d, "fine-tune") = 2;
      };
      CHECK_THROWS_WITH_AS(run.train("masking", "killed", killed, "", 4, two), "killed", Error);
      CHECK(run.train("masking", "killed", rest, "", 4, two) == bytes);
      CHECK(rest.epochs.size() == 1);
    }
  }

  TEST_CASE("masking: with --from the given network is pruned and fine-tuned") {
    Run run;
    const std::string from = (run.folder.path() / "from.safetensors").string();
    write_safetensors(from, run.trial.target.state());
    Killer watch;
    (void)run.train("masking", "tuned", watch, from, 1);
    REQUIRE(watch.epochs.size() == 1);
    CHECK(watch.epochs[0].stage == "pruned");
    Model tuned = run.trial.target;
    tuned.load(read_safetensors(run.folder.path() / "tuned" / "model.safetensors"));
    CHECK(silent(tuned, run.trial.train).size() >= 12);
  }

  TEST_CASE(
      "masking: noise on the gradients has its deviation, by seed and step alone, and leaves the loss") {
    const Images images = random_images({12, 12, 1}, 16, 10);
    const Model model = make_model("flatten | dense 40 | relu | dense 10", {12, 12, 1}, 3);
    CrossEntropy plain;
    NoisyGradients noisy(0.05f);
    const auto of_step = [&](Objective& objective, uint64_t step) {
      const Batch batch(images, 16, step);
      objective.prepare(model, batch.batch);
      return objective.loss(model, batch.batch);
    };
    CHECK(same_bytes(of_step(plain, 3).losses.to_host(), of_step(noisy, 3).losses.to_host()));
    const std::vector<float> exact = gradients_of(of_step(plain, 3), model),
                             with = gradients_of(of_step(noisy, 3), model),
                             later = gradients_of(of_step(noisy, 4), model);
    NoisyGradients other(0.05f);
    CHECK(same_bytes(gradients_of(of_step(other, 3), model), with));
    CHECK_FALSE(same_bytes(later, with));
    double sum = 0, squares = 0;
    for (size_t i = 0; i < with.size(); ++i) {
      const double noise = static_cast<double>(with[i]) - static_cast<double>(exact[i]);
      sum += noise;
      squares += noise * noise;
    }
    const auto count = static_cast<double>(with.size());  // 6,210
    CHECK(std::abs(sum / count) < 4 * 0.05 / std::sqrt(count));
    CHECK(std::sqrt(squares / count) == doctest::Approx(0.05).epsilon(4 / std::sqrt(2 * count)));
    Run run;
    const auto how = [](Defence& d) {
      option<std::string>(d, "reading") = "noise";
    };
    Killer whole, killed, rest;
    const std::string bytes = run.train("masking", "whole", whole, "", 3, how);
    killed.left = 1;
    CHECK_THROWS_WITH_AS(run.train("masking", "killed", killed, "", 3, how), "killed", Error);
    CHECK(run.train("masking", "killed", rest, "", 3, how) == bytes);
  }

  TEST_CASE("masking: the smallest gradients are hidden from who does not know, and from nobody else") {
    const Tensor g = Tensor::from(cpu_backend(), {3, 2, 3, 1},
                                  {0.3f, -0.1f, 0.2f, -0.5f, 0.4f, 0.0f,             // two of six are hidden
                                   1e-30f, 2e-30f, -3e-30f, 4e-30f, 5e-30f, 6e-30f,  // however small
                                   1, 1, 1, 1, 1, 1});                               // of equal ones none
    const std::vector<float> expected = {0.3f,   0,      0.2f,   -0.5f, 0.4f, 0, 0, 0, -3e-30f,
                                         4e-30f, 5e-30f, 6e-30f, 1,     1,    1, 1, 1, 1};
    CHECK(without_smallest(g, 0.34).to_host() == expected);
    CHECK(without_smallest(g, 0).to_host() == g.to_host());

    Run run;
    Killer watch;
    (void)run.train("masking", "", watch, "", 1,
                    [](Defence& d) { option<std::string>(d, "reading") = "mask"; });
    const Defended& defended = run.defended;
    REQUIRE(defended.unaware);
    const Tensor x = run.trial.test.pixels(row_range(0, 10));
    const Labels labels(cpu_backend(), run.trial.test.labels_of(row_range(0, 10)));
    const Objectives loss = [&](const Tensor& z) {
      return std::vector<Tensor>{cross_entropy(z, labels)};
    };
    const Pass honest = defended.classifier->differentiate(x, loss, {}),
               hidden = defended.unaware->differentiate(x, loss, {});
    CHECK(same_bytes(honest.logits.to_host(), hidden.logits.to_host()));
    const std::vector<float> all = honest.gradients[0].to_host(), shown = hidden.gradients[0].to_host();
    for (size_t row = 0; row < 10; ++row) {
      float hidden_most = 0, shown_least = HUGE_VALF;
      int64_t zeros = 0;
      for (size_t i = row * 144; i < (row + 1) * 144; ++i) {
        if (shown[i] == 0.0f) {
          ++zeros;
          hidden_most = std::max(hidden_most, std::abs(all[i]));
        } else {
          CHECK(shown[i] == all[i]);
          shown_least = std::min(shown_least, std::abs(all[i]));
        }
      }
      CHECK(zeros == 72);
      CHECK(hidden_most <= shown_least);
    }
    // Both attackers stand in the evaluation.
    const DefenceTask task = run.trial.task();
    AdaptiveOptions adaptive = adaptive_linf({"pgd"}, 0.1f, 20);
    adaptive.steps = 5;
    const DefenceEvaluation found =
        evaluate(defended, task, make_test_sets(task, {.attacked = 20}), adaptive);
    CHECK((found.adaptive.size() == 3 && found.unaware.size() == 3));
    CHECK((found.gradients.size() == 2 && found.gradients[1].attacker == "does not" &&
           found.gradients[1].images == 60));
  }

  TEST_CASE("masking: what does not go together is refused") {
    const auto refused = [](const std::function<void(Defence&)>& change) {
      const std::unique_ptr<Defence> defence = defence_info("masking").make();
      change(*defence);
      return refusal([&] { defence->resolve("smoke", PoolRecipeOptions()); });
    };
    using Number = std::optional<double>;
    CHECK(refused([](Defence& d) { option<Number>(d, "share") = 1; }) ==
          "--share 1 would leave nothing: expected less than 1");
    CHECK(refused([](Defence& d) { option<Number>(d, "noise") = 1; }) ==
          "--noise belongs to --reading noise, not prune");
    CHECK(refused([](Defence& d) {
            option<std::string>(d, "reading") = "noise";
            option<Number>(d, "share") = 0.3;
          }) == "--share belongs to --reading prune and mask, not noise");
    CHECK(refused([](Defence& d) {
            option<std::string>(d, "reading") = "mask";
            option<std::optional<int64_t>>(d, "fine-tune") = 1;
          }) == "--fine-tune belongs to --reading prune, not mask");
    CHECK(refused([](Defence& d) { option<std::optional<int64_t>>(d, "fine-tune") = 2; }) ==
          "--fine-tune 2 is more than all epochs, of which there are 1");
    Run run;
    run.trial.target = make_model("flatten | dense 10", {12, 12, 1});
    Killer watch;
    CHECK(refusal([&] { (void)run.train("masking", "", watch); }) ==
          "--reading prune: the network 'flatten | dense 10' has no penultimate layer, a dense one before "
          "its last");
  }
}

}  // namespace
}  // namespace caltrop::test
