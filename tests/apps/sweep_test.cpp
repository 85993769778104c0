// caltrop sweep from end to end, on small trained networks.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "apps/report/latex.h"
#include "apps/study/sweep.h"
#include "engine/safetensors.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

// A workplace with two trained networks.
struct Swept : Workplace {
  Swept() {
    REQUIRE(caltrop(tiny_training({"--out", "one"})).status == 0);
    REQUIRE(caltrop(tiny_training({"--out", "two", "--seed", "5"})).status == 0);
  }

  std::vector<std::string> sweep(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"sweep",
                                      "--weights",
                                      "one/model.safetensors,b=two/model.safetensors",
                                      "--attacks",
                                      "fgsm,pgd:steps=4",
                                      "--eps",
                                      "0.05,26/255",
                                      "--seeds",
                                      "2",
                                      "--limit",
                                      "30",
                                      "--out",
                                      out,
                                      "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Files folder(const std::string& out, const std::vector<std::string>& more = {}) const {
    const Outcome outcome = caltrop(sweep(out, more));
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    CHECK(outcome.out.empty());
    return contents(file(out));
  }
};

const Json* row_of(const Json& rows, const Json& where) {
  for (const Json& row : rows) {
    bool same = true;
    for (const auto& [key, value] : where.items()) same = same && row.at(key) == value;
    if (same) return &row;
  }
  return nullptr;
}

