// What a result says must be true of the images it holds.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/examples.h"
#include "engine/autograd.h"
#include "engine/inference.h"
#include "tests/attacks/setup.h"

namespace caltrop {

using namespace test;

namespace {

struct Lengths {
  double linf = 0, l2 = 0, l1 = 0;
};
Lengths measure(const float* delta, size_t d) {
  Lengths lengths;
  for (size_t k = 0; k < d; ++k) {
    const double v = std::fabs(static_cast<double>(delta[k]));
    lengths.linf = std::max(lengths.linf, v);
    lengths.l1 += v;
    lengths.l2 += v * v;
  }
  lengths.l2 = std::sqrt(lengths.l2);
  return lengths;
}

int64_t weight_gradients() {
  return op_calls("conv2d_dweight") + op_calls("conv_block_dweight") + op_calls("dense_dweight");
}

}  // namespace

TEST_SUITE("attacks") {
  TEST_CASE("norms and makers of the images that were right and are fooled, and of no others") {
    FooledImages fooled;
    CHECK(fooled.spreads()[3].max == 0);
    const AttackedImage right{.label = 3, .clean_prediction = 3}, wrong{.label = 3, .clean_prediction = 1};
    for (const float size : {4.0f, 1.0f, 3.0f}) {
      const AttackRow row{.success = true, .by = AttackKind::cw, .linf = size, .l2 = 2 * size, .l0 = 5};
      fooled.add(right, row);
      fooled.add(wrong, row);
      fooled.add(right, {.success = false, .linf = 9});
    }
    CHECK(fooled.count() == 3);
    CHECK(fooled.spreads()[0].mean == 5);
    CHECK(fooled.spreads()[2].max == 8);
    CHECK(fooled.spreads()[3].median == 3);
    fooled.add(right, {.success = true, .by = AttackKind::square, .linf = 2});
    CHECK(fooled.spreads()[3].median == 2.5);
    CHECK(fooled.by_attack() == std::map<std::string, int64_t>{{"cw", 3}, {"square", 1}});
  }

  TEST_CASE("budget, box and verdict agree with the stored images") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 20, 10);
    const std::vector<float> clean = images.pixels(row_range(0, 20)).to_host();
    const size_t d = 144;
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      const Norm norm = variant.options.norm;
      const std::vector<float> sizes = small_sizes(norm);
      const Recorded all = run_attack(model, images, sizes, variant.options, {});
      const Tensor stored = Tensor::from(cpu_backend(), {60, 12, 12, 1}, all.adversarial);
      const std::vector<int32_t> predicted = argmax(model.forward(stored)).to_host();
      double moved = 0;
      for (size_t r = 0; r < 60; ++r) {
        const AttackRow& row = all.rows[r];
        const Lengths used = measure(&all.delta[r * d], d);
        const double budget = norm == Norm::linf ? used.linf : norm == Norm::l2 ? used.l2 : used.l1;
        CHECK(budget <= sizes[r % 3] + ball_tolerance(norm, 144));
        CHECK_FALSE(row.outside_ball);
        CHECK(row.box_violations == 0);
        CHECK(row.zero_gradients == 0);
        CHECK(row.nan_gradients == 0);
        CHECK(std::fabs(row.linf - used.linf) <= 1e-6);
        CHECK(std::fabs(row.l2 - used.l2) <= 1e-5);
        CHECK(std::fabs(row.l1 - used.l1) <= 1e-4);
        CHECK(row.prediction == predicted[r]);
        CHECK(row.success == (predicted[r] != all.images[r / 3].label));
        moved += budget;
        for (size_t k = 0; k < d; ++k) {
          const float rebuilt = std::min(1.0f, std::max(0.0f, clean[r / 3 * d + k] + all.delta[r * d + k]));
          REQUIRE(rebuilt == all.adversarial[r * d + k]);
        }
      }
      CHECK(moved >= 5.0);  // an attack that does nothing would satisfy all of the above
    }
  }

  TEST_CASE("the loss rises, for iterated attacks more with a larger size") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 20, 10);
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      std::vector<float> sizes = small_sizes(variant.options.norm);
      sizes.insert(sizes.begin(), 0.0f);
      const AttackReport report = run_attack(model, images, sizes, variant.options, {}).report;
      for (size_t s = 1; s < sizes.size(); ++s) {
        CHECK(report.sizes[s].loss > report.sizes[0].loss);
        // One long step may overshoot a curved loss; many short ones do not.
        if (variant.options.steps > 1) CHECK(report.sizes[s].loss > report.sizes[s - 1].loss);
      }
    }
  }

  TEST_CASE("a size of zero gives the image back, bit for bit") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 10, 10);
    const std::vector<float> clean = images.pixels(row_range(0, 10)).to_host();
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      const Recorded all = run_attack(model, images, {0.0f}, variant.options, {});
      CHECK(same_bytes(all.adversarial, clean));
      for (size_t i = 0; i < 10; ++i) CHECK(all.rows[i].prediction == all.images[i].clean_prediction);
    }
  }

  TEST_CASE("no attack computes a gradient of a weight") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 4, 10);
    const int64_t before = weight_gradients(), inputs = op_calls("conv_block_dinput");
    for (const Variant& variant : all_variants()) {
      run_attack(model, images, small_sizes(variant.options.norm), variant.options, {});
    }
    CHECK(weight_gradients() == before);
    CHECK(op_calls("conv_block_dinput") > inputs);
    // The counters do move where weights are asked for.
    const Labels labels(images.backend(), std::span<const int32_t>(images.labels_of(row_range(0, 4))));
    grad({cross_entropy(model.forward(images.pixels(row_range(0, 4))), labels)}, model.parameters());
    CHECK(weight_gradients() >= before + 4);
  }

  TEST_CASE("passes are counted, and sizes share the first gradient") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 5, 10);
    const auto passes = [&](const AttackOptions& options) {
      const AttackReport report = run_attack(model, images, {0.01f, 0.1f, 0.2f}, options, {}).report;
      return std::pair(report.forward_passes, report.backward_passes);
    };
    using Passes = std::pair<int64_t, int64_t>;
    // One gradient for each image (with the clean prediction), one look at each of 3 results.
    CHECK(passes(attack_of(AttackKind::fgsm, Norm::linf)) == Passes(5 + 15, 5));
    // ... nine more gradients for each row.
    CHECK(passes(attack_of(AttackKind::bim, Norm::linf)) == Passes(5 + 9 * 15 + 15, 5 + 9 * 15));
    // From a random start every row has its own, and the clean prediction costs a pass.
    CHECK(passes(attack_of(AttackKind::pgd, Norm::linf, true)) == Passes(5 + 10 * 15 + 15, 10 * 15));
    AttackOptions restarts = attack_of(AttackKind::pgd, Norm::linf, true);
    restarts.restarts = 3;
    CHECK(passes(restarts) == Passes(5 + 3 * 11 * 15, 3 * 10 * 15));
  }

  TEST_CASE("restarts keep success first, then the higher loss") {
    const Model model = small_model(3);
    const Images images = random_images(model.input(), 60, 10);
    // Labels as predicted, so that some images resist.
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      AttackOptions options = attack_of(AttackKind::pgd, norm, true);
      options.predicted_labels = true;
      options.steps = 2;
      const std::vector<float> sizes =
          norm == Norm::linf ? std::vector<float>{0.05f, 0.1f} : std::vector<float>{0.3f, 1.0f};
      std::vector<Recorded> tries;
      for (int64_t t = 0; t < 4; ++t) {
        options.first_try = t;
        tries.push_back(run_attack(model, images, sizes, options, {}));
      }
      options.first_try = 0;
      options.restarts = 4;
      const Recorded best = run_attack(model, images, sizes, options, {});
      int64_t improved = 0;
      for (size_t r = 0; r < best.rows.size(); ++r) {
        size_t expected = 0;
        for (size_t t = 1; t < 4; ++t) {
          const AttackRow &now = tries[t].rows[r], &before = tries[expected].rows[r];
          if (now.success != before.success ? now.success : now.loss > before.loss) expected = t;
        }
        CHECK(same_row(best.rows[r], tries[expected].rows[r]));
        CHECK(same_bytes(row_of(best.adversarial, r, 144), row_of(tries[expected].adversarial, r, 144)));
        improved += expected > 0;
      }
      CHECK(improved > 10);
    }
  }

  TEST_CASE("a targeted attack leads into its target") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 20, 10);
    std::vector<int32_t> targets;
    for (const int32_t label : images.labels()) targets.push_back((label + 1) % 10);
    for (const AttackKind kind : {AttackKind::fgsm, AttackKind::bim, AttackKind::mim}) {
      CAPTURE(to_string(kind));
      AttackOptions options = attack_of(kind, Norm::linf);
      options.targeted = true;
      const Recorded all = run_attack(model, images, {0.0f, 0.6f}, options, {.targets = targets});
      CHECK(all.report.sizes[1].loss < all.report.sizes[0].loss);
      for (size_t r = 0; r < all.rows.size(); ++r) {
        CHECK(all.images[r / 2].target == targets[r / 2]);
        CHECK(all.rows[r].success == (all.rows[r].prediction == targets[r / 2]));
      }
      CHECK(all.report.sizes[0].success_rate() <= 0.2);
      if (kind != AttackKind::fgsm) CHECK(all.report.sizes[1].success_rate() >= 0.6);
    }
  }

  TEST_CASE("attacking predicted labels makes success a changed prediction") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 30, 10);
    AttackOptions options = attack_of(AttackKind::bim, Norm::linf);
    options.predicted_labels = true;
    const Recorded all = run_attack(model, images, {0.0f, 0.2f}, options, {});
    int64_t clean_errors = 0;
    for (size_t r = 0; r < all.rows.size(); ++r) {
      const AttackedImage& image = all.images[r / 2];
      CHECK(all.rows[r].success == (all.rows[r].prediction != image.clean_prediction));
      clean_errors += image.clean_prediction != image.label;
    }
    CHECK(clean_errors > 0);
    CHECK(all.report.sizes[0].successes == 0);
    CHECK(all.report.sizes[1].success_rate() >= 0.9);
  }

  TEST_CASE("a model without gradient moves nothing and is reported") {
    const Model model = make_model("flatten | dense 10", {6, 6, 1});
    set_parameter(model, 0, std::vector<float>(360, 0.0f));
    const Images images = random_images(model.input(), 3, 10);
    const std::vector<float> clean = images.pixels(row_range(0, 3)).to_host();
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      const Recorded all = run_attack(model, images, {0.2f}, variant.options, {});
      for (const AttackRow& row : all.rows) {
        CHECK(row.zero_gradients == variant.options.steps);
        CHECK(row.nan_gradients == 0);
        CHECK(row.box_violations == 0);
        CHECK(std::isfinite(row.loss));
        CHECK_FALSE(row.outside_ball);
      }
      CHECK(same_bytes(all.adversarial, clean) == !variant.options.random_start);
    }
  }

  TEST_CASE("a start that is given is where the first try begins, drawn into the ball and the box") {
    const Model blind(parse_architecture("flatten | dense 10"), {12, 12, 1},
                      cpu_backend());  // no gradient anywhere
    const Images images = random_images({12, 12, 1}, 6, 10);
    AttackJob job{.rows = {4, 1, 0, 5}};
    Random random(3, Purpose::test);
    for (int64_t k = 0; k < 4 * 144; ++k)
      job.starts.push_back(static_cast<float>(random.below(1000)) / 999.0f);
    for (const AttackKind kind : {AttackKind::fgsm, AttackKind::pgd, AttackKind::mim}) {
      CAPTURE(to_string(kind));
      const std::vector<float> sizes = {0.1f, 1.0f};
      job.batch = kind == AttackKind::pgd ? 3 : 0;
      job.sink = [&](int64_t first, const AttackResult& chunk) {
        const std::vector<float> made = chunk.adversarial.to_host();
        for (size_t i = 0; i < chunk.images.size(); ++i) {
          const int64_t row = chunk.images[i].index;
          const std::vector<float> clean = images.pixels(std::span(&row, 1)).to_host();
          for (size_t p = 0; p < 144; ++p) {
            const float start = job.starts[(static_cast<size_t>(first) + i) * 144 + p];
            const float near = std::clamp(start, clean[p] - 0.1f, clean[p] + 0.1f);
            CHECK(std::fabs(made[(2 * i) * 144 + p] - near) <= 1e-6f);
            CHECK(std::fabs(made[(2 * i + 1) * 144 + p] - start) <= 1e-6f);
          }
        }
      };
      attack_images(blind, images, sizes, attack_of(kind, Norm::linf, kind == AttackKind::pgd), job);
    }
    job.sink = {};
    const float eps = 0.1f;
    const auto refused = [&](AttackKind kind) {
      return refusal([&] { attack_images(blind, images, std::span(&eps, 1), attack_defaults(kind), job); });
    };
    CHECK(refused(AttackKind::square).find("square begins where its rule says") != std::string::npos);
    // APGD goes on from what another attack found, and so ends no worse.
    const Model model = small_model(2);
    job.rows = row_range(0, 6);
    job.starts.clear();
    std::vector<float> found;
    AttackJob before{.rows = job.rows};
    before.sink = [&](int64_t, const AttackResult& chunk) {
      const std::vector<float> made = chunk.adversarial.to_host();
      found.insert(found.end(), made.begin(), made.end());
    };
    AttackOptions apgd = attack_of(AttackKind::apgd_ce, Norm::linf);
    apgd.steps = 3;
    const AttackReport first =
        attack_images(model, images, std::span(&eps, 1), attack_of(AttackKind::pgd, Norm::linf), before);
    job.starts = found;
    const AttackReport after = attack_images(model, images, std::span(&eps, 1), apgd, job);
    CHECK(after.sizes[0].robust <= first.sizes[0].robust);
    job.starts.pop_back();
    CHECK(refused(AttackKind::pgd).find("expected starts of") != std::string::npos);
  }

  TEST_CASE("NaN gradients are counted and never leave the box") {
    const Model model = make_model("flatten | dense 10", {6, 6, 1});
    std::vector<float> weight(360, 0.5f);
    weight[7] = std::numeric_limits<float>::quiet_NaN();
    set_parameter(model, 0, weight);
    const Images images = random_images(model.input(), 3, 10);
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      const Recorded all = run_attack(model, images, {0.2f}, variant.options, {});
      for (const AttackRow& row : all.rows) {
        CHECK(row.nan_gradients == variant.options.steps);
        CHECK(row.box_violations == 0);
      }
    }
  }

  TEST_CASE("random starts fill the ball") {
    // Zero weights: the attack stays where it starts. A box far away, so that nothing is clipped.
    const Model model = make_model("flatten | dense 2", {4, 4, 1});
    set_parameter(model, 0, std::vector<float>(32, 0.0f));
    const Images images = random_images(model.input(), 4000, 2);
    const float eps = 0.5f;
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      AttackOptions options = attack_of(AttackKind::pgd, norm, true);
      options.steps = 1;
      options.low = -10.0f;
      options.high = 10.0f;
      const Recorded all = run_attack(model, images, {eps}, options, {});
      double mean = 0, square = 0, radius = 0;
      for (const float v : all.delta) {
        mean += v;
        square += static_cast<double>(v) * v;
      }
      const auto values = static_cast<double>(all.delta.size());
      // E[r^d / eps^d] = 1/2 for a uniform ball of dimension d, as for a cube in the max norm.
      for (const AttackRow& row : all.rows)
        radius += std::pow((norm == Norm::linf ? row.linf : row.l2) / eps, 16.0);
      CHECK(std::fabs(mean / values) <= 0.005);
      CHECK(std::fabs(radius / 4000.0 - 0.5) <= 0.02);
      // Variance of one coordinate: eps^2 / 3 in the cube, eps^2 / (d + 2) in the ball.
      const double expected = norm == Norm::linf ? eps * eps / 3.0 : eps * eps / 18.0;
      CHECK(std::fabs(square / values / expected - 1.0) <= 0.02);
    }
  }

  TEST_CASE("summaries count what their names say") {
    AttackSummary summary{.size = 0.1f};
    const auto add = [&](int32_t clean, int32_t after) {
      AttackRow row;
      row.prediction = after;
      row.success = after != 1;
      row.loss = 2.0f;
      row.linf = 0.05f;
      summary.add({.index = 0, .label = 1, .target = -1, .clean_prediction = clean}, row);
    };
    add(1, 1);
    add(1, 2);
    add(1, 3);
    add(2, 2);
    add(2, 1);  // the attack may put a clean error right
    CHECK(summary.images == 5);
    CHECK(summary.clean_accuracy() == doctest::Approx(0.6));
    CHECK(summary.accuracy() == doctest::Approx(0.4));
    CHECK(summary.robust_accuracy() == doctest::Approx(0.2));
    CHECK(summary.success_rate() == doctest::Approx(0.6));
    CHECK(summary.success_rate_of_correct() == doctest::Approx(2.0 / 3.0));
    CHECK(summary.mean_loss() == doctest::Approx(2.0));
    CHECK(AttackSummary{}.success_rate_of_correct() == 0.0);
    REQUIRE(summary.classes.size() == 2);
    CHECK(summary.classes[0].images == 0);
    CHECK(summary.classes[1].clean_correct == 3);
    CHECK(summary.classes[1].robust == 1);
    CHECK(summary.confusion() ==
          std::vector<std::vector<int64_t>>{{0, 0, 0, 0}, {0, 2, 2, 1}, {0, 0, 0, 0}, {0, 0, 0, 0}});
  }

  TEST_CASE("logits that are known already change nothing but the passes") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 12, 10);
    const std::vector<float> logits = predict(model, images), sizes = {0.05f, 0.2f};
    for (const AttackKind kind :
         {AttackKind::pgd, AttackKind::bim, AttackKind::apgd_t, AttackKind::deepfool}) {
      CAPTURE(to_string(kind));
      AttackOptions options = attack_defaults(kind);
      options.norm = Norm::linf;
      options.steps = 3;
      AttackJob asked{.rows = {3, 1, 7}}, known = asked;
      known.clean = logits;
      const auto keep = [](std::vector<float>& to) {
        return [&to](int64_t, const AttackResult& chunk) {
          const std::vector<float> delta = chunk.delta.to_host();
          to.insert(to.end(), delta.begin(), delta.end());
          for (const AttackedImage& image : chunk.images) to.push_back(image.clean_confidence);
        };
      };
      std::vector<float> first, second;
      asked.sink = keep(first), known.sink = keep(second);
      const AttackReport a = attack_images(model, images, sizes, options, asked),
                         b = attack_images(model, images, sizes, options, known);
      CHECK(first == second);
      CHECK(a.forward_passes - b.forward_passes == (kind == AttackKind::bim ? 0 : 3));
    }
    AttackJob wrong{.rows = {0}};
    wrong.clean = std::span(logits).first(5);
    CHECK(refusal([&] {
            attack_images(model, images, sizes, attack_defaults(AttackKind::pgd), wrong);
          }).find("logits of 12 images, got 5") != std::string::npos);
  }

  TEST_CASE("examples: the first image of each class, what the network says before and after") {
    const Model model = small_model();
    const Images images = random_images({12, 12, 1}, 60, 10);
    const std::vector<int64_t> rows = first_of_classes(images);
    REQUIRE(rows.size() == 10);
    for (size_t k = 0; k < rows.size(); ++k) {
      const auto& labels = images.labels();
      CHECK(std::ranges::find(labels, static_cast<int32_t>(k)) - labels.begin() == rows[k]);
    }
    const std::vector<float> sizes = {0.05f, 0.2f};
    const std::vector<Example> examples =
        examples_of(model, images, rows, sizes, attack_of(AttackKind::pgd, Norm::linf));
    REQUIRE(examples.size() == rows.size() * sizes.size());
    const std::vector<int32_t> says = argmax_rows(predict(model, images), 10);
    for (size_t k = 0; k < examples.size(); ++k) {
      const Example& one = examples[k];
      const auto row = static_cast<size_t>(rows[k / 2]);
      CHECK((one.label == images.labels()[row] && one.before.says == says[row]));
      for (const Opinion& opinion : {one.before, one.after})
        CHECK((opinion.sure >= 0.1 && opinion.sure <= 1));
      float largest = 0;
      for (const float d : one.difference()) largest = std::max(largest, std::fabs(d));
      CHECK((largest > 0 && largest <= sizes[k % 2] + 1e-6f));
    }
  }
}

}  // namespace caltrop
