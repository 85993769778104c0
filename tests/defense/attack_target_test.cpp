// Defended classifiers as any attack meets them: who answers, what an alarm counts as.
#include "defense/attack_target.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <optional>

#include "attacks/gma.h"
#include "tests/attacks/setup.h"

namespace caltrop::test {
namespace {

constexpr ImageShape kFourPixels = {2, 2, 1};

// One pixel decides: bright is class 1. `alarm`: of the third logit's bias, where there is one.
std::shared_ptr<const Model> bright_or_dark(std::optional<float> alarm = {}) {
  const int64_t outputs = alarm ? 3 : 2;
  Model model = make_model(fmt::format("flatten | dense {}", outputs), kFourPixels, 1);
  std::vector<float> weight(static_cast<size_t>(4 * outputs)), bias(static_cast<size_t>(outputs));
  weight[0] = -10, weight[4] = 10;
  bias[0] = 5, bias[1] = -5;
  if (alarm) bias[2] = *alarm;
  set_parameter(model, 0, weight);
  set_parameter(model, 1, bias);
  return std::make_shared<const Model>(std::move(model));
}

// The first pixel of each, and its class.
Images lit(const std::vector<uint8_t>& first) {
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  for (const uint8_t light : first) {
    pixels.insert(pixels.end(), {light, 0, 0, 0});
    labels.push_back(light > 127 ? 1 : 0);
  }
  return Images(cpu_backend(), kFourPixels, pixels, labels);
}

AttackSummary under_fgsm(const Defended& defended, const Images& images, float eps) {
  const AttackTarget target(defended, images.labels());
  AttackJob job{.rows = row_range(0, images.count())};
  target.judges(job);
  return attack_images(target.classifier(), images, std::span(&eps, 1), attack_defaults(AttackKind::fgsm),
                       job)
      .sizes.at(0);
}

TEST_SUITE("defense") {
  TEST_CASE("attack target: a network by itself answers as it does without") {
    const Images images = lit({0, 100, 150, 255});
    const Defended alone = defended_by(bright_or_dark());
    CHECK(AttackTarget(alone, images.labels()).plain());
    CHECK(&AttackTarget(alone, images.labels(), 1, true).classifier() == alone.classifier.get());
    const AttackSummary summary = under_fgsm(alone, images, 0.2f);
    CHECK((summary.clean_correct == 4 && summary.robust == 2 && summary.successes == 2));
    CHECK(summary.calibration.images() == 4);
  }

  TEST_CASE("attack target: an alarm is no success of an attack, and no right answer to a clean image") {
    const Images images = lit({0, 100, 150, 255});
    // Where no class has more than 0.8, which both have for light of 100 and of 150, the last one rings.
    const Defended quiet = defended_by(bright_or_dark(-100.0f), 2),
                   loud = defended_by(bright_or_dark(100.0f), 2),
                   unsure = defended_by(bright_or_dark(0.8f), 2);
    CHECK_FALSE(AttackTarget(quiet, images.labels()).plain());
    const AttackSummary silent = under_fgsm(quiet, images, 0.2f), ringing = under_fgsm(loud, images, 0.2f),
                        found = under_fgsm(unsure, images, 0.12f);
    CHECK((silent.clean_correct == 4 && silent.robust == 2 && silent.successes == 2));
    CHECK((ringing.clean_correct == 0 && ringing.robust == 0 && ringing.successes == 0));
    CHECK(ringing.correct == 4);  // found all
    // 0.12 takes 100 / 255 and 150 / 255 across the middle, but no further than where the alarm rings.
    CHECK((found.clean_correct == 4 && found.robust == 4 && found.successes == 0));
    REQUIRE(found.classes.size() == 2);
    CHECK(found.classes[0].after.at(2) == 1);  // the alarm stands behind the classes
    CHECK(found.calibration.images() == 0);
  }

  TEST_CASE("attack target: who answers itself judges what was made on its classifier, nearest attacks too") {
    const Images images = lit({0, 100, 150, 255});
    Defended defended = defended_by(bright_or_dark());
    defended.answers = [](const Tensor& x) {  // sees less light than the network
      std::vector<int32_t> said;
      const std::vector<float> values = x.to_host();
      for (size_t i = 0; i < values.size(); i += 4) said.push_back(values[i] > 0.55f ? 1 : 0);
      return said;
    };
    const AttackSummary summary = under_fgsm(defended, images, 0.12f);
    // 100 / 255 + 0.12 = 0.512 is bright for the network, not for who answers; 150 / 255 - 0.12 dark for both.
    CHECK((summary.clean_correct == 4 && summary.robust == 3 && summary.successes == 1));

    const AttackTarget target(defended, images.labels());
    AttackJob job{.rows = row_range(0, images.count())};
    target.judges(job);
    AttackOptions deepfool = attack_defaults(AttackKind::deepfool);
    deepfool.norm = Norm::l2;
    std::vector<GmaSize> sizes(2);
    sizes[0].eps = 0.05f, sizes[1].eps = 1.0f;
    const GmaAnalysis nearest = gma_analyze(target.classifier(), images, sizes, deepfool, 1, job);
    CHECK(nearest.sizes[0].tries[0].robust == 4);
    // Of 0 and 100 DeepFool ends just beyond 0.5, which is still dark for who answers.
    CHECK(nearest.sizes[1].tries[0].robust == 2);
  }
}

}  // namespace
}  // namespace caltrop::test
