// GMA sets in shares and in other forms, from end to end on a small trained network.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "data/npz.h"
#include "data/png.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

struct TrainedNetwork : Workplace {
  TrainedNetwork() { REQUIRE(caltrop(tiny_training({"--out", "net"})).status == 0); }

  Outcome run(std::vector<std::string> words, const std::vector<std::string>& more) const {
    words.insert(words.end(), {"--weights", "net/model.safetensors", "--quiet"});
    words.insert(words.end(), more.begin(), more.end());
    return caltrop(words);
  }
};

TEST_SUITE("apps") {
  TEST_CASE("gma generate: the shares of a set are together the set") {
    const TrainedNetwork place;
    const std::vector<std::string> words = {"gma",     "generate", "--subset", "test",
                                            "--limit", "12",       "--steps",  "2"};
    REQUIRE(place.run(words, {"--out", "whole"}).status == 0);
    for (const int shares : {2, 3}) {
      for (int i = 1; i <= shares; ++i) {
        const std::string shard = std::to_string(i) + "/" + std::to_string(shares);
        REQUIRE(place.run(words, {"--out", "share" + std::to_string(i), "--shard", shard}).status == 0);
        CHECK_FALSE(std::filesystem::exists(place.file("share" + std::to_string(i) + "/manifest.csv")));
      }
      REQUIRE(
          place.shell("mkdir joined && for f in share*; do cp $f/* joined; done && rm -r share*").status ==
          0);
      const Outcome joined = place.run(words, {"--out", "joined", "--resume"});
      CAPTURE(joined.error);
      REQUIRE(joined.status == 0);
      CHECK(contents(place.file("joined")) == contents(place.file("whole")));
      std::filesystem::remove_all(place.file("joined"));
    }
    for (const char* bad : {"0/2", "3/2", "1", "1/2x", "a/b", "-1/2"}) {
      const Outcome refused = place.run(words, {"--out", "never", "--shard", bad});
      CAPTURE(refused.error);
      CHECK((refused.status == 2 && is_one_line(refused.error)));
    }
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }

  TEST_CASE("gma generate: pictures instead of perturbations, or nothing but what the network said") {
    const TrainedNetwork place;
    const std::vector<std::string> words = {"gma", "generate", "--subset", "test",   "--limit",
                                            "5",   "--steps",  "2",        "--norm", "linf"};
    for (const char* store : {"delta", "png", "none"}) {
      REQUIRE(place.run(words, {"--out", store, "--store", store}).status == 0);
    }
    CHECK(place.read("png/manifest.csv") == place.read("delta/manifest.csv"));
    CHECK(place.read("none/manifest.csv") == place.read("delta/manifest.csv"));
    CHECK_FALSE(std::filesystem::exists(place.file("none/linf-000000.png")));
    const Image sheet = read_image(place.file("png/linf-000000.png"));
    REQUIRE((sheet.height == 5 * 28 && sheet.width == 31 * 28));
    const auto arrays = read_npz(place.file("delta/linf-000000.npz"));
    const auto x = arrays.at("x").values<uint8_t>("x");
    const auto delta = arrays.at("delta").values<float>("delta");
    for (size_t image = 0; image < 5; ++image) {
      for (size_t p = 0; p < 784; ++p) {
        const size_t row = (image * 28 + p / 28) * 31 * 28 + p % 28;
        CHECK_UNARY(sheet.pixels[row] == x[image * 784 + p]);
        const float exact = static_cast<float>(x[image * 784 + p]) + 255 * delta[(image * 30 + 4) * 784 + p];
        CHECK_UNARY(std::abs(static_cast<float>(sheet.pixels[row + 5 * 28]) - exact) <= 0.5001f);
      }
    }
    // A resumed run makes a missing picture again, with the same bytes.
    const std::string before = place.read("png/linf-000000.png");
    std::filesystem::remove(place.file("png/linf-000000.png"));
    REQUIRE(place.run(words, {"--out", "png", "--store", "png", "--resume"}).status == 0);
    CHECK(place.read("png/linf-000000.png") == before);
    const Outcome refused = place.run({"gma", "analyze", "--set", "none"}, {"--out", "never"});
    CHECK(refused.status == 1);
    CHECK(refused.error.find("--store") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }

  TEST_CASE("gma poison: within the budget, the same again, with its control; the meta-gradients agree") {
    const Workplace place;
    const std::vector<std::string> words = {
        "gma",      "poison", "--dataset", "digits",
        "--limit",  "300",    "--arch",    "conv 4 3x3 | gelu | avgpool 4 | flatten | dense 10",
        "--eps",    "0.1",    "--seeds",   "2",
        "--epochs", "1",      "--ascents", "2",
        "--unroll", "2",      "--group",   "16",
        "--quiet"};
    const auto run = [&](const std::vector<std::string>& more) {
      return place.output(words, more);
    };
    run({"--out", "a"});
    run({"--out", "b", "--threads", "1"});
    CHECK(contents(place.file("a")) == contents(place.file("b")));
    const auto arrays = read_npz(place.file("a/poison.npz"));
    const auto x = arrays.at("x").values<uint8_t>("x"), clean = arrays.at("clean").values<uint8_t>("clean");
    REQUIRE(x.size() == size_t{30} * 784);
    int largest = 0;
    for (size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(int{x[i]} - int{clean[i]}));
    CHECK((largest > 10 && largest <= 25));  // 0.1 of 255
    const Json result = Json::parse(place.read("a/poison.json"));
    REQUIRE(result["accuracy"].size() == 3);
    CHECK(result["accuracy"][0]["change"] == 0);
    CHECK(result["accuracy"][0]["targets_change"] == 0);
    CHECK(result["accuracy"][1]["targets"].get<double>() > 0);
    CHECK(result["runs"].size() == 6);
    CHECK(result["classes"].size() == 10);

    const Json lanes = Json::parse(run({"--check", "--json", "-"}))["lanes"];
    REQUIRE(lanes.size() == 6);
    for (const Json& lane : lanes) CHECK(lane["apart"].get<double>() <= 1e-3);
    const auto refused = [&](std::vector<std::string> more, const char* says) {
      more.insert(more.begin(), {"gma", "poison", "--dataset", "digits", "--limit", "100", "--quiet"});
      const Outcome outcome = place.caltrop(more);
      CAPTURE(outcome.error);
      CHECK((outcome.status != 0 && is_one_line(outcome.error)));
      CHECK(outcome.error.find(says) != std::string::npos);
    };
    refused({"--model", "kim-2-bn", "--out", "never"}, "batchnorm");
    refused({"--eps", "5", "--out", "never"}, "--eps 5 is absurd");
    refused({"--checkpoint", "2", "--out", "never"}, "--checkpoint is for --lane unrolled");
    refused({"--check", "--out", "never"}, "--check compares and writes no files");
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }

  TEST_CASE("gma visual: sheets, their scripts, and the same numbers again") {
    const TrainedNetwork place;
    const std::vector<std::string> words = {"gma", "visual", "--subset", "test", "--images", "8"};
    const Outcome first = place.run(words, {"--out", "a", "--json", "-"});
    CAPTURE(first.error);
    REQUIRE(first.status == 0);
    REQUIRE(place.run(words, {"--out", "b", "--threads", "1"}).status == 0);
    CHECK(contents(place.file("a")) == contents(place.file("b")));
    for (const char* name : {"visual-images.png", "visual.gp", "visual-perturbation-images.png",
                             "visual-similarity.csv", "visual-similarity.json"}) {
      CAPTURE(name);
      CHECK(std::filesystem::exists(place.file(std::string("a/") + name)));
    }
    // Among three images seven classes at least are missing, which is said.
    const Outcome few = place.caltrop({"gma", "visual", "--weights", "net/model.safetensors", "--norm",
                                       "linf", "--limit", "3", "--images", "1", "--out", "few", "--quiet"});
    CAPTURE(few.error);
    CHECK((few.status == 0 && is_one_line(few.error)));
    CHECK(few.error.find("no column for") != std::string::npos);
    CHECK(read_image_info(place.file("a/visual-images.png")).channels == 3);
    const Json table = Json::parse(first.out)["similarity"];
    REQUIRE(table.size() >= 66);  // 30 sizes under two norms and the bigger attacks
    double before = 2;
    for (const Json& row : table) {
      CHECK(row["ssim"].get<double>() <= 1 + 1e-6);
      CHECK(row[row["norm"].get<std::string>()].get<double>() <= row["eps"].get<double>() + 1e-5);
      if (row["norm"] != "linf" || row["size"].get<std::string>().find("e^-1") == std::string::npos) continue;
      CHECK(row["ssim"].get<double>() < before);  // larger perturbations are less alike
      before = row["ssim"].get<double>();
    }
  }

  TEST_CASE("paper gma-mia: what is left out is said, and what does not belong to a scale is refused") {
    const Workplace place;
    const Outcome missing = place.caltrop({"paper", "gma-mia", "--figure", "7", "--scale", "smoke",
                                           "--models", "resnet50", "--out", "never", "--quiet"});
    CHECK(missing.status == 1);
    CHECK(missing.error.find("none of --models belongs to this --scale") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
    const Outcome nowhere = place.caltrop({"paper", "gma-mia", "--figure", "7", "--scale", "smoke",
                                           "--data-dir", "empty", "--out", "never", "--quiet"});
    CHECK(nowhere.status == 1);
    CHECK(nowhere.error.find("empty") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
    const Outcome bad = place.caltrop({"paper", "gma-mia", "--figure", "24"});
    CHECK((bad.status == 2 && is_one_line(bad.error)));
  }

  TEST_CASE("paper gma-mia: figure 7 beside the paper's numbers, the same when cut off and resumed") {
    const Workplace place;
    const std::vector<std::string> words = {"paper",   "gma-mia", "--figure", "7",
                                            "--scale", "smoke",   "--quiet"};
    const auto run = [&](const std::vector<std::string>& more) {
      return place.output(words, more);
    };
    const Json result = Json::parse(run({"--out", "a", "--json", "-"}));
    REQUIRE(result["claims"].size() == 6);
    CHECK(result["claims"][0]["paper"] == 0.0062);
    for (const Json& claim : result["claims"]) {
      CHECK((claim["verdict"] == "holds" || claim["verdict"] == "does not hold"));
    }
    // Clean, GMA in two readings under two norms, three attacks at three sizes: larger sizes fool no less.
    REQUIRE(result["accuracy"].size() == 14);
    std::map<std::string, double> before;
    for (const Json& row : result["accuracy"]) {
      const auto attack = row["attack"].get<std::string>();
      if (attack != "cw" && attack != "pgd") continue;
      const auto accuracy = row["accuracy"].get<double>();
      CHECK(accuracy <= (before.contains(attack) ? before[attack] : 1.0));
      before[attack] = accuracy;
    }
    CHECK(before.size() == 2);
    // "GMA is stronger" is about GMA's number.
    CHECK(result["claims"][1]["ours"] == result["claims"][0]["ours"]);
    CHECK(result["skipped"].empty());
    for (const char* name :
         {"figure-7.gp", "figure-7.dat", "claims.csv", "accuracy.csv", "mnist-target-gma-l2.csv",
          "mnist-target-sizes.gp", "mnist-target.safetensors"}) {
      CAPTURE(name);
      CHECK(std::filesystem::exists(place.file(std::string("a/") + name)));
    }
    // Cut off after training, and after the attacks.
    REQUIRE(
        place.shell("cp -r a b && rm b/mnist-target-attacks.json b/claims.* && cp -r a c && rm c/figure-7.*")
            .status == 0);
    for (const char* folder : {"b", "c"}) {
      run({"--out", folder, "--resume", "--threads", "1"});
      CHECK(contents(place.file(folder)) == contents(place.file("a")));
    }
  }
}

}  // namespace
}  // namespace caltrop::test
