// Images attacked on one network and judged by another: transfer, eval --attacked, verify; and what attack says by image
// and class.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <sstream>

#include "apps/study/transfer.h"
#include "data/npz.h"
#include "engine/safetensors.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

struct TwoNetworks : Workplace {
  TwoNetworks() {
    REQUIRE(caltrop(tiny_training({"--out", "one"})).status == 0);
    REQUIRE(caltrop(tiny_training({"--out", "two", "--seed", "5"})).status == 0);
  }
};

const std::vector<std::string> kTransfer = {"transfer",
                                            "--weights",
                                            "one/model.safetensors,two/model.safetensors",
                                            "--attacks",
                                            "pgd:steps=4,deepfool:norm=linf",
                                            "--eps",
                                            "0.1,0.2",
                                            "--limit",
                                            "30"};

// Column `name` of a CSV without quoted fields.
std::vector<std::string> column(const std::string& csv, const std::string& name) {
  std::vector<std::string> values;
  std::istringstream lines(csv);
  size_t place = std::string::npos;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line + ",");
    size_t k = 0;
    for (std::string field; std::getline(fields, field, ','); ++k) {
      if (values.empty() && place == std::string::npos && field == name)
        place = k;
      else if (k == place)
        values.push_back(field);
    }
  }
  return values;
}

