// The paper's defence as a study: numbers beside the paper's, means over seeds, verdicts that follow from numbers.
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>

#include "apps/paper/defence_shown.h"
#include "apps/paper/printed.h"
#include "defense/evaluation.h"
#include "tests/apps/program.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

namespace fs = std::filesystem;

Judged row(const std::string& model, const std::string& stage, const std::string& test, double accuracy,
           double detection_accuracy, double detection_rate) {
  Judged row;
  row.who = {model, stage, test};
  row.accuracy = accuracy;
  row.detection_accuracy = detection_accuracy;
  row.detected = detection_rate;
  row.false_alarms = 0.01;
  return row;
}

// A run in which everything that the paper says holds, `worse` by this much where a control decides.
DefenceRun made_up_run(double worse) {
  DefenceRun run;
  run.summary = {row(kVote, kBootstrap, kExact, 0.998, 0.999, 0.999),
                 row(kVote, kBootstrap, kRounded, 0.998, 0.999, 0.999 - worse),
                 row(kVote, kBootstrap, kExactLeft, 0.998, 0.999, 0.999),
                 row(kOffGrid, kUntrained, kExact, 0, 0.9 + worse, 1),
                 row("eat-3 wide", kThirdLonger, kExact, 0.97 + worse, 0.97, 0.97)};
  for (const std::string& model : kPaperMembers) {
    run.summary.push_back(row(model, kBootstrap, kExact, 0.98 + worse, 0.98, 0.98));
    run.summary.push_back(row(model, kThirdAgain, kExact, 0.95, 0.95, 0.95));
    run.summary.push_back(row(model, kFourthCycle, kExact, 0.951 + worse, 0.95, 0.95));
  }
  for (const std::string& attack : kPaperAttacks) {
    Judged under;
    under.who = {kVote, kBootstrap, kExact};
    under.attack = attack;
    under.accuracy = 0.998 - worse;
    under.detection_accuracy = 0.998;
    run.attacks.push_back(under);
  }
  run.left_out = {{.what = "cw",
                   .seen = 0.9,
                   .unseen = 0.98,  // more is found, and more clean images are called attacked
                   .seen_false_alarms = 0.01,
                   .false_alarms = 0.1 + worse}};
  run.adaptive = {{"none", {}, {}, 0.2}, {"any", {}, {}, 0.21 + worse}, {"pgd", {}, {}, 0.9}};
  return run;
}

