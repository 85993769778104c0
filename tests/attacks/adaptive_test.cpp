// EOT and BPDA, on a defence that draws and one that masks, and what a diagnosis finds.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "attacks/adaptive.h"
#include "attacks/attack_rows.h"
#include "attacks/diagnosis.h"
#include "attacks/presets.h"
#include "engine/autograd.h"
#include "tests/attacks/setup.h"

namespace caltrop {
namespace {

using namespace test;

// A defence whose gradient is known: x times the number of the draw, plus one.
class Scaled final : public Transform {
 public:
  Tensor apply(const Tensor& x, const Query& query) const override {
    return x * static_cast<float>(query.draw + 1);
  }
  bool random() const override { return true; }
  std::string name() const override { return "scaling"; }
};

// A defence that shows the network a black image in every fourth answer, beginning with the first.
class Flickering final : public Transform {
 public:
  Tensor apply(const Tensor& x, const Query& query) const override {
    return x * ((query.step + query.draw) % 4 == 0 ? 0.0f : 1.0f);
  }
  bool random() const override { return true; }
  std::string name() const override { return "flickering"; }
};

// Class 1 where the mean of four pixels is above 0.5.
Model brightness() {
  Model model = make_model("flatten | dense 2", {2, 2, 1});
  set_parameter(model, 0, {0, 0, 0, 0, 2.5f, 2.5f, 2.5f, 2.5f});
  set_parameter(model, 1, {0, -5});
  return model;
}

Objectives sum_of_logits() {
  return [](const Tensor& z) {
    return std::vector<Tensor>{sum(z, {1})};
  };
}

}  // namespace

TEST_SUITE("attacks") {
  TEST_CASE("EOT averages gradients over the draws, and asks once for an answer") {
    const Model model = make_model("flatten | dense 3", {2, 2, 1});
    const Network network(model);
    const Scaled scaling;
    const Preprocessed defended(network, scaling);
    const Averaged averaged(defended, 4);
    const Tensor x = Tensor::full(cpu_backend(), {2, 2, 2, 1}, 0.25f);
    const std::vector<int64_t> images = {0, 1};
    const Pass plain = network.differentiate(x, sum_of_logits(), {.images = images});
    const Pass mean = averaged.differentiate(x, sum_of_logits(), {.images = images});
    const std::vector<float> once = plain.gradients[0].to_host(), four = mean.gradients[0].to_host();
    for (size_t k = 0; k < once.size(); ++k)
      CHECK(four[k] == doctest::Approx(2.5 * once[k]));  // (1 + 2 + 3 + 4) / 4
    CHECK(averaged.passes() == 4);
    CHECK(averaged.logits(x, {.images = images}).to_host() == plain.logits.to_host());
    CHECK(mentions(refusal([&] { Averaged(network, 0); }), "1 to 255 draws"));
  }

  TEST_CASE("a verdict is the mean over draws, and the logits themselves where nothing is drawn") {
    const Model model = brightness();
    const Network network(model);
    const Flickering flicker;
    const Preprocessed defended(network, flicker);
    const Tensor x = Tensor::full(cpu_backend(), {1, 2, 2, 1}, 0.7f);
    const std::vector<int64_t> images = {3};
    CHECK(same_bytes(network.verdict(x, {.images = images}).to_host(), network.logits(x, {}).to_host()));
    // z = (0, 2) in twelve answers, (0, -5) in four.
    const double seen = 1 / (1 + std::exp(-2.0)), black = 1 / (1 + std::exp(5.0));
    const std::vector<float> verdict = defended.verdict(x, {.images = images, .step = 9}).to_host();
    CHECK(verdict[1] == doctest::Approx(std::log(0.75 * seen + 0.25 * black)));
    CHECK(verdict[0] == doctest::Approx(std::log(1 - 0.75 * seen - 0.25 * black)));
  }

  TEST_CASE("attacks on a random defence go on after one lucky draw") {
    const Model model = brightness();
    const Network network(model);
    const Flickering flicker;
    const Preprocessed defended(network, flicker);
    AttackBatch batch{Tensor::full(cpu_backend(), {8, 2, 2, 1}, 0.7f), row_range(0, 8), {}, {}};
    batch.labels.assign(8, 1);
    for (const AttackKind kind :
         {AttackKind::deepfool, AttackKind::square, AttackKind::fab, AttackKind::cw}) {
      CAPTURE(to_string(kind));
      AttackOptions options = attack_of(kind, kind == AttackKind::square ? Norm::linf : Norm::l2);
      options.steps = kind == AttackKind::cw ? 100 : 30;
      options.cw = {.rounds = 1, .first_constant = 10, .learning_rate = 0.1f};
      options.square.schedule = SquareSchedule::paper;  // windows larger than a pixel in all 30 queries
      const float eps = kind == AttackKind::square ? 0.3f : 0.5f;  // 0.2 and 0.4 cross over in each answer
      const AttackResult result = craft(defended, batch, std::span(&eps, 1), options);
      for (const AttackRow& row : result.rows) {
        CHECK(row.success);
        CHECK(row.prediction == 0);
        CHECK(row.l2 >= 0.26f);  // the mean falls to a half where the others say 2 : 1, 0.26 away
      }
    }
  }

  TEST_CASE("noise is a function of seed, image, step and draw, whatever the batch") {
    const auto noise = gaussian_noise(1.0f, 3);
    const Tensor x = Tensor::zeros(cpu_backend(), {3, 4, 4, 1});
    const std::vector<int64_t> images = {5, 9, 700};
    const std::vector<float> all = noise->apply(x, {.images = images, .step = 2, .draw = 1}).to_host();
    const std::vector<int64_t> last = {700};
    const std::vector<float> one =
        noise->apply(Tensor::zeros(cpu_backend(), {1, 4, 4, 1}), {.images = last, .step = 2, .draw = 1})
            .to_host();
    CHECK(same_bytes(one, row_of(all, 2, 16)));
    CHECK_FALSE(all == noise->apply(x, {.images = images, .step = 2, .draw = 0}).to_host());
    CHECK_FALSE(all == noise->apply(x, {.images = images, .step = 1, .draw = 1}).to_host());
    CHECK_FALSE(all == gaussian_noise(1.0f, 4)->apply(x, {.images = images, .step = 2, .draw = 1}).to_host());
  }

  TEST_CASE("attacks through a random defence give the same bytes for each batch") {
    const Model model = small_model();
    const Network network(model);
    const auto noise = gaussian_noise(0.1f, 7);
    const Preprocessed defended(network, *noise);
    const Averaged averaged(defended, 3);
    const Images images = random_images(model.input(), 10, 10);
    for (const AttackKind kind : {AttackKind::pgd, AttackKind::cw, AttackKind::deepfool, AttackKind::apgd_ce,
                                  AttackKind::fab, AttackKind::square}) {
      CAPTURE(to_string(kind));
      AttackOptions options = attack_of(kind, Norm::l2);
      options.steps = 6;
      options.cw.rounds = 2;
      const auto run = [&](int64_t batch) {
        std::vector<float> adversarial;
        AttackJob job{.rows = row_range(0, 10), .batch = batch};
        job.sink = [&](int64_t, const AttackResult& chunk) {
          const std::vector<float> x = chunk.adversarial.to_host();
          adversarial.insert(adversarial.end(), x.begin(), x.end());
        };
        const float eps = 1.0f;
        attack_images(averaged, images, std::span(&eps, 1), options, job);
        return adversarial;
      };
      const std::vector<float> one = run(1);
      CHECK(same_bytes(one, run(3)));
      CHECK(same_bytes(one, run(10)));
    }
  }

  TEST_CASE("rounding masks the gradient, BPDA has that of its surrogate") {
    const Model model = make_model("flatten | dense 3", {3, 3, 1});
    const Network network(model);
    const auto rounding = quantization(2);
    const Tensor x =
        Tensor::from(cpu_backend(), {1, 3, 3, 1}, {0, 0.2f, 0.4f, 0.49f, 0.51f, 0.6f, 0.8f, 1, 0.3f});
    CHECK(rounding->apply(x, {}).to_host() == std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1, 0});
    const std::vector<float> eight = quantization(256)->apply(x, {}).to_host();
    CHECK(eight[1] == 51.0f / 255.0f);
    CHECK(eight[3] == doctest::Approx(125.0 / 255.0));  // 124.95

    const std::vector<float> bare = network.differentiate(x, sum_of_logits(), {}).gradients[0].to_host();
    const Preprocessed masked(network, *rounding);
    const std::vector<float> none = masked.differentiate(x, sum_of_logits(), {}).gradients[0].to_host();
    CHECK(std::count(none.begin(), none.end(), 0.0f) == 9);
    const Preprocessed open(network, *rounding, identity);
    CHECK(open.differentiate(x, sum_of_logits(), {}).gradients[0].to_host() == bare);
    CHECK(open.logits(x, {}).to_host() == masked.logits(x, {}).to_host());
    // A declared surrogate: as if the defence halved the image.
    const Preprocessed halved(network, *rounding, [](const Tensor& y) { return y * 0.5f; });
    const std::vector<float> half = halved.differentiate(x, sum_of_logits(), {}).gradients[0].to_host();
    for (size_t k = 0; k < 9; ++k) CHECK(half[k] == doctest::Approx(0.5 * bare[k]));
  }

