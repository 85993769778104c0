// Stored sets of attacked images: what attacks leave, verify believes, GMA measures and export draws.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "data/npz.h"
#include "tests/apps/attacked.h"

namespace caltrop::test {
namespace {

TEST_SUITE("apps") {
  TEST_CASE("attack: the stored set is what the summary says") {
    const Attacked place;
    const std::vector<std::string> words = {"attack", "pgd", "--eps", "0.2", "--limit", "60"};
    const Files first = place.folder(words, "a");
    for (const char* name : {"config.json", "summary.json", "images.csv", "adversarial.npz", "grid.png"}) {
      CAPTURE(name);
      CHECK(first.contains(name));
    }
    const Json summary = Json::parse(first.at("summary.json"));
    const auto arrays = read_npz(place.file("a/adversarial.npz"));
    const auto delta = arrays.at("delta").values<float>("delta");
    const auto x = arrays.at("x").values<uint8_t>("x");
    const auto success = arrays.at("success").values<uint8_t>("success");
    REQUIRE(delta.size() == size_t{60} * 784);
    float largest = 0;
    for (size_t i = 0; i < delta.size(); ++i) {
      largest = std::max(largest, std::fabs(delta[i]));
      const float pixel = static_cast<float>(x[i]) / 255.0f + delta[i];
      CHECK_UNARY(pixel >= -1e-6f && pixel <= 1.0f + 1e-6f);
    }
    CHECK(largest <= 0.2f + 1e-6f);
    CHECK(std::fabs(largest - summary["max_linf"].get<float>()) <= 1e-6f);
    const auto fooled = std::count(success.begin(), success.end(), 1);
    CHECK(summary["success_rate"].get<double>() == doctest::Approx(static_cast<double>(fooled) / 60.0));
    CHECK(summary["robust_accuracy"].get<double>() < summary["clean_accuracy"].get<double>());

    check_equal(first, place.folder({"attack", "pgd", "--eps", "0.2", "--limit", "60", "--batch", "7",
                                     "--threads", "1"},
                                    "b"));
    const Outcome repeated = place.caltrop({"attack", "--config", "a/config.json", "--out", "c", "--quiet"});
    CAPTURE(repeated.error);
    CHECK(repeated.status == 0);
    check_equal(first, contents(place.file("c")));
  }

  TEST_CASE("attack: the suite from the command line, and verify reads what it left") {
    const Attacked place;
    const std::vector<std::vector<std::string>> attacks = {
        {"attack", "cw", "--steps", "40", "--cw-rounds", "2", "--cw-constant", "1"},
        {"attack", "deepfool", "--norm", "linf"},
        {"attack", "apgd-ce", "--eps", "0.1", "--steps", "10"},
        {"attack", "fab", "--steps", "5", "--eps", "0.05"},
        {"attack", "square", "--eps", "0.1", "--steps", "30"},
        {"attack", "pgd", "--preset", "foolbox", "--steps", "5", "--eps", "0.1"}};
    for (std::vector<std::string> words : attacks) {
      const std::string out = words[1];
      words.insert(words.end(), {"--limit", "12"});
      const Files files = place.folder(words, out);
      CAPTURE(out);
      const Json summary = Json::parse(files.at("summary.json"));
      CHECK(summary["norms"]["l2"].contains("median"));
      CHECK(summary["warnings"].is_array());
      const Json verdict = json_of(place.attack({"verify", out + "/adversarial.npz", "--json", "-"}));
      CHECK(verdict["holds"] == true);
      CHECK(verdict["n"] == 12);
      CHECK(verdict["success_rate"].get<double>() == doctest::Approx(summary["success_rate"].get<double>()));
    }
    const Json all =
        json_of(place.attack({"attack", "autoattack", "--eps", "0.1", "--limit", "6", "--json", "-"}));
    CHECK(all["by"].is_object());
    // Another bound than the set was made for, and other weights than those that it fools.
    const Outcome tight = place.attack({"verify", "apgd-ce/adversarial.npz", "--eps", "0.05"});
    CHECK(tight.status == 1);
    CHECK(tight.error.find("claims do not hold") != std::string::npos);
    REQUIRE(place.caltrop(tiny_training({"--out", "other", "--seed", "5"})).status == 0);
    CHECK(
        place.caltrop({"verify", "apgd-ce/adversarial.npz", "--weights", "other/model.safetensors"}).status ==
        1);
    place.folder({"gma", "generate", "--subset", "test", "--limit", "3", "--steps", "1", "--norm", "l2"},
                 "gma");
    CHECK(json_of(place.attack({"verify", "gma/l2-000000.npz", "--json", "-"}))["n"] == 90);
  }

  TEST_CASE("verify: the data set is believed, not the stored images and labels") {
    const Attacked place;
    place.folder({"attack", "fgsm", "--eps", "0.2", "--limit", "20", "--subset", "train"}, "set");
    const auto verdict_on = [&](const std::string& set, std::vector<std::string> more) {
      more.insert(more.begin(), {"verify", set + "/adversarial.npz", "--json", "-"});
      const Outcome outcome = place.attack(more);
      CAPTURE(outcome.error);
      REQUIRE(outcome.status <= 1);
      return Json::parse(outcome.out);
    };
    const auto broken = [](const Json& verdict, const std::string& name) {
      for (const Json& claim : verdict["claims"]) {
        if (claim["claim"] == name) return claim["broken"].get<int64_t>();
      }
      return int64_t{-1};  // not among those checked
    };
    const std::string images = "clean images are the data set's", labels = "labels are the data set's";
    // The subset comes from config.json, the data set's place from the user.
    const Json sound = verdict_on("set", {"--dataset", "mnist", "--norm", "linf", "--eps", "0.2"});
    CHECK(sound["holds"] == true);
    CHECK(sound["trusted"].empty());
    CHECK(broken(sound, images) == 0);
    CHECK(broken(sound, labels) == 0);
    const Json alone = verdict_on("set", {});
    CHECK(alone["trusted"] == Json({"clean images and labels", "norm", "size"}));
    CHECK(broken(alone, labels) == -1);

    // A set that says of each image that fools nothing that its label is another: a success of its own making.
    std::filesystem::copy(place.file("set"), place.file("forged"));
    const auto arrays = read_npz(place.file("set/adversarial.npz"));
    const auto forge = [&](const std::function<void(std::vector<int32_t>&, std::vector<int64_t>&)>& change) {
      NpzWriter file(place.file("forged/adversarial.npz"));
      for (const auto& [name, array] : arrays) {
        if (array.dtype == "<f4") file.add(name, array.shape, array.values<float>(name));
        if (array.dtype == "|u1") {
          std::vector<uint8_t> values(array.bytes.size());
          for (size_t i = 0; i < values.size(); ++i)
            values[i] = name == "success" ? 1 : uint8_t(array.bytes[i]);
          file.add(name, array.shape, values);
        }
      }
      const auto given_labels = arrays.at("label").values<int32_t>("label");
      const auto given_index = arrays.at("index").values<int64_t>("index");
      std::vector<int32_t> label(given_labels.begin(), given_labels.end());
      std::vector<int64_t> index(given_index.begin(), given_index.end());
      change(label, index);
      for (const char* name : {"prediction", "clean_prediction"}) {
        file.add(name, arrays.at(name).shape, arrays.at(name).values<int32_t>(name));
      }
      file.add("label", arrays.at("label").shape, std::span<const int32_t>(label));
      file.add("index", arrays.at("index").shape, std::span<const int64_t>(index));
      file.close();
    };
    const auto predicted = arrays.at("prediction").values<int32_t>("prediction");
    forge([&](std::vector<int32_t>& label, std::vector<int64_t>&) {
      for (size_t i = 0; i < label.size(); ++i) label[i] = (predicted[i] + 1) % 10;
    });
    CHECK(verdict_on("forged", {})["holds"] == true);
    const Json caught = verdict_on("forged", {"--dataset", "mnist"});
    CHECK(caught["holds"] == false);
    CHECK(broken(caught, labels) > 0);
    CHECK(broken(caught, images) == 0);
    forge([](std::vector<int32_t>&, std::vector<int64_t>& index) { index[1] = index[0]; });
    CHECK(broken(verdict_on("forged", {}), "no image counts twice") == 1);
    forge([](std::vector<int32_t>&, std::vector<int64_t>& index) { index[0] = 499; });
    CHECK(broken(verdict_on("forged", {"--dataset", "mnist"}), images) == 1);
    forge([](std::vector<int32_t>&, std::vector<int64_t>& index) { index[0] = 500; });
    for (const std::vector<std::string>& more :
         std::vector<std::vector<std::string>>{{"--dataset", "mnist"}, {"--subset", "train"}, {"--resume"}}) {
      std::vector<std::string> words = {"verify", "forged/adversarial.npz", "--quiet"};
      words.insert(words.end(), more.begin(), more.end());
      const Outcome outcome = place.attack(words);
      CAPTURE(outcome.error);
      CHECK(outcome.status != 0);
      CHECK(is_one_line(outcome.error));
    }

    const Files files = place.folder({"verify", "set/adversarial.npz", "--dataset", "mnist"}, "verdict");
    CHECK(files.contains("config.json"));
    CHECK(files.contains("claims.csv"));
    CHECK(Json::parse(files.at("verdict.json"))["holds"] == true);
  }

  TEST_CASE("config.json leaves out what a run did not read, and still repeats it") {
    const Attacked place;
    place.folder({"attack", "fgsm", "--eps", "0.1", "--limit", "6"}, "set");
    place.folder({"gma", "generate", "--subset", "test", "--limit", "2", "--steps", "1", "--norm", "l2"},
                 "gma");
    const auto config = [&](const std::string& folder) {
      return Json::parse(place.read(folder + "/config.json"));
    };
    const std::vector<std::pair<std::string, std::vector<std::string>>> runs = {
        {"judged", {"eval", "--attacked", "set/adversarial.npz"}},
        {"verdict", {"verify", "set/adversarial.npz"}},
        {"replay", {"gma", "analyze", "--set", "gma", "--norm", "l2"}},
        {"pictures", {"export", "--attacked", "set/adversarial.npz"}}};
    for (const auto& [out, words] : runs) {
      CAPTURE(out);
      Files first = place.folder(words, out);
      for (const char* flag : {"dataset", "split", "split-seed", "subset", "limit"})
        CHECK_FALSE(config(out).contains(flag));
      std::vector<std::string> again = {words[0], "--config", out + "/config.json", "--out", out + "-again"};
      if (words[0] == "gma") again.insert(again.begin() + 1, words[1]);
      again.emplace_back("--quiet");
      const Outcome outcome = place.caltrop(again);
      CAPTURE(outcome.error);
      REQUIRE(outcome.status == 0);
      check_equal(first, contents(place.file(out + "-again")));
    }
    CHECK_FALSE(config("replay").contains("tries"));
    CHECK(config("set")["dataset"] == "mnist");
    CHECK(Json::parse(place.folder({"verify", "set/adversarial.npz", "--dataset", "mnist"}, "known")
                          .at("config.json"))["subset"] == "test");
    // A folder from before, which holds them, is the same run.
    Json before = config("judged");
    before["dataset"] = "auto";
    before["subset"] = "test";
    place.write("judged/config.json", before.dump());
    const std::vector<std::string> on = {"eval",     "--attacked", "set/adversarial.npz",
                                         "--resume", "--out",      "judged"};
    CHECK(place.attack(on).status == 0);
    before["subset"] = "train";
    place.write("judged/config.json", before.dump());
    CHECK(place.attack(on).error.find("has --subset \"train\", not \"test\"") != std::string::npos);
  }

  TEST_CASE("gma analyze: a set is measured, not believed") {
    const Attacked place;
    place.folder({"gma", "generate", "--subset", "test", "--limit", "12", "--steps", "2"}, "set");
    const auto refused = [&](const std::string& change, const std::string& says) {
      REQUIRE(place.shell("rm -rf bad && cp -r set bad && cd bad && " + change).status == 0);
      const Outcome outcome = place.attack({"gma", "analyze", "--set", "bad", "--out", "never"});
      CAPTURE(outcome.error);
      CHECK(outcome.status == 1);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(says) != std::string::npos);
    };
    refused("cp l2-000000.npz l2-000012.npz", "l2-000012.npz: its 360 rows");
    refused("sed -i '$d' manifest.csv", "manifest.csv, which lists 359");
    refused("mv l2-000000.npz l2-000001.npz", "l2-000001.npz: its 360 rows");
    // Budgets come from the perturbations: those of L-inf stored as L2 leave their balls.
    REQUIRE(place.shell("cp -r set mixed && cp set/linf-000000.npz mixed/l2-000000.npz").status == 0);
    const Json analysis =
        json_of(place.attack({"gma", "analyze", "--set", "mixed", "--norm", "l2", "--json", "-"}));
    CHECK(analysis["norms"][0]["sizes"][10]["violations"].get<int64_t>() > 0);
  }

  TEST_CASE("export --attacked: pictures of an attack and of a GMA set") {
    const Attacked place;
    place.folder({"attack", "fgsm", "--eps", "0.1", "--limit", "10"}, "fgsm");
    const Json pictures =
        json_of(place.caltrop({"export", "--attacked", "fgsm/adversarial.npz", "--out", "p", "--json", "-"}));
    CHECK(pictures["attacked"]["count"] == 10);
    CHECK(place.shell("ls p/attacked/*/*.png | wc -l").out == "10\n");
    CHECK(std::filesystem::exists(place.file("p/attacked/perturbation.npz")));
    place.folder({"gma", "generate", "--subset", "test", "--limit", "2", "--steps", "1", "--norm", "linf"},
                 "set");
    json_of(place.caltrop({"export", "--attacked", "set/linf-000000.npz", "--out", "q", "--json", "-"}));
    CHECK(place.shell("ls -d q/attacked/eps-* | wc -l").out == "30\n");
    const Outcome wrong = place.caltrop({"export", "--attacked", "net/model.safetensors", "--out", "never"});
    CHECK(wrong.status == 1);
    CHECK(is_one_line(wrong.error));
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }
}

}  // namespace
}  // namespace caltrop::test
