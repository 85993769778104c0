// The paper's defence as a study: numbers beside the paper's, means over seeds, verdicts that follow from numbers.
#include <doctest/doctest.h>

#include <filesystem>

#include "apps/paper/defence_numbers.h"
#include "apps/paper/defence_report.h"
#include "apps/paper/defence_tables.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

namespace fs = std::filesystem;

Json summary_row(const std::string& model, const std::string& stage, const std::string& test, double accuracy,
                 double detection_accuracy, double detection_rate) {
  return {{"model", model},
          {"stage", stage},
          {"test", test},
          {"accuracy", accuracy},
          {"detection_accuracy", detection_accuracy},
          {"detection_rate", detection_rate},
          {"false_alarms", 0.01}};
}

// A run in which everything that the paper says holds, `worse` by this much where a control decides.
Json made_up_run(double worse) {
  Json summary = {summary_row("vote", "bootstrap", "exact", 0.998, 0.999, 0.999),
                  summary_row("vote", "bootstrap", "8 bits", 0.998, 0.999, 0.999 - worse),
                  summary_row("vote", "bootstrap", kExactLeft, 0.998, 0.999, 0.999),
                  summary_row("off-grid pixel", "no training", "exact", 0, 0.9 + worse, 1),
                  summary_row("eat-3 wide", "cycle 40 % on", "exact", 0.97 + worse, 0.97, 0.97)};
  for (const std::string& model : kPaperMembers) {
    summary.push_back(summary_row(model, "bootstrap", "exact", 0.98 + worse, 0.98, 0.98));
    summary.push_back(summary_row(model, "cycle 40 % again", "exact", 0.95, 0.95, 0.95));
    summary.push_back(summary_row(model, "cycle 50 %", "exact", 0.951 + worse, 0.95, 0.95));
  }
  Json attacks = Json::array();
  for (const std::string& attack : kPaperAttacks) {
    attacks.push_back({{"model", "vote"},
                       {"stage", "bootstrap"},
                       {"test", "exact"},
                       {"attack", attack},
                       {"accuracy", 0.998 - worse},
                       {"detection_accuracy", 0.998}});
  }
  return {{"summary", summary},
          {"attacks", attacks},
          {"leave_out",
           {{{"left_out", "cw"},
             {"seen", 0.9},
             {"seen_false_alarms", 0.01},
             {"unseen", 0.98},  // more is found, and more clean images are called attacked
             {"false_alarms", 0.1 + worse}}}},
          {"adaptive",
           {{{"attack", "none"}, {"wrong", 0.2}},
            {{"attack", "any"}, {"wrong", 0.21 + worse}},
            {{"attack", "pgd"}, {"wrong", 0.9}}}}};
}

TEST_SUITE("apps") {
  TEST_CASE("paper: a claim's verdict follows from its control") {
    for (const double worse : {0.0, 0.1}) {
      DefenceStudy study{.dataset = "mnist"};
      study.runs = {made_up_run(worse), made_up_run(worse)};
      study.rounded = {made_up_run(2 * worse), made_up_run(2 * worse)};
      const std::vector<DefenceClaim> claims = defence_claims(study);
      REQUIRE(claims.size() == 9);
      for (const DefenceClaim& claim : claims) {
        CAPTURE(claim.claim);
        CAPTURE(claim.ours);
        CHECK(claim.verdict() == (worse == 0.0 ? "survives" : "does not survive"));
      }
      const std::string report = report_text({study}, "quick", true, {});
      CHECK((report.find("survive: none") != std::string::npos) == (worse > 0.0));
      CHECK((report.find("do not: none") != std::string::npos) == (worse == 0.0));
    }
    // Margins of seeds that lie on both sides of the threshold decide nothing; one seed's sign does.
    DefenceStudy apart{.dataset = "mnist"};
    apart.runs = {made_up_run(0.0), made_up_run(0.1)};
    for (const DefenceClaim& claim : defence_claims(apart)) {
      CAPTURE(claim.claim);
      CHECK(claim.verdict() == "undecided");
    }
    apart.runs.pop_back();
    for (const DefenceClaim& claim : defence_claims(apart)) CHECK(claim.verdict() == "survives");
    // Where a control was not run, nothing is said.
    DefenceStudy bare{.dataset = "mnist"};
    bare.runs = {{{"summary", Json::array()}, {"attacks", Json::array()}}};
    CHECK(defence_claims(bare).empty());
  }

  TEST_CASE("paper: means over seeds, of the rows that match in all of them") {
    const std::vector<Json> runs = {
        {{"t", {{{"a", "x"}, {"v", 0.5}}, {{"a", "y"}, {"v", 0.7}}}}},
        {{"t", {{{"a", "x"}, {"v", 0.6}}}}},
    };
    const auto x = over_runs(runs, "t", {{"a", "x"}}, "v");
    REQUIRE(x);
    CHECK(x->mean == doctest::Approx(0.55));
    CHECK(x->deviation.value_or(0) == doctest::Approx(0.0707107));
    CHECK(in_percent(x) == "55.00 ± 7.07");
    CHECK(in_percent(over_runs({runs[0]}, "t", {{"a", "y"}}, "v")) == "70.00");
    CHECK_FALSE(over_runs(runs, "t", {{"a", "y"}}, "v"));
    CHECK_FALSE(over_runs(runs, "t", {{"a", "x"}}, "w"));
    CHECK_FALSE(over_runs(runs, "u", {}, "v"));
    CHECK(printed_vote("mnist", "cw").f1 == doctest::Approx(0.9920));
    CHECK(printed_vote("fashion-mnist", "gma").accuracy == doctest::Approx(0.9976));
    CHECK(printed_network("mnist", "eat-3", 3, "gma").f1 == doctest::Approx(0.9869));
    CHECK(printed_network("fashion-mnist", "eat-1", 0, "cw").accuracy == doctest::Approx(0.7335));
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
    const Json summary = Json::parse(place.read("a/mnist-seed-0/attacks.json"));
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
    const Json cells = Json::parse(place.read("one/table-5.json"));
    const Json first = Json::parse(place.read("one/mnist-seed-0/attacks.json")),
               second = Json::parse(place.read("one/mnist-seed-1/attacks.json"));
    CHECK(cells[0]["f1"].get<double>() ==
          doctest::Approx((first[0]["f1"].get<double>() + second[0]["f1"].get<double>()) / 2));
    CHECK_FALSE(fs::exists(place.file("one/defence-claims.csv")));
    CHECK_FALSE(fs::exists(place.file("one/mnist-seed-0/eat-1-bootstrap.safetensors")));
  }
}

}  // namespace
}  // namespace caltrop::test
