#include "attacks/gma.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "attacks/gma/replay.h"
#include "tests/attacks/setup.h"

namespace caltrop {

using namespace test;

TEST_SUITE("attacks") {
  TEST_CASE("GMA has thirty sizes in the order of Algorithm 1") {
    const std::vector<GmaSize> sizes = gma_sizes();
    REQUIRE(sizes.size() == 30);
    CHECK(sizes[0].name() == "0.1*e^-1");
    CHECK(sizes[4].name() == "3*e^-1");
    CHECK(sizes[5].name() == "0.1*e^-2");
    CHECK(sizes[29].name() == "3*e^-6");
    const std::vector<float> eps = eps_of(sizes);
    CHECK(std::fabs(*std::max_element(eps.begin(), eps.end()) - 1.103638f) <= 1e-6f);
    CHECK(std::fabs(*std::min_element(eps.begin(), eps.end()) - 0.000247875f) <= 1e-9f);
    const double v[] = {0.1, 0.5, 1.0, 2.0, 3.0};
    for (size_t k = 0; k < 30; ++k) {
      const size_t i = k / 5 + 1;
      CHECK(std::fabs(eps[k] - v[k % 5] * std::exp(-static_cast<double>(i))) <= 1e-7);
    }
    std::vector<float> distinct = eps;
    std::sort(distinct.begin(), distinct.end());
    CHECK(std::adjacent_find(distinct.begin(), distinct.end()) == distinct.end());
  }

  TEST_CASE("the other readings of the paper") {
    const std::vector<GmaSize> ten = gma_sizes({.base = GmaBase::ten});
    CHECK(ten.size() == 30);
    CHECK(std::fabs(ten[29].eps - 3e-6f) <= 1e-12f);
    CHECK(ten[29].name() == "3*10^-6");
    const std::vector<GmaSize> literal = gma_sizes({.grid = GmaGrid::literal});
    REQUIRE(literal.size() == 26);
    CHECK(literal[25].name() == "0.1*e^-6");
    CHECK(literal[24].name() == "3*e^-5");
    const std::vector<GmaSize> bytes = gma_sizes({.scale = 255});
    for (size_t k = 0; k < 30; ++k) CHECK(std::fabs(bytes[k].eps * 255.0f - gma_sizes()[k].eps) <= 1e-6f);
    CHECK(mentions(refusal([] { gma_sizes({.scale = 2}); }), "--scale 2"));
    CHECK(parse_gma_base("10") == GmaBase::ten);
    CHECK(parse_gma_grid("literal") == GmaGrid::literal);
    CHECK(mentions(refusal([] { parse_gma_base("2"); }), "--gma-base '2'"));
    CHECK(mentions(refusal([] { parse_gma_grid("half"); }), "--gma-grid 'half'"));
    CHECK_FALSE(gma_attack(AttackKind::pgd, Norm::l2).random_start);
    CHECK(gma_attack(AttackKind::pgd, Norm::l2).norm == Norm::l2);
  }

  TEST_CASE("verdicts are Algorithm 2's") {
    CHECK(gma_verdict(0.4999) == GmaVerdict::fooled);
    CHECK(gma_verdict(0.5) == GmaVerdict::neither);
    CHECK(gma_verdict(0.8) == GmaVerdict::neither);
    CHECK(gma_verdict(0.8001) == GmaVerdict::robust);
    CHECK(to_string(GmaVerdict::fooled) == "fooled");
    CHECK(to_string(GmaVerdict::neither) == "neither");
    CHECK(to_string(GmaVerdict::robust) == "robust");
  }

  TEST_CASE("a tally keeps sizes and tries apart") {
    const std::vector<GmaSize> two = {gma_sizes()[0], gma_sizes()[1]};
    GmaTally tally(two, Norm::linf);
    const auto add = [&](int64_t image, int64_t size, int64_t attempt, int32_t clean, int32_t after) {
      AttackRow row;
      row.prediction = after;
      row.success = after != 1;
      tally.add(image, size, attempt, {image, 1, -1, clean}, row);
    };
    const int32_t clean[] = {1, 1, 1, 2};
    for (int64_t i = 0; i < 4; ++i) add(i, 0, 0, clean[i], i == 0 ? 1 : 3);  // accuracy 1/4
    for (int64_t i = 0; i < 4; ++i) add(i, 1, 0, clean[i], clean[i]);        // 3/4
    CHECK(tally.unfooled() == std::vector<int64_t>{1});
    CHECK(tally.analysis().worst_accuracy == doctest::Approx(0.25));
    for (int64_t i = 0; i < 4; ++i)
      add(i, 1, 1, clean[i], i == 1 || i == 2 ? 1 : 5);  // 1/2, but image 0 falls
    const GmaAnalysis done = tally.analysis();
    CHECK(done.images == 4);
    CHECK(done.baseline == doctest::Approx(0.75));
    CHECK(done.sizes[0].accuracy() == doctest::Approx(0.25));
    CHECK(done.sizes[0].flag());
    CHECK(done.sizes[1].tries.size() == 2);
    CHECK(done.sizes[1].tries[0].accuracy() == doctest::Approx(0.75));
    CHECK(done.sizes[1].accuracy() == doctest::Approx(0.5));
    CHECK(done.sizes[1].verdict() == GmaVerdict::neither);
    CHECK_FALSE(done.sizes[1].flag());
    CHECK(done.pooled_accuracy == doctest::Approx(0.375));
    CHECK(done.worst_accuracy == 0.0);
    CHECK(mentions(refusal([&] { add(-1, 0, 0, 1, 1); }), "got -1, 0 and 0"));
    CHECK(mentions(refusal([&] { add(0, 2, 0, 1, 1); }), "got 0, 2 and 0"));
  }

  TEST_CASE("sizes that fool, the least of them, and passes as estimated") {
    GmaAnalysis analysis;
    CHECK_FALSE(analysis.fooling());
    for (const auto& [eps, correct] : {std::pair(0.1f, 9), std::pair(0.5f, 2), std::pair(0.3f, 4)}) {
      GmaSizeResult size;
      size.size.eps = eps;
      size.tries = {AttackSummary{.size = eps, .images = 10, .correct = correct}};
      analysis.sizes.push_back(size);
    }
    const auto fooling = analysis.fooling();
    REQUIRE(fooling);
    CHECK(fooling->sizes == 2);
    CHECK(fooling->least == doctest::Approx(0.3));
    AttackOptions options = gma_attack(AttackKind::pgd, Norm::linf);
    options.steps = 10, options.restarts = 2;
    CHECK(expected_passes(options, 30, 3) == 1800);
    AttackOptions cw = attack_defaults(AttackKind::cw);
    cw.steps = 100, cw.cw.rounds = 4;
    CHECK(expected_passes(cw, 30, 3) == 400);  // once for all sizes
  }

  TEST_CASE("an attack that seeks the smallest perturbation ends when the answer of each size is known") {
    const Model model = small_model(4);
    const Images images = random_images(model.input(), 40, 10, 4);
    AttackOptions deepfool = attack_defaults(AttackKind::deepfool);
    deepfool.norm = Norm::l2;
    std::vector<GmaSize> sizes(2);
    sizes[0].eps = 0.05f, sizes[1].eps = 3.0f;
    const AttackJob whole{.rows = row_range(0, 40)};
    const GmaAnalysis all = gma_analyze(model, images, sizes, deepfool, 1, whole);
    for (const double share : {0.3, 0.5}) {
      GmaAnalysis some[2];
      for (const int64_t batch : {1, 7}) {
        const AttackJob job{.rows = whole.rows, .until = share, .batch = batch};
        GmaAnalysis& now = some[batch > 1];
        now = gma_analyze(model, images, sizes, deepfool, 1, job);
        for (size_t s = 0; s < 2; ++s) {
          const AttackSummary &cut = now.sizes[s].tries.at(0), &full = all.sizes[s].tries.at(0);
          CHECK(cut.images < 40);
          CHECK(at_least(cut, share, 40) == std::optional(full.robust_accuracy() >= share));
        }
      }
      CHECK(some[0].images == some[1].images);
      CHECK(some[0].backward_passes == some[1].backward_passes);
    }
    // A gradient for each class that DeepFool looks at: 1 forward and 9 backward, of 3 a pass.
    CHECK(expected_passes(deepfool, 2, 1, 10) == doctest::Approx(50 * 19.0 / 3));
    CHECK(expected_passes(attack_defaults(AttackKind::fab), 2, 1, 5) == doctest::Approx(100 * 12.0 / 3));
    CHECK(expected_passes(attack_defaults(AttackKind::square), 2, 1) == doctest::Approx(2 * 5000 / 3.0));
  }

  TEST_CASE("an attack that seeks the smallest perturbation runs once for all sizes") {
    const Model model = small_model(4);
    const Images images = random_images(model.input(), 20, 10, 4);
    AttackOptions deepfool = attack_defaults(AttackKind::deepfool);
    deepfool.norm = Norm::l2;
    std::vector<GmaSize> sizes(3);
    sizes[0].eps = 1e-4f, sizes[1].eps = 0.1f, sizes[2].eps = 100;
    const AttackJob job{.rows = row_range(0, 20)};
    const GmaAnalysis all = gma_analyze(model, images, sizes, deepfool, 1, job);
    const float unbounded = std::numeric_limits<float>::infinity();
    const AttackReport once = attack_images(model, images, std::span(&unbounded, 1), deepfool, job);
    CHECK(all.forward_passes == once.forward_passes);
    CHECK(all.images == 20);
    CHECK(all.sizes[0].accuracy() >= all.sizes[1].accuracy());
    CHECK(all.sizes[2].tries[0].correct == once.sizes[0].correct);  // 100 takes an image anywhere
    const GmaAnalysis least = gma_analyze(model, images, std::span(sizes).first(1), deepfool, 1, job);
    CHECK(all.sizes[0].tries[0].correct == least.sizes[0].tries[0].correct);
    CHECK(all.worst_accuracy <= least.worst_accuracy);

    // Images that no perturbation within the size fools stand for themselves: nothing falls at the least size, and
    // calibration is that of clean images, read off one perturbation or attacked with a bound.
    const AttackReport bound = attack_images(model, images, std::span(&sizes[0].eps, 1), deepfool, job);
    for (const AttackSummary& none : {all.sizes[0].tries[0], bound.sizes[0]}) {
      CHECK(none.robust == none.clean_correct);
      CHECK(none.calibration.error() == doctest::Approx(none.clean_calibration.error()).epsilon(1e-3));
    }
    CHECK(all.sizes[2].tries[0].calibration.error() !=
          doctest::Approx(once.sizes[0].clean_calibration.error()));
  }

  TEST_CASE("a share is reached by as many images as print it") {
    AttackSummary some;
    some.images = 100, some.robust = 7;
    CHECK(at_least(some, 0.07, 100) == true);
    some.images = 93, some.robust = 0;
    CHECK(at_least(some, 0.07, 100) == std::nullopt);
    some.images = 94;
    CHECK(at_least(some, 0.07, 100) == false);
  }

  TEST_CASE("analysis agrees with the attacks it is made of") {
    const Model model = small_model(4);
    Images random = random_images(model.input(), 20, 10, 4);
    // Labels as the model has them, so that accuracy starts at one.
    std::vector<uint8_t> pixels;
    for (const float v : random.pixels(row_range(0, 20)).to_host()) pixels.push_back(to_byte(v));
    const std::vector<int32_t> labels = argmax_rows(predict(model, random), 10);
    const Images images(cpu_backend(), model.input(), pixels, labels);
    const std::vector<GmaSize> sizes = gma_sizes();
    for (const AttackKind kind : {AttackKind::fgsm, AttackKind::bim, AttackKind::mim}) {
      for (const Norm norm : {Norm::linf, Norm::l2}) {
        CAPTURE(to_string(kind));
        CAPTURE(to_string(norm));
        const AttackOptions options = gma_attack(kind, norm);
        int64_t last = 0;
        AttackJob job{.rows = row_range(0, 20)};
        job.progress = [&](int64_t done) {
          last = done;
        };
        const GmaAnalysis one = gma_analyze(model, images, sizes, options, 1, job);
        const GmaAnalysis three = gma_analyze(model, images, sizes, options, 3, job);
        CHECK(one.baseline == 1.0);
        REQUIRE(one.sizes.size() == 30);
        const AttackReport report = run_attack(model, images, eps_of(sizes), options, {}).report;
        double lowest = 1.0;
        int64_t fooled = 0, again = 0, elsewhere = 0;
        for (size_t s = 0; s < 30; ++s) {
          CHECK(one.sizes[s].tries.size() == 1);
          CHECK(one.sizes[s].accuracy() == report.sizes[s].accuracy());
          // A fooled size is not attacked again; a later try can only lower the accuracy.
          CHECK(three.sizes[s].tries[0].correct == one.sizes[s].tries[0].correct);
          CHECK(three.sizes[s].accuracy() <= one.sizes[s].accuracy());
          if (one.sizes[s].flag()) CHECK(three.sizes[s].tries.size() == 1);
          if (!three.sizes[s].flag()) {
            const std::vector<AttackSummary>& tries = three.sizes[s].tries;
            REQUIRE(tries.size() == 3);
            elsewhere += tries[1].loss != tries[0].loss && tries[2].loss != tries[1].loss;
          }
          lowest = std::min(lowest, three.sizes[s].accuracy());
          fooled += one.sizes[s].flag();
          again += three.sizes[s].tries.size() > 1;
        }
        CHECK(fooled > 0);
        CHECK(again > 0);
        CHECK(elsewhere > 0);  // other starts; the smallest balls have one best corner for all of them
        CHECK(last == 3 * 20);
        CHECK(three.worst_accuracy <= lowest);
        CHECK(three.worst_accuracy <= one.worst_accuracy);
        CHECK(three.forward_passes > one.forward_passes);
        CHECK(one.forward_passes == report.forward_passes);
      }
    }
    CHECK(mentions(
        refusal([&] { gma_analyze(model, images, sizes, gma_attack(AttackKind::pgd, Norm::linf), 4, {}); }),
        "--tries 4"));
  }

  TEST_CASE("stored images, shown again part after part, give the analysis that the attack gave") {
    const Model model = small_model(4);
    const Images images = random_images(model.input(), 12, 10, 4);
    const std::vector<GmaSize> sizes = {gma_sizes()[1], gma_sizes()[4], gma_sizes({.base = GmaBase::ten})[7]};
    const AttackOptions options = gma_attack(AttackKind::pgd, Norm::l2);
    const GmaAnalysis crafted = gma_analyze(model, images, sizes, options, 1, {.rows = row_range(0, 12)});
    const Recorded stored = run_attack(model, images, eps_of(sizes), options, {});
    std::vector<uint8_t> x;
    for (const float pixel : images.pixels(row_range(0, 12)).to_host()) x.push_back(to_byte(pixel));
    std::vector<int64_t> index = row_range(0, 12);
    std::vector<int32_t> zero, nan, exponent;
    for (const AttackRow& row : stored.rows)
      zero.push_back(row.zero_gradients), nan.push_back(row.nan_gradients);
    std::vector<float> eps = eps_of(sizes), v;
    std::vector<uint8_t> ten;
    for (const GmaSize& size : sizes) {
      v.push_back(static_cast<float>(size.v));
      exponent.push_back(size.i);
      ten.push_back(size.base == GmaBase::ten);
    }
    const auto part = [&](size_t first, size_t n) {
      const size_t pixels = 144, s = 3;
      return StoredAttacks{"part",
                           model.input(),
                           std::span(index).subspan(first, n),
                           std::span(images.labels()).subspan(first, n),
                           std::span(x).subspan(first * pixels, n * pixels),
                           eps,
                           v,
                           exponent,
                           ten,
                           std::span(stored.delta).subspan(first * s * pixels, n * s * pixels),
                           std::span(zero).subspan(first * s, n * s),
                           std::span(nan).subspan(first * s, n * s)};
    };
    GmaReplay replay(model, Norm::l2);
    CHECK(mentions(refusal([&] { (void)replay.analysis(); }), "shown before"));
    int64_t last = 0;
    const auto progress = [&](int64_t done) {
      last = done;
    };
    replay.show(part(0, 5), progress);
    replay.show(part(5, 7), progress);
    const GmaAnalysis again = replay.analysis();
    CHECK(last == 12);
    CHECK(again.images == 12);
    CHECK(again.forward_passes == 12 * 4);
    CHECK(again.baseline == crafted.baseline);
    CHECK(again.worst_accuracy == crafted.worst_accuracy);
    for (size_t k = 0; k < 3; ++k) {
      const AttackSummary &a = again.sizes[k].tries[0], &b = crafted.sizes[k].tries[0];
      CHECK(again.sizes[k].size.name() == sizes[k].name());
      CHECK(a.correct == b.correct);
      CHECK(a.robust == b.robust);
      CHECK(a.zero_gradients == b.zero_gradients);
      CHECK(a.max_l2 == doctest::Approx(b.max_l2).epsilon(1e-5));
      CHECK(a.box_violations + a.ball_violations == 0);
    }
    // Measured, not taken on trust: pixels outside the box, and more than the size.
    std::vector<float> far(stored.delta.size(), 1.5f);
    StoredAttacks spoiled = part(0, 12);
    spoiled.delta = far;
    GmaReplay strict(model, Norm::l2);
    strict.show(spoiled, {});
    CHECK(strict.analysis().sizes[0].tries[0].ball_violations == 12);
    CHECK(strict.analysis().sizes[0].tries[0].box_violations == 12 * 144);
    eps[0] *= 2;
    CHECK(mentions(refusal([&] { replay.show(part(0, 5), {}); }), "not those of the other parts"));
    StoredAttacks other = part(0, 5);
    other.shape = {144, 1, 1};
    CHECK(mentions(refusal([&] { GmaReplay(model, Norm::l2).show(other, {}); }), "do not fit the network"));
    const std::vector<int32_t> eleventh(5, 10);
    other = part(0, 5);
    other.label = eleventh;
    CHECK(mentions(refusal([&] { GmaReplay(model, Norm::l2).show(other, {}); }), "part holds the label 10"));
  }

  TEST_CASE("the attacks that GMA is compared with are those of Table 2") {
    for (const char* data : {"mnist", "fashion-mnist"}) {
      const std::vector<BigAttack> big = big_attacks(data);
      REQUIRE(big.size() == 3);
      CHECK(big[0].options.kind == AttackKind::pgd);
      CHECK(big[2].options.kind == AttackKind::cw);
      for (const BigAttack& attack : big) {
        CHECK(attack.options.norm == Norm::l2);
        CHECK(attack.sizes.size() == (std::string_view(data) == "mnist" ? 3 : 4));
        check_attack(attack.options, attack.sizes, 784);
      }
    }
  }
}

}  // namespace caltrop
