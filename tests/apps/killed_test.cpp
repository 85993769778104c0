// Attacks that are killed: with --resume they end with the same bytes.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>

#include "data/npz.h"
#include "tests/apps/attacked.h"

namespace caltrop::test {
namespace {

TEST_SUITE("apps") {
  TEST_CASE("gma generate: a set that is killed ends with the same bytes, and analyze reads it") {
    const Attacked place;
    const std::vector<std::string> words = {"gma",     "generate", "--subset", "test",
                                            "--limit", "30",       "--steps",  "3"};
    const Files whole = place.folder(words, "whole");
    CHECK(whole.contains("manifest.csv"));
    CHECK(std::count(whole.at("manifest.csv").begin(), whole.at("manifest.csv").end(), '\n') ==
          30 * 30 * 2 + 1);

    // As after a kill: one part is missing, another was never renamed into place.
    REQUIRE(
        place
            .shell(
                "cp -r whole cut && rm cut/manifest.csv cut/l2-000000.npz && echo x > cut/.l2-000000.npz.tmp")
            .status == 0);
    std::vector<std::string> again = words;
    again.insert(again.end(), {"--resume"});
    place.folder(again, "cut");
    Files cut = contents(place.file("cut"));
    cut.erase(".l2-000000.npz.tmp");
    check_equal(whole, cut);

    const Json analysis = json_of(place.attack({"gma", "analyze", "--set", "whole", "--json", "-"}));
    REQUIRE(analysis["norms"].size() == 2);
    for (const Json& norm : analysis["norms"]) {
      CHECK(norm["sizes"].size() == 30);
      CHECK(norm["n"] == 30);
    }
    const Json crafted = json_of(
        place.attack({"gma", "analyze", "--limit", "30", "--steps", "3", "--tries", "1", "--json", "-"}));
    CHECK(crafted["norms"][0]["sizes"][0]["accuracy"] == analysis["norms"][0]["sizes"][0]["accuracy"]);
    CHECK(crafted["norms"][1]["worst_accuracy"] == analysis["norms"][1]["worst_accuracy"]);
  }

  TEST_CASE("gma generate: SIGKILL at any moment and --resume give the same bytes") {
    const Attacked place;
    const std::vector<std::string> words = {"gma",
                                            "generate",
                                            "--subset",
                                            "test",
                                            "--limit",
                                            "24",
                                            "--steps",
                                            "30",
                                            "--out",
                                            "killed",
                                            "--quiet",
                                            "--weights",
                                            "net/model.safetensors"};
    std::vector<std::string> whole = words;
    std::replace(whole.begin(), whole.end(), std::string("killed"), std::string("whole"));
    REQUIRE(place.caltrop(whole).status == 0);
    std::vector<std::string> resumed = words;
    resumed.emplace_back("--resume");
    int kills = 0;
    // Killed as soon as the run has come this far; the last time while it writes the second part or the
    // manifest.
    for (const char* reached : {"config.json", "linf-000000.npz", ".l2-000000.npz.tmp", "l2-000000.npz"}) {
      const std::string sign = place.file("killed").string() + "/" + reached;
      const std::string end = place.file("killed").string() + "/manifest.csv";
      const pid_t process = place.start(resumed);
      while (::access(sign.c_str(), F_OK) != 0 && ::access(end.c_str(), F_OK) != 0) ::usleep(100);
      kills += stop(process) ? 1 : 0;
    }
    CHECK(kills >= 2);
    const Outcome outcome = place.caltrop(resumed);
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    check_equal(contents(place.file("whole")), contents(place.file("killed")));
    // A set that lacks its end is not analysed by mistake.
    std::filesystem::remove(place.file("killed/manifest.csv"));
    const Outcome refused = place.attack({"gma", "analyze", "--set", "killed", "--out", "never"});
    CHECK(refused.status != 0);
    CHECK(refused.error.find("--resume") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }

  TEST_CASE("attack, gma analyze and demo: killed and resumed they end with the same bytes") {
    const Attacked place;
    const std::string weights = "net/model.safetensors";
    struct Run {
      std::vector<std::string> words;
      const char *first, *last;  // files that it leaves
    };
    const std::vector<Run> runs = {
        {{"attack", "pgd", "--weights", weights, "--limit", "40", "--steps", "30"},
         "adversarial.npz",
         "summary.json"},
        {{"gma", "analyze", "--weights", weights, "--limit", "20"}, "gma-linf.csv", "analysis.json"},
        {{"demo", "--dataset", "digits", "--limit", "300", "--epochs", "1", "--images", "12",
          "--defence-epochs", "1", "--adaptive", "2"},
         "defence/eat-1-cycle-15.safetensors",
         "demo.json"}};
    for (const Run& run : runs) {
      CAPTURE(run.words[0]);
      std::vector<std::string> whole = run.words, killed = run.words;
      whole.insert(whole.end(), {"--out", run.words[0] + "-whole", "--quiet"});
      REQUIRE(place.caltrop(whole).status == 0);
      const std::string folder = run.words[0] + "-killed";
      killed.insert(killed.end(), {"--out", folder, "--quiet", "--resume"});
      int kills = 0;
      for (const char* reached : {"config.json", run.first}) {
        const std::string sign = place.file(folder).string() + "/" + reached;
        const std::string end = place.file(folder).string() + "/" + run.last;
        const pid_t process = place.start(killed);
        while (::access(sign.c_str(), F_OK) != 0 && ::access(end.c_str(), F_OK) != 0) ::usleep(100);
        kills += stop(process) ? 1 : 0;
      }
      CHECK(kills >= 1);
      // What the folder says is enough to go on.
      std::vector<std::string> rest = {run.words[0]};
      if (run.words[0] == "gma") rest.push_back(run.words[1]);
      rest.insert(rest.end(), {"--resume", "--out", folder, "--quiet"});
      const Outcome outcome = place.caltrop(rest);
      CAPTURE(outcome.error);
      REQUIRE(outcome.status == 0);
      check_equal(contents(place.file(run.words[0] + "-whole")), contents(place.file(folder)));
    }
  }
}

}  // namespace
}  // namespace caltrop::test
