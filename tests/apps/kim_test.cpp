// Kim's study: its numbers from made-up results, its claims from its numbers, and a small one from end to end.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "apps/paper/kim/shown.h"
#include "tests/apps/program.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

namespace fs = std::filesystem;

// An attack on 1,000 images, all right when clean, that leaves `right(size)` of them.
template <typename Right>
GmaAnalysis made_up(const std::vector<float>& sizes, double clean, const Right& right) {
  GmaAnalysis analysis;
  analysis.images = 1000;
  analysis.baseline = clean;
  for (const float size : sizes) {
    GmaSizeResult& one = analysis.sizes.emplace_back();
    one.size.eps = size;
    AttackSummary& summary = one.tries.emplace_back();
    summary.size = size;
    summary.images = 1000;
    summary.robust = std::max<int64_t>(0, std::llround(1000 * right(static_cast<double>(size))));
    summary.correct = summary.robust;
    for (int64_t i = 0; i < 1000; ++i) one.robust.push_back(i < summary.robust);
  }
  return analysis;
}

// Accuracy under FGSM falls by `slope` per unit of size; under PGD twice as fast.
void add(KimStudy& study, const std::string& arm, int64_t seed, double slope) {
  CellResult cell;
  cell.cell = {
      .dataset = "mnist", .data_dir = "", .arm = {.name = arm}, .seed = seed, .attacks = {}, .stem = ""};
  cell.cell.stem = fmt::format("{}-{}", arm, seed);
  cell.cell.attacks = kim_attacks("smoke");
  for (const StudyAttack& attack : cell.cell.attacks) {
    const double times = attack.name == "pgd" ? 2 : 1;
    cell.attacks.push_back(
        made_up(eps_of(attack.sizes), 0.99, [&](double size) { return 0.99 - times * slope * size; }));
  }
  study.epochs[cell.cell.stem] = {
      {1, arm, 0.9, 0.1}, {2, arm, 0.95, 0.5}, {3, arm, 0.95, arm == kMasking ? 0.2 : 0.6}};
  study.transferred[cell.cell.stem] = {{"fgsm", 0.5}, {"pgd", 0.4}};
  study.work[arm] = arm == kControl ? 10 : 20;
  study.cells.push_back(std::move(cell));
}

// As the paper has it: adversarial training before masking before distillation, which is nearly the control.
KimStudy as_printed(int64_t seeds) {
  KimStudy study{.dataset = "mnist"};
  for (int64_t seed = 0; seed < seeds; ++seed) {
    double chance = 0;
    const auto arm = [&](const std::string& name, double slope) {
      add(study, name, seed, slope + chance);
      chance += 0.03 * static_cast<double>(seed);
    };
    arm(kControl, 7);
    arm(kAdversarial, 1.05);
    arm(kDistillation, 6.9);
    arm(kMasking, 5);
    for (const std::string& first : kKimDefences) {
      for (const std::string& second : kKimDefences)
        arm(pair_arm(first, second), first == kMasking && second == kAdversarial ? 2 : 4);
    }
  }
  return study;
}

std::string verdict_of(const KimStudy& study, const std::string& beginning) {
  for (const KimClaim& claim : kim_claims(study))
    if (claim.claim.starts_with(beginning)) return claim.verdict;
  FAIL("no such claim: ", beginning);
  return "";
}