TEST_SUITE("apps") {
  TEST_CASE(
      "transfer: a network's own column is the attack's result, another's what it says of the stored "
      "images") {
    const TwoNetworks place;
    std::vector<std::string> words = kTransfer;
    words.insert(words.end(), {"--out", "t", "--quiet"});
    REQUIRE(place.caltrop(words).status == 0);
    const Files files = contents(place.file("t"));
    const Json rows = Json::parse(files.at("transfer.json"))["rows"];
    CHECK(rows.size() == 2 * 2 * 2 * 2);
    const auto row_of = [&](const char* source, const char* target, const char* attack) {
      for (const Json& row : rows)
        if (row["source"] == source && row["target"] == target && row["attack"] == attack &&
            row["size_asked"] == "0.2")
          return row;
      return Json();
    };
    REQUIRE(place
                .caltrop({"attack", "pgd", "--steps", "4", "--eps", "0.2", "--limit", "30", "--weights",
                          "one/model.safetensors", "--out", "pgd", "--quiet"})
                .status == 0);
    const Json attack = Json::parse(place.read("pgd/summary.json")),
               own = row_of("one", "one", "pgd:steps=4"), other = row_of("one", "two", "pgd:steps=4");
    CHECK(own["robust_accuracy"] == attack["robust_accuracy"]);
    CHECK(own["success_rate_of_correct"] == attack["success_rate_of_correct"]);
    CHECK(own["transfer_rate"] == 1.0);
    CHECK(own["fooled_source"] == attack["successes_of_correct"]);

    const Json judged = Json::parse(
        place.output({"eval", "--attacked", "pgd/adversarial.npz", "--weights", "two/model.safetensors",
                      "--json", "-", "--logits", "l.npz", "--features", "f.npz"}));
    CHECK(judged["made_on_this_network"] == false);
    REQUIRE(judged["sizes"].size() == 1);
    const Json& size = judged["sizes"][0];
    CHECK(size["robust_accuracy"] == other["robust_accuracy"]);
    CHECK(size["clean_correct"] == other["clean_correct"]);
    CHECK(size["success_rate"].get<double>() == doctest::Approx(size["successes"].get<double>() / 30));
    // The logits are those judged; the features, through the last layer, give them.
    const auto logits = read_npz(place.file("l.npz")), features = read_npz(place.file("f.npz"));
    CHECK(logits.at("logits").shape == std::vector<int64_t>{30, 10});
    CHECK(logits.at("clean_logits").shape == std::vector<int64_t>{30, 10});
    REQUIRE(features.at("features").shape.size() == 2);
    CHECK(features.at("features").shape[0] == 30);
    const SafeTensorFile weights = read_safetensors(place.file("two/model.safetensors"));
    const auto last = [&](const std::vector<int64_t>& shape) {
      const auto found =
          std::ranges::find_if(weights.tensors, [&](const auto& one) { return one.second.shape == shape; });
      REQUIRE(found != weights.tensors.end());
      return found->second.floats();
    };
    const int64_t width = features.at("features").shape[1];
    const std::span<const float> w = last({10, width}), bias = last({10}),
                                 x = features.at("features").values<float>("features"),
                                 y = logits.at("logits").values<float>("logits");
    double farthest = 0;
    for (int64_t n = 0; n < 30; ++n) {
      for (int64_t k = 0; k < 10; ++k) {
        const auto row = x.subspan(static_cast<size_t>(n * width), static_cast<size_t>(width));
        const auto column = w.subspan(static_cast<size_t>(k * width), static_cast<size_t>(width));
        const double product = std::inner_product(row.begin(), row.end(), column.begin(),
                                                  static_cast<double>(bias[static_cast<size_t>(k)]));
        farthest = std::max(farthest, std::abs(product - y[static_cast<size_t>(n * 10 + k)]));
      }
    }
    CHECK(farthest < 1e-4);
    const Json again = Json::parse(place.output(
        {"eval", "--attacked", "pgd/adversarial.npz", "--weights", "one/model.safetensors", "--json", "-"}));
    CHECK(again["made_on_this_network"] == true);
    for (const char* key : {"robust_accuracy", "successes", "by_class", "confusion"}) {
      CAPTURE(key);
      CHECK(again["sizes"][0][key] == attack[key]);
    }
    CHECK(again["sizes"][0]["calibration_error"].get<double>() ==
          doctest::Approx(attack["calibration_error"].get<double>()).epsilon(1e-4));

    // Cut off behind the first source, and on another number of threads.
    REQUIRE(
        place.shell("cp -r t cut && rm cut/two-transfer.json cut/transfer.csv cut/transfer.json").status ==
        0);
    REQUIRE(place.caltrop({"transfer", "--resume", "--out", "cut", "--threads", "1", "--quiet"}).status == 0);
    check_equal(files, contents(place.file("cut")));

    for (const auto& [change, says] :
         {std::pair(std::vector<std::string>{"--weights", "one/model.safetensors"}, "two networks or more"),
          {{"--attacks", "pgd,pgd"}, "two attacks are called"},
          {{"--eps", "0.1,x"}, "--eps: expected numbers"}}) {
      std::vector<std::string> wrong = kTransfer;
      *std::next(std::ranges::find(wrong, change[0])) = change[1];
      wrong.insert(wrong.end(), {"--out", "never"});
      const Outcome outcome = place.caltrop(wrong);
      CAPTURE(outcome.error);
      CHECK(outcome.status == 2 - (change[1] == "pgd,pgd"));
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(says) != std::string::npos);
    }
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
    const Outcome both = place.caltrop({"eval", "--attacked", "pgd/adversarial.npz", "--dataset", "mnist",
                                        "--weights", "one/model.safetensors"});
    CHECK(both.status == 2);
    CHECK(both.error.find("excludes") != std::string::npos);
  }

  TEST_CASE("transfer: a share of no image is absent") {
    Transferred row;
    CHECK_FALSE(row.transfer_rate().has_value());
    row.fooled_source_right = 4, row.fooled_both = 1;
    CHECK(row.transfer_rate() == 0.25);
  }

  TEST_CASE("eval --features: refused before the work where the last layer is no dense one") {
    const Workplace place;
    REQUIRE(place
                .caltrop(tiny_training(
                    {"--arch", "conv 2 3x3 | maxpool 4 | flatten | dense 10 | relu", "--out", "net"}))
                .status == 0);
    const Outcome outcome = place.caltrop(
        {"eval", "--weights", "net/model.safetensors", "--features", "f.npz", "--out", "never", "--quiet"});
    CHECK(outcome.status == 1);
    CHECK(is_one_line(outcome.error));
    CHECK(outcome.error.find("--features: they are what a last dense layer takes, but ") !=
          std::string::npos);
    CHECK(outcome.error.find("net/model.safetensors ends in 'relu'") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(place.file("f.npz")));
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }

  TEST_CASE("verify: whose success is whose") {
    const TwoNetworks place;
    REQUIRE(place
                .caltrop({"attack", "pgd", "--eps", "0.2", "--limit", "30", "--weights",
                          "one/model.safetensors", "--out", "pgd", "--quiet"})
                .status == 0);
    const Json summary = Json::parse(place.read("pgd/summary.json"));
    const auto verdict = [&](const char* weights, int status) {
      const Outcome outcome =
          place.caltrop({"verify", "pgd/adversarial.npz", "--weights", weights, "--json", "-"});
      CAPTURE(outcome.error);
      CHECK(outcome.status == status);
      return std::pair(Json::parse(outcome.out), outcome.error);
    };
    const Json own = verdict("one/model.safetensors", 0).first;
    CHECK(own["made_on_this_network"] == true);
    CHECK(own["claimed_success_rate"] == own["success_rate"]);
    CHECK(own["success_rate"] == summary["success_rate"]);
    const auto [other, said] = verdict("two/model.safetensors", 1);
    CHECK(other["made_on_this_network"] == false);
    CHECK(other["claimed_success_rate"] == summary["success_rate"]);
    CHECK(said.find("the set was made on other weights") != std::string::npos);
    CHECK(said.find("not those of ") != std::string::npos);
    const Json judged = Json::parse(place.output(
        {"eval", "--attacked", "pgd/adversarial.npz", "--weights", "two/model.safetensors", "--json", "-"}));
    CHECK(other["success_rate"] == judged["sizes"][0]["success_rate"]);
    CHECK(other["success_rate_8bit"] <= other["success_rate"]);
    REQUIRE(place.shell("rm pgd/config.json").status == 0);
    const Outcome unknown =
        place.caltrop({"verify", "pgd/adversarial.npz", "--weights", "one/model.safetensors", "--norm",
                       "linf", "--eps", "0.2", "--json", "-"});
    CHECK(Json::parse(unknown.out)["made_on_this_network"].is_null());
  }

  TEST_CASE("attack: passes of each image, the attack that made it, classes and confusion") {
    const TwoNetworks place;
    REQUIRE(place
                .caltrop({"attack", "autoattack", "--eps", "0.1", "--limit", "8", "--weights",
                          "one/model.safetensors", "--out", "aa", "--quiet"})
                .status == 0);
    const Json summary = Json::parse(place.read("aa/summary.json"));
    const std::string images = place.read("aa/images.csv");
    for (const char* key : {"forward_passes", "backward_passes"}) {
      const std::vector<std::string> each = column(images, key);
      REQUIRE(each.size() == 8);
      const int64_t sum =
          std::accumulate(each.begin(), each.end(), int64_t{0},
                          [](int64_t so_far, const std::string& one) { return so_far + std::stoll(one); });
      CHECK(sum == summary[key].get<int64_t>());
    }
    std::map<std::string, int64_t> by;
    const std::vector<std::string> made = column(images, "by"), success = column(images, "success"),
                                   label = column(images, "label"),
                                   clean = column(images, "clean_prediction");
    for (size_t i = 0; i < made.size(); ++i) by[made[i]] += success[i] == "1" && label[i] == clean[i];
    std::erase_if(by, [](const auto& one) { return one.second == 0; });
    CHECK(Json(by) == summary["by"]);
    int64_t counted = 0, robust = 0;
    for (const Json& row : summary["by_class"]) {
      counted += row["images"].get<int64_t>();
      robust += std::llround(row["robust_accuracy"].get<double>() * row["images"].get<double>());
    }
    CHECK(counted == 8);
    CHECK(static_cast<double>(robust) / 8 == summary["robust_accuracy"].get<double>());
    CHECK(place.read("aa/confusion.csv").starts_with("true_class,"));
  }
}

}  // namespace
}  // namespace caltrop::test