TEST_SUITE("apps") {
  TEST_CASE("paper: a claim's verdict follows from its control") {
    for (const double worse : {0.0, 0.1}) {
      DefenceStudy study{.dataset = "mnist"};
      study.runs = {made_up_run(worse), made_up_run(worse)};
      study.rounded = {made_up_run(2 * worse), made_up_run(2 * worse)};
      const std::vector<TestedClaim> claims = defence_claims(study);
      REQUIRE(claims.size() == 9);
      for (const TestedClaim& claim : claims) {
        CAPTURE(claim.claim);
        CAPTURE(claim.ours);
        CHECK(claim.verdict() == (worse == 0.0 ? "survives" : "does not survive"));
      }
      const std::string report = report_opening({study}, "quick");
      CHECK((report.find("survive: none") != std::string::npos) == (worse > 0.0));
      CHECK((report.find("do not: none") != std::string::npos) == (worse == 0.0));
    }
    // Margins of seeds that lie on both sides of the threshold decide nothing; one seed's sign does.
    DefenceStudy apart{.dataset = "mnist"};
    apart.runs = {made_up_run(0.0), made_up_run(0.1)};
    apart.rounded = {made_up_run(0.0), made_up_run(0.2)};
    for (const TestedClaim& claim : defence_claims(apart)) {
      CAPTURE(claim.claim);
      CHECK(claim.verdict() == "undecided");
    }
    apart.runs.pop_back();
    apart.rounded.pop_back();
    for (const TestedClaim& claim : defence_claims(apart)) CHECK(claim.verdict() == "survives");
    // A control that was not run, or is called something else, is named; no claim is dropped in silence.
    const auto lacking = [](const std::function<void(DefenceRun&)>& change) {
      DefenceStudy study{.dataset = "mnist"};
      study.runs = study.rounded = {made_up_run(0.0)};
      change(study.runs[0]);
      return refusal([&] { (void)defence_claims(study); });
    };
    CHECK(lacking([](DefenceRun&) {}).empty());
    CHECK(lacking([](DefenceRun& run) {
            run.summary[4].who.stage = "cycle 40 % longer";
          }).find("nothing of eat-3 wide after cycle 40 % on") != std::string::npos);
    CHECK(lacking([](DefenceRun& run) { run.attacks.pop_back(); }).find("under cw") != std::string::npos);
    CHECK(lacking([](DefenceRun& run) { run.adaptive.clear(); }).find("knows the defence") !=
          std::string::npos);
    CHECK(lacking([](DefenceRun& run) { run.left_out.clear(); }).find("left out") != std::string::npos);
    CHECK(lacking([](DefenceRun& run) {
            run.summary[3].detection_accuracy.reset();
          }).find("no detection_accuracy of off-grid pixel") != std::string::npos);
    DefenceStudy bare{.dataset = "mnist"};
    bare.runs = {made_up_run(0.0)};
    CHECK(refusal([&] { (void)defence_claims(bare); }).find("rounded images") != std::string::npos);
  }

  TEST_CASE("paper: means over seeds, where every seed has the number; the paper's numbers") {
    std::vector<DefenceRun> runs(2);
    Judged row;
    row.who = {kVote, kBootstrap, kExact};
    row.attack = "pgd";
    runs[0].attacks = runs[1].attacks = {row};
    const auto f1 = [](const DefenceRun& run) {
      return run.judged({kVote, kBootstrap, kExact}, "pgd").f1;
    };
    runs[0].attacks[0].f1 = 0.5;
    CHECK_FALSE(over_runs(runs, f1));
    CHECK(in_percent(over_runs(runs, f1)) == "-");
    runs[1].attacks[0].f1 = 0.6;
    const Mean mean = over_runs(runs, f1);
    REQUIRE(mean);
    CHECK(mean->mean == doctest::Approx(0.55));
    CHECK(mean->deviation.value_or(0) == doctest::Approx(0.0707107));
    CHECK(in_percent(mean) == "55.00 ± 7.07");
    CHECK(in_percent(over_runs({runs[0]}, f1)) == "50.00");
    CHECK(printed_vote("mnist").at("cw").f1 == doctest::Approx(0.9920));
    CHECK(printed_vote("fashion-mnist").at("gma").accuracy == doctest::Approx(0.9976));
    CHECK(printed_network("mnist", "eat-3", 3).at("gma").f1 == doctest::Approx(0.9869));
    CHECK(printed_network("fashion-mnist", "eat-1", 0).at("cw").accuracy == doctest::Approx(0.7335));
  }

  TEST_CASE("paper gma-mia: Tables 3 and 5 and curves, the same when cut off and resumed") {
    const Workplace place;
    const std::vector<std::string> words = {"paper",   "gma-mia",   "--table", "all",     "--figure",
                                            "16",      "--dataset", "mnist",   "--scale", "smoke",
                                            "--quiet", "--cache",   "cache"};
    const auto run = [&](const std::vector<std::string>& more) {
      return place.output(words, more);
    };
    const Json result = Json::parse(run({"--out", "a", "--json", "-"}))["defence"];
    REQUIRE(result["table-5"].size() == 3 * 4 * 4);
    CHECK(result["table-5"][0]["f1_paper"].get<double>() == doctest::Approx(0.7280));
    CHECK_FALSE(result.contains("table-6"));
    REQUIRE(result["table-3"].size() == 4);
    const Json summary = Json::parse(place.read("a/mnist-seed-0/attacks.json"))["rows"];
    for (const Json& row : summary) {
      if (row["model"] != "vote" || row["stage"] != "bootstrap" || row["test"] != "exact") continue;
      for (const Json& cell : result["table-3"]) {
        if (cell["attack"] == row["attack"]) CHECK(cell["accuracy"] == row["accuracy"]);
      }
    }
    CHECK(result["defence-claims"].size() == 9);
    const std::string report = place.read("a/report.md");
    for (const char* part : {"these claims survive", "## Table 3", "## Table 5", "## The controls, mnist",
                             "| 4 adaptive |", "(mnist-sizes-recall.", "(figure-16-eat-1."}) {
      CAPTURE(part);
      CHECK(report.find(part) != std::string::npos);
    }
    for (const char* name : {"figure-16.csv", "figure-16-eat-1.gp", "figure-16-eat-3.dat", "mnist-sizes.csv",
                             "mnist-controls.json", "mnist-seed-0-8-bits/summary.csv"}) {
      CAPTURE(name);
      CHECK(fs::exists(place.file(std::string("a/") + name)));
    }
    // Cut off before the last run was judged, and before its first epoch.
    REQUIRE(place.shell("cp -r a b && rm b/report.md b/table-* b/mnist-seed-0-8-bits/defence.json").status ==
            0);
    REQUIRE(place.shell("cp -r a c && rm -r c/report.md c/mnist-seed-0-8-bits").status == 0);
    for (const char* folder : {"b", "c"}) {
      run({"--out", folder, "--resume", "--threads", "1"});
      CHECK(contents(place.file(folder)) == contents(place.file("a")));
    }
    const Outcome nothing =
        place.caltrop({"paper", "gma-mia", "--figure", "16", "--dataset", "fashion-mnist"});
    CHECK((nothing.status == 2 && is_one_line(nothing.error)));
    const Outcome unknown = place.caltrop({"paper", "gma-mia", "--table", "4"});
    CHECK((unknown.status == 2 && is_one_line(unknown.error)));
  }

  TEST_CASE("paper gma-mia: a study goes on with more seeds; those of Table 5 need no vote") {
    const Workplace place;
    const auto run = [&](const std::vector<std::string>& more) {
      (void)place.output({"paper", "gma-mia", "--table", "5", "--dataset", "mnist", "--scale", "smoke",
                          "--quiet", "--cache", "cache"},
                         more);
    };
    run({"--out", "one"});
    run({"--out", "one", "--resume", "--seeds", "2"});
    run({"--out", "two", "--seeds", "2"});
    CHECK(contents(place.file("one")) == contents(place.file("two")));
    const Json cells = Json::parse(place.read("one/table-5.json"))["rows"];
    const Json first = Json::parse(place.read("one/mnist-seed-0/attacks.json"))["rows"],
               second = Json::parse(place.read("one/mnist-seed-1/attacks.json"))["rows"];
    CHECK(cells[0]["f1"].get<double>() ==
          doctest::Approx((first[0]["f1"].get<double>() + second[0]["f1"].get<double>()) / 2));
    CHECK_FALSE(fs::exists(place.file("one/defence-claims.csv")));
    CHECK_FALSE(fs::exists(place.file("one/mnist-seed-0/eat-1-bootstrap.safetensors")));
  }
}

}  // namespace
}  // namespace caltrop::test