  TEST_CASE("a diagnosis tells random answers, probabilities and vanished gradients") {
    const Model model = small_model();
    const Network network(model);
    const Images images = random_images(model.input(), 20, 10);
    const Diagnosis sound = diagnose(network, images);
    CHECK(doubts(sound, false).empty());
    CHECK(sound.images == 20);
    const auto noise = gaussian_noise(0.5f, 1);
    const Preprocessed noisy(network, *noise);
    CHECK(diagnose(noisy, images).random);
    CHECK(doubts(diagnose(noisy, images), false).size() == 1);
    CHECK(doubts(diagnose(noisy, images), true).empty());
    const auto rounding = quantization(2);
    CHECK(diagnose(Preprocessed(network, *rounding), images).zero_gradients == 20);
    const Model soft = make_model("flatten | dense 4 | softmax", {4, 4, 1});
    CHECK(diagnose(Network(soft), random_images(soft.input(), 5, 4)).probabilities);
  }

  TEST_CASE("a defence in front of a network, as it is made by hand") {
    const Model model = make_model("conv 3 2x2 | gelu | flatten | dense 4", {4, 4, 1});
    const Network network(model);
    const Images images = random_images(model.input(), 6, 4);
    const Tensor x = images.pixels(row_range(0, 6));
    const std::vector<int64_t> rows = row_range(0, 6);
    const auto same = [&](const FrontDefence& defence, const Classifier& by_hand) {
      const Guarded guarded(model, defence);
      const Pass a = guarded.classifier().differentiate(x, sum_of_logits(), {.images = rows, .step = 3});
      const Pass b = by_hand.differentiate(x, sum_of_logits(), {.images = rows, .step = 3});
      return a.logits.to_host() == b.logits.to_host() && a.gradients[0].to_host() == b.gradients[0].to_host();
    };
    CHECK(same({}, network));
    const auto noise = gaussian_noise(0.2f, 9);
    const Preprocessed noisy(network, *noise);
    CHECK(same({.noise = 0.2f, .seed = 9}, noisy));
    CHECK_FALSE(same({.noise = 0.2f, .seed = 8}, noisy));
    CHECK(same({.noise = 0.2f, .draws = 5, .seed = 9}, Averaged(noisy, 5)));
    const auto rounding = quantization(2);
    CHECK(same({.levels = 2}, Preprocessed(network, *rounding)));
    CHECK(same({.levels = 2, .bpda = true}, Preprocessed(network, *rounding, identity)));
  }