TEST_SUITE("apps") {
  TEST_CASE("kim: the size at which the control falls to the paper's accuracy") {
    const KimStudy study = as_printed(1);
    REQUIRE(study.matched());
    CHECK(*study.matched() == doctest::Approx((0.99 - kPrintedControl) / 7).epsilon(1e-3));
    CHECK(study.mean(kControl, under_fgsm(study.size())).mean ==
          doctest::Approx(kPrintedControl).epsilon(1e-6));
    CHECK(study.mean(kAdversarial, under_fgsm(0)).mean == doctest::Approx(0.99));
    CHECK(study.mean(kAdversarial, under_fgsm(0.3)).mean == doctest::Approx(0.99 - 1.05 * 0.3).epsilon(1e-3));
    KimStudy strong{.dataset = "mnist"};
    add(strong, kControl, 0, 0.1);
    CHECK_FALSE(strong.matched());
    CHECK(strong.size() == doctest::Approx(0.3));
  }

  TEST_CASE("kim: verdicts follow from the numbers") {
    const KimStudy study = as_printed(3);
    for (const std::string holds :
         {"adversarial training is better than no defence", "adversarial training is the best",
          "distillation is no different", "masking is better", "masking is worse",
          "masking's accuracy fluctuates", "masking with adversarial training is the best",
          "no combination beats"}) {
      CAPTURE(holds);
      CHECK(verdict_of(study, holds) == "holds");
    }
    // Nor could they: distillation is as good as the control here, as the paper says elsewhere.
    CHECK(verdict_of(study, "control and defences all differ") == "does not hold");
    CHECK(verdict_of(study, "FGSM leaves the control") == "cannot be decided from the text");
    // PGD is twice as strong here, and what it leaves is twice as far from the control's.
    CHECK(verdict_of(study, "adversarial gains under FGSM") == "holds");
    CHECK(verdict_of(study, "adversarial training leaks labels") == "does not hold");
    KimStudy other = as_printed(3);
    for (CellResult& cell : other.cells)
      if (cell.cell.arm.name == kAdversarial)
        cell.attacks[0] = made_up(kFgsmSizes, 0.99, [](double) { return 0.1; });
    CHECK(verdict_of(other, "adversarial training is better than no defence") == "does not hold");
    for (const KimClaim& claim : kim_claims(as_printed(1)))
      CHECK((claim.verdict == "undecided" || claim.verdict == "cannot be decided from the text"));

    // Right under FGSM on more images than on clean ones: labels leak.
    KimStudy leaking = as_printed(3);
    int64_t right = 995;
    for (CellResult& cell : leaking.cells) {
      if (cell.cell.arm.name != kAdversarial) continue;
      for (GmaSizeResult& size : cell.attacks[0].sizes) size.tries[0].correct = right;
      ++right;
    }
    CHECK(verdict_of(leaking, "adversarial training leaks labels") == "holds");

    // What the paper prints is about MNIST.
    KimStudy fashion = as_printed(3);
    fashion.dataset = "fashion-mnist";
    for (const KimClaim& claim : kim_claims(fashion)) CHECK(claim.paper.empty());
    CHECK_FALSE(fgsm_table(fashion).json()[0].contains("matched_paper"));
  }

  TEST_CASE("kim: pairs are tested over the seeds, and corrected") {
    const Json rows = pairs_table(as_printed(3)).json();
    CHECK(rows.size() == 15);
    CHECK(rows[0]["first"] == kAdversarial);
    CHECK(rows[0]["difference"].get<double>() > 0.5);
    for (const Json& row : rows) CHECK(row["p_holm"].get<double>() >= row["p"].get<double>());
    CHECK(fgsm_table(as_printed(3)).json()[0]["matched_paper"].get<double>() == kPrintedControl);
  }

  TEST_CASE("paper kim: a small study, its page, and the same bytes when cut off and resumed") {
    const Workplace place;
    const std::vector<std::string> words = {"paper",   "kim",        "--dataset", "mnist",
                                            "--scale", "smoke",      "--quiet",   "--train-images",
                                            "40",      "--data-dir", small_data()};
    const auto run = [&](const std::vector<std::string>& more) {
      return place.output(words, more);
    };
    const Json result = Json::parse(run({"--out", "a", "--json", "-"}));
    KimOptions smoke;
    smoke.scale = "smoke";
    CHECK(result["mnist-fgsm"].size() == kim_arms(smoke).size());
    CHECK(result["schema"] == "paper-kim/1");
    CHECK(result["mnist-claims"].size() > 15);
    for (const char* part :
         {"## What the paper leaves open", "## Claims, mnist", "| control |", "(mnist-by-epoch."}) {
      CAPTURE(part);
      CHECK(place.read("a/report.md").find(part) != std::string::npos);
    }
    CHECK(place.read("a/report.html").find("masking-then-adversarial") != std::string::npos);
    REQUIRE(place.shell("cp -r a b && rm -r b/report.* b/mnist-fgsm.* b/mnist-masking-seed-0*").status == 0);
    run({"--out", "b", "--resume", "--threads", "1"});
    check_equal(contents(place.file("b")), contents(place.file("a")));
    const Outcome wrong = place.caltrop({"paper", "kim", "--temperature", "0"});
    CHECK((wrong.status == 2 && is_one_line(wrong.error)));
  }
}

}  // namespace
}  // namespace caltrop::test