TEST_SUITE("apps") {
  TEST_CASE("sweep: its numbers are those of the attacks one by one, its files whole") {
    const Swept place;
    const Files files = place.folder("out");
    for (const char* name : {"config.json", "results.csv", "results.json", "summary.csv", "summary.json",
                             "table-linf.tex", "curve-one-linf.gp", "curve-one-linf.dat", "curve-b-linf.gp",
                             "report.html", "mnist-one-seed-0-attacks.json", "mnist-b-seed-1-attacks.json"}) {
      CAPTURE(name);
      CHECK(files.contains(name));
    }
    if (place.shell("command -v gnuplot").status == 0) {
      CHECK(files.at("curve-b-linf.png").starts_with("\x89PNG"));
      CHECK(files.at("curve-b-linf.svg").find("<svg") != std::string::npos);
    }
    const Json results = Json::parse(files.at("results.json"))["rows"];
    CHECK(results.size() == 2 * 2 * 2 * 3);  // networks, sizes, seeds; two attacks and both together
    CHECK(Json::parse(files.at("summary.json"))["run"]["inputs"]["weights_crc32"].size() == 2);
    const Json one =
        Json::parse(place.output({"attack", "pgd", "--steps", "4", "--eps", "26/255", "--seed", "1",
                                  "--limit", "30", "--weights", "two/model.safetensors", "--json", "-"}));
    const Json* row =
        row_of(results, {{"network", "b"}, {"attack", "pgd:steps=4"}, {"size_asked", "26/255"}, {"seed", 1}});
    REQUIRE(row != nullptr);
    for (const char* key : {"size", "n", "clean_accuracy", "robust_accuracy", "success_rate",
                            "success_rate_of_correct", "mean_loss", "mean_linf"}) {
      CAPTURE(key);
      CHECK(row->at(key).dump() == one.at(key).dump());
    }
    // All together fool at least what each fools.
    const Json* all =
        row_of(results, {{"network", "b"}, {"attack", "all"}, {"size_asked", "26/255"}, {"seed", 1}});
    REQUIRE(all != nullptr);
    CHECK(all->at("robust") <= row->at("robust"));
    CHECK(all->at("success_rate").get<double>() ==
          doctest::Approx(1 - all->at("robust_accuracy").get<double>()));

    // Over seeds: what draws nothing has one value and no deviation.
    const Json summary = Json::parse(files.at("summary.json"))["rows"];
    const Json* fgsm = row_of(summary, {{"network", "one"}, {"attack", "fgsm"}, {"size_asked", "0.05"}});
    const Json* pgd =
        row_of(summary, {{"network", "one"}, {"attack", "pgd:steps=4"}, {"size_asked", "0.05"}});
    REQUIRE((fgsm != nullptr && pgd != nullptr));
    CHECK(fgsm->at("seeds") == 1);
    CHECK(fgsm->at("robust_accuracy_sd").is_null());
    CHECK(pgd->at("seeds") == 2);
    CHECK(pgd->at("robust_accuracy_sd").is_number());
    CHECK(pgd->at("clean_correct").get<double>() ==
          doctest::Approx(30 * pgd->at("clean_accuracy").get<double>()));

    // By class: sums over the classes are the whole.
    const Json stored = Json::parse(files.at("mnist-one-seed-0-attacks.json"));
    CHECK(stored["schema"] == "study-attacks/3");
    const Json& size = stored["attacks"][1]["sizes"][1];
    const Json of_b = Json::parse(files.at("mnist-b-seed-1-attacks.json"))["attacks"][1];
    CHECK(of_b["sizes"][1]["options"] == one["options"]);
    CHECK(of_b["clean_correct"] == row->at("clean_correct"));
    const Json& counts = size["tries"][0];
    int64_t images = 0, robust = 0, after = 0, right = 0;
    for (size_t k = 0; k < counts["classes"].size(); ++k) {
      const Json& one_class = counts["classes"][k];
      images += one_class["images"].get<int64_t>();
      robust += one_class["robust"].get<int64_t>();
      for (const Json& said : one_class["after"]) after += said.get<int64_t>();
      if (k < one_class["after"].size()) right += one_class["after"][k].get<int64_t>();
    }
    CHECK(images == 30);
    CHECK(after == 30);
    CHECK(robust == counts["robust"].get<int64_t>());
    CHECK(right == counts["correct"].get<int64_t>());
    const auto which = size["robust"].get<std::string>();
    CHECK(which.size() == 30);
    CHECK(std::ranges::count(which, '1') == robust);

    const std::string& tex = files.at("table-linf.tex");
    CHECK(tex.find("\\begin{tabular}{llrrr}\n\\toprule\nNetwork & Attack & clean & $\\epsilon=0.05$ & "
                   "$\\epsilon=26/255$ \\\\\n\\midrule\none & fgsm & ") != std::string::npos);
    CHECK(tex.find("\\mathbf{") != std::string::npos);
    CHECK(files.at("report.html").find("</html>") != std::string::npos);
  }

  TEST_CASE("sweep: the same bytes for any threads, after any kill, and with seeds added later") {
    const Swept place;
    const Files whole = place.folder("whole");
    check_equal(whole, place.folder("threads", {"--threads", "1", "--batch", "7"}));
    // Killed as soon as there is something of the first network, and as soon as there is something of the second.
    int kills = 0;
    for (const char* seen : {"killed/mnist-one-seed-0-attacks.json", "killed/mnist-b-seed-0-attacks.json"}) {
      const pid_t process = place.start(place.sweep("killed", {"--resume"}));
      while (::access(place.file(seen).c_str(), F_OK) != 0 &&
             ::access(place.file("killed/report.html").c_str(), F_OK) != 0)
        ::usleep(200);
      kills += stop(process) ? 1 : 0;
    }
    CHECK(kills >= 1);
    check_equal(whole, place.folder("killed", {"--resume"}));

    std::vector<std::string> one = place.sweep("grown");
    *std::next(std::ranges::find(one, "--seeds")) = "1";
    REQUIRE(place.caltrop(one).status == 0);
    CHECK_FALSE(contents(place.file("grown")).contains("mnist-one-seed-1-attacks.json"));
    check_equal(whole, place.folder("grown", {"--resume"}));
  }

  TEST_CASE("sweep: a plan writes nothing, and what is wrong is said before anything runs") {
    const Swept place;
    auto before = contents(place.path());
    const Outcome plan = place.caltrop(place.sweep("never", {"--dry-run", "--json", "-"}));
    CAPTURE(plan.error);
    REQUIRE(plan.status == 0);
    const Json said = Json::parse(plan.out);
    CHECK(said["schema"] == "study-plan/1");
    CHECK(said["parts"].size() == 2 * 2 * 2);
    CHECK(said["seconds"].get<double>() > 0);
    // The second seed of an attack that draws nothing takes no time.
    const Json* again = row_of(said["parts"], {{"network", "b"}, {"part", "fgsm"}, {"seed", 1}});
    REQUIRE(again != nullptr);
    CHECK(again->at("seconds") == 0);

    const std::vector<std::pair<std::vector<std::string>, std::string>> wrong = {
        {{"--attacks", "pgd,pdg"}, "pdg: attack: expected one of"},
        {{"--attacks", "pgd:stepz=3"}, "pgd:stepz=3: unknown option --stepz; did you mean --steps?"},
        {{"--attacks", "pgd:steps=0"}, "--steps: expected a whole number from 1"},
        {{"--attacks", "cw"}, "cw: --norm linf does not fit cw"},
        {{"--attacks", "fgsm:steps=4"}, "--steps is for attacks of more than one step"},
        {{"--attacks", "pgd,pgd"}, "two attacks are called 'pgd'"},
        {{"--eps", "0.1,0.1"}, "has the size 0.1 twice"},
        {{"--eps", "8"}, "--eps 8 is absurd"},
        {{"--weights", "one/model.safetensors,one/model.safetensors"}, "two networks are called one"},
        {{"--weights", "a/b=one/model.safetensors"}, "'a/b' is no name for a network"},
        {{"--weights", "one/model.safetensors,nowhere.safetensors"}, "nowhere.safetensors: no such file"}};
    for (const auto& [change, says] : wrong) {
      std::vector<std::string> words = place.sweep("never");
      *std::next(std::ranges::find(words, change[0])) = change[1];
      const Outcome outcome = place.caltrop(words);
      CAPTURE(outcome.error);
      CHECK(outcome.status != 0);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(says) != std::string::npos);
    }
    auto after = contents(place.path());
    for (const char* own : {".stdout", ".stderr"}) {
      before.erase(own);
      after.erase(own);
    }
    check_equal(before, after);
  }

  TEST_CASE("sweep: --arch is for the weights that do not say their network") {
    const Swept place;
    SafeTensorFile bare = read_safetensors(place.file("two/model.safetensors"));
    const std::string line = bare.metadata.at("arch");
    bare.metadata.clear();
    write_safetensors(place.file("bare.safetensors"), bare);
    std::vector<std::string> words = place.sweep("out", {"--arch", line, "--dataset", "mnist"});
    *std::next(std::ranges::find(words, "--weights")) = "one/model.safetensors,bare.safetensors";
    const Outcome outcome = place.caltrop(words);
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    const Json rows = Json::parse(place.read("out/results.json"))["rows"];
    REQUIRE(place.caltrop(place.sweep("named")).status == 0);
    const Json named = Json::parse(place.read("named/results.json"))["rows"];
    const Json where = {{"attack", "fgsm"}, {"size_asked", "0.05"}, {"seed", 0}};
    Json bare_where = where, b_where = where;
    bare_where["network"] = "bare", b_where["network"] = "b";
    CHECK(row_of(rows, bare_where)->at("robust") == row_of(named, b_where)->at("robust"));
    // Where all say theirs, another one is a contradiction.
    const Outcome refused = place.caltrop(place.sweep("never", {"--arch", "flatten | dense 10"}));
    CHECK(refused.status == 1);
    CHECK(refused.error.find("holds the network") != std::string::npos);
  }

  TEST_CASE("sweep: --until-robust ends where the answer is known, whatever the threads and the batch") {
    const Swept place;
    const std::vector<std::string> until = {"--until-robust", "0.5"};
    const auto with = [&](std::vector<std::string> more) {
      more.insert(more.end(), until.begin(), until.end());
      return more;
    };
    const Files whole = place.folder("whole"), ended = place.folder("ended", until);
    check_equal(ended, place.folder("other", with({"--threads", "1", "--batch", "3"})));
    const Json all = Json::parse(whole.at("results.json"))["rows"],
               some = Json::parse(ended.at("results.json"))["rows"];
    int fewer = 0;
    for (const Json& row : some) {
      if (row["attack"] == "all") {  // only of attacks that went to the end
        for (const Json& one : some) {
          const bool part = one["network"] == row["network"] && one["seed"] == row["seed"] &&
                            one["size_asked"] == row["size_asked"];
          if (part) CHECK(one["n"] == row["n"]);
        }
        continue;
      }
      const Json* full = row_of(all, {{"network", row["network"]},
                                      {"attack", row["attack"]},
                                      {"seed", row["seed"]},
                                      {"size_asked", row["size_asked"]}});
      REQUIRE(full != nullptr);
      CAPTURE(row.dump());
      CHECK(row["reached"] == (full->at("robust_accuracy").get<double>() >= 0.5 ? "yes" : "no"));
      CHECK(full->at("reached").is_null());
      CHECK(row["n"] <= full->at("n"));
      fewer += row["n"] < full->at("n");
    }
    CHECK(fewer > 0);
    // Over the seeds what is known of a cell that ended is the answer, and clean accuracy is of all images.
    const Json summary = Json::parse(ended.at("summary.json"))["rows"],
               full = Json::parse(whole.at("summary.json"))["rows"];
    int answers = 0;
    for (const Json& row : summary) {
      if (row["attack"] == "all") continue;
      CAPTURE(row.dump());
      const Json* all_images = row_of(
          full, {{"network", row["network"]}, {"attack", row["attack"]}, {"size_asked", row["size_asked"]}});
      REQUIRE(all_images != nullptr);
      CHECK(row["clean_accuracy"] == all_images->at("clean_accuracy"));
      CHECK(row["reached"].get<int64_t>() <= row["seeds"].get<int64_t>());
      if (row["robust_accuracy"].is_null())
        ++answers;
      else
        CHECK(row["robust_accuracy"] == all_images->at("robust_accuracy"));
    }
    CHECK(answers > 0);
    const std::string& tex = ended.at("table-linf.tex");
    CHECK((tex.find("$\\geq 50$") != std::string::npos || tex.find("$< 50$") != std::string::npos));
    CHECK(ended.at("report.html").find(" 50, ") != std::string::npos);
  }

  TEST_CASE("sweep: attacks by default steps that leave more than a point to another are named") {
    const auto point = [](const char* attack, double robust) {
      return SweepPoint{.dataset = "d",
                        .network = "n",
                        .attack = attack,
                        .asked = "0.1",
                        .eps = 0.1f,
                        .images = 100,
                        .robust = over_seeds({robust})};
    };
    const std::vector<StudyAttack> attacks = {{"pgd", attack_defaults(AttackKind::pgd), {}},
                                              {"apgd-ce", attack_defaults(AttackKind::apgd_ce), {}}};
    const auto words = flattered({point("pgd", 0.5), point("apgd-ce", 0.46), point("all", 0.4)}, attacks);
    REQUIRE(words.size() == 1);
    CHECK(words[0].starts_with("pgd leaves 4.0 points of n on d to apgd-ce at 0.1"));
    CHECK(flattered({point("pgd", 0.5), point("apgd-ce", 0.495)}, attacks).empty());
    CHECK(flattered({point("pgd", 0.4), point("apgd-ce", 0.5)}, attacks).empty());
  }

  TEST_CASE("LaTeX: words are escaped, numbers rounded, the best in bold") {
    CHECK(latex_text("a<b>") == "a\\textless{}b\\textgreater{}");
    CHECK(latex_text("a_b 5% {x} \\") == "a\\_b 5\\% \\{x\\} \\textbackslash{}");
    const LatexTable table{.comment = "one\ntwo",
                           .words = {"Who"},
                           .numbers = {"$x$", "$y$"},
                           .rows = {{{"a_1"}, {{over_seeds({0.5, 0.6}), true, {}}, {.bound = "< 50"}}, true},
                                    {{"b"}, {{}, {over_seeds({1}), false, {}}}, true}}};
    CHECK(latex_of(table) ==
          "% one\n% two\n\\begin{tabular}{lrr}\n\\toprule\nWho & $x$ & $y$ \\\\\n\\midrule\n"
          "a\\_1 & $\\mathbf{55.00 \\pm 7.07}$ & $< 50$ \\\\\n\\midrule\nb & -- & $100.00$ \\\\\n"
          "\\bottomrule\n\\end{tabular}\n");
  }
}

}  // namespace
}  // namespace caltrop::test