  TEST_CASE("anomalies are told, one sentence each") {
    AttackSummary summary{.images = 2000};
    CHECK(anomalies(summary, {{"apgd-ce", 1500}, {"square", 4}}).empty());  // a fifth of a percent is none
    const std::vector<std::string> masked = anomalies(summary, {{"square", 1005}});
    REQUIRE(masked.size() == 1);
    CHECK(mentions(masked[0], "square, which sees no gradient, fooled 1,005 images"));
    summary.zero_gradients = summary.nan_gradients = summary.ball_violations = summary.box_violations = 1;
    CHECK(anomalies(summary, {{"square", 1005}}).size() == 5);
  }

  TEST_CASE("presets are the libraries' defaults") {
    const PresetAttack madry = preset_attack(Preset::foolbox, AttackKind::pgd, Norm::linf);
    CHECK(madry.options.steps == 40);
    CHECK(*madry.step_share == doctest::Approx(1.0 / 30));
    const PresetAttack ta = preset_attack(Preset::torchattacks, AttackKind::cw, Norm::l2);
    CHECK(ta.options.steps == 50);
    CHECK(ta.options.cw.rounds == 1);
    CHECK(ta.options.cw.first_constant == 1.0f);
    CHECK(preset_attack(Preset::torchattacks, AttackKind::apgd_t, Norm::l2).options.apgd.authors_quirks);
    CHECK(preset_attack(Preset::torchattacks, AttackKind::square, Norm::linf).options.square.schedule ==
          SquareSchedule::rescaled);
    CHECK(preset_attack(Preset::autoattack, AttackKind::square, Norm::linf).options.square.schedule ==
          SquareSchedule::paper);
    CHECK_FALSE(preset_attack(Preset::art, AttackKind::pgd, Norm::linf).options.random_start);
    CHECK(preset_attack(Preset::autoattack, AttackKind::apgd_ce, Norm::linf).options.apgd.authors_quirks);
    CHECK(mentions(refusal([] { preset_attack(Preset::foolbox, AttackKind::square, Norm::linf); }),
                   "foolbox has no square"));
    for (const std::string& name : preset_names()) CHECK(to_string(parse_preset(name)) == name);
    // Each is an attack that craft() accepts.
    for (const std::string& library : preset_names()) {
      for (const std::string& kind : attack_names()) {
        for (const Norm norm : {Norm::linf, Norm::l2}) {
          if (parse_attack(kind) == AttackKind::cw && norm == Norm::linf) continue;
          const std::string message = refusal([&] {
            const PresetAttack preset = preset_attack(parse_preset(library), parse_attack(kind), norm);
            const float eps = preset.eps.value_or(0.3f);
            check_attack(preset.options, std::span(&eps, 1), 784);
          });
          CAPTURE(message);
          CHECK((message.empty() || mentions(message, " has no ")));
        }
      }
    }
  }
}

}  // namespace caltrop
