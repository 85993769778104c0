// What runs of a defence found, over runs; numbers computed of them, and verdicts.
#include "defense/results.h"

#include <doctest/doctest.h>

#include "engine/error.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

const Detector kJudge = {"vote", "bootstrap", "exact"};

Judged judged_with(double accuracy, std::optional<double> detected) {
  Judged row{.who = kJudge};
  row.accuracy = accuracy;
  row.detected = detected;
  return row;
}

Judged at_size(double size, double fooled) {
  Judged row{.who = kJudge, .attack = "pgd", .norm = "l2", .size = size};
  row.fooled = fooled;
  return row;
}

TEST_SUITE("defense") {
  TEST_CASE("results: rows and numbers that are not there are named") {
    DefenceRun run;
    run.summary = {judged_with(0.5, {})};
    CHECK(run.number(kJudge, &Judged::accuracy) == 0.5);
    CHECK(refusal([&] {
            (void)run.number(kJudge, &Judged::detected);
          }).find("no detection_rate of vote after bootstrap on exact") != std::string::npos);
    CHECK(refusal([&] { (void)run.judged(kJudge, "cw"); }).find("under cw") != std::string::npos);
    CHECK(refusal([&] { (void)run.without("cw"); }).find("without cw") != std::string::npos);
    CHECK(refusal([&] { (void)run.worst_adaptive(); }).find("knows the defence") != std::string::npos);
    CHECK(refusal([&] { (void)worst_left_out({run}); }).find("left out") != std::string::npos);
  }

  TEST_CASE("results: numbers of a run and their mean over runs") {
    std::vector<DefenceRun> runs(2);
    runs[0].summary = {judged_with(0.5, 0.25)};
    runs[1].summary = {judged_with(0.75, {})};
    const OfRun accuracy(kJudge, &Judged::accuracy);
    const Mean mean = over_runs(runs, accuracy - 0.125 + 0.25);
    REQUIRE(mean);
    CHECK(mean->mean == 0.75);
    CHECK(mean->lowest == 0.625);
    CHECK(mean_of({accuracy, 1.0})(runs[0]) == 0.75);
    CHECK(lowest_of({accuracy, 0.6})(runs[1]) == 0.6);
    CHECK(highest_of({accuracy, 0.6})(runs[1]) == 0.75);
    // Where one run has none, there is no mean.
    CHECK_FALSE(over_runs(runs, [](const DefenceRun& run) { return run.judged(kJudge).detected; }));
    CHECK_FALSE(over_runs({}, accuracy));
  }

  TEST_CASE("results: what is lost without an attack is recall less false alarms") {
    DefenceRun run;
    run.left_out = {
        {"pgd", 0.875, 0.75, 0.0, 0.0}, {"cw", 0.875, 0.875, 0.0, 0.25}, {"fgsm", {}, {}, {}, {}}};
    CHECK(run.gain_without("pgd") == -0.125);
    CHECK(run.gain_without("cw") == -0.25);  // found as well, at the price of alarms
    CHECK_FALSE(run.gain_without("fgsm"));
    CHECK(worst_left_out({run}) == "cw");
    run.adaptive = {
        {"none", {}, {}, 0.25}, {"pgd", "l2", 1.0, 0.875}, {"any", "l2", 1.0, 0.5}, {"any", "l2", 2.0, 0.75}};
    CHECK(run.worst_adaptive() == 0.5);
  }

  TEST_CASE("results: sizes and curves over runs") {
    std::vector<DefenceRun> runs(2);
    runs[0].sizes = {at_size(1, 0.5), at_size(2, 0.75)};
    runs[1].sizes = {at_size(2, 0.25)};
    const std::vector<SizeScore> scores = over_sizes(runs, {"vote", "bootstrap", ""});
    REQUIRE(scores.size() == 2);
    CHECK_FALSE(scores[0].fooled);  // the second run has none of this size
    REQUIRE(scores[1].fooled);
    CHECK(scores[1].fooled->mean == 0.5);
    CHECK_FALSE(scores[1].detected);
    CHECK(over_sizes(runs, {"eat-1", "bootstrap", ""}).empty());

    for (DefenceRun& run : runs) {
      run.epochs = {{"eat-1", "bootstrap", 1, Score{1.0, 0.5}, {{"all", {2.0, 0.25}}}},
                    {"eat-2", "bootstrap", 1, Score{3.0, 1.0}, {{"all", {2.0, 0.75}}}},
                    {"eat-1", "cycle", 1, Score{9.0, 0.0}, {}},
                    {"vote", "bootstrap", 1, {}, {{"all", {1.0, 0.875}}}}};
    }
    CHECK(training_curve(runs, "bootstrap", "eat-1", &Score::loss).at(1).mean == 1.0);
    CHECK(training_curve(runs, "bootstrap", "", &Score::loss).at(1).mean == 2.0);
    CHECK(training_curve(runs, "bootstrap", "", &Score::loss).at(1).n == 4);
    CHECK(test_curve(runs, "bootstrap", "vote", "all", &Score::accuracy).at(1).mean == 0.875);
    CHECK(refusal([&] {
            (void)test_curve(runs, "bootstrap", "vote", "cw", &Score::loss);
          }).find("no test of vote with cw") != std::string::npos);
  }

  TEST_CASE("results: a verdict follows from the margin, where the seeds decide") {
    TestedClaim claim{"it holds", "", "", over_seeds({0.1})};
    CHECK(claim.verdict() == "survives");
    claim.margin = over_seeds({-0.1});
    CHECK(claim.verdict() == "does not survive");
    claim.margin = over_seeds({0.1, 0.3});
    CHECK(claim.verdict() == "undecided");
    claim.margin = over_seeds({0.1, 0.1001, 0.0999});
    CHECK(claim.verdict() == "survives");
  }
}

}  // namespace
}  // namespace caltrop::test
