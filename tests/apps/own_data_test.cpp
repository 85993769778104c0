// Some images of a data set, and data sets of one's own.
#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

struct OneNetwork : Workplace {
  OneNetwork() { REQUIRE(caltrop(tiny_training({"--out", "net"})).status == 0); }

  // images.csv of an attack, without its title: a line for each image.
  std::vector<std::string> images_of(const std::string& out, const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"attack",  "pgd",   "--eps",     "0.1",
                                      "--steps", "3",     "--weights", "net/model.safetensors",
                                      "--quiet", "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = caltrop(words);
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    std::istringstream lines(read(out + "/images.csv"));
    std::vector<std::string> images;
    for (std::string line; std::getline(lines, line);) images.push_back(line);
    images.erase(images.begin());
    return images;
  }
};

TEST_SUITE("apps") {
  TEST_CASE("--indices and --offset choose images, which keep their numbers and their random streams") {
    const OneNetwork place;
    const std::vector<std::string> all = place.images_of("all", {"--limit", "40"});
    REQUIRE(all.size() == 40);
    const std::vector<std::string> late = place.images_of("late", {"--offset", "25", "--limit", "10"});
    CHECK(late == std::vector<std::string>(all.begin() + 25, all.begin() + 35));
    place.write("some.txt", "7, 3\n31");
    const std::vector<std::string> some = place.images_of("some", {"--indices", "some.txt"});
    CHECK(some == std::vector<std::string>{all[7], all[3], all[31]});
    // Whoever verifies finds them in the data set.
    const Json verdict =
        Json::parse(place.output({"verify", "some/adversarial.npz", "--weights", "net/model.safetensors",
                                  "--dataset", "mnist", "--norm", "linf", "--eps", "0.1", "--json", "-"}));
    CHECK(verdict["holds"] == true);
    CHECK(verdict["trusted"].empty());
    CHECK(Json::parse(place.output({"eval", "--weights", "net/model.safetensors", "--indices", "some.txt",
                                    "--limit", "2", "--json", "-"}))["n"] == 2);
    // A sweep too: its counts are the attack's.
    REQUIRE(place
                .caltrop({"sweep", "--weights", "net/model.safetensors", "--attacks", "pgd:steps=3", "--eps",
                          "0.1", "--indices", "some.txt", "--out", "sweep", "--quiet"})
                .status == 0);
    const Json row = Json::parse(place.read("sweep/results.json"))["rows"][0],
               summary = Json::parse(place.read("some/summary.json"));
    CHECK(row["n"] == 3);
    CHECK(row["robust_accuracy"] == summary["robust_accuracy"]);
    CHECK(row["mean_loss"] == summary["mean_loss"]);

    for (const auto& [text, says] : {std::pair("1 x", "got 'x'"),
                                     {"", "found none"},
                                     {"1 1", "twice"},
                                     {"200", "no image 200"},
                                     {"-1", "no image -1"}}) {
      place.write("wrong.txt", text);
      const Outcome outcome = place.caltrop({"attack", "fgsm", "--weights", "net/model.safetensors",
                                             "--indices", "wrong.txt", "--out", "never"});
      CAPTURE(outcome.error);
      CHECK(outcome.status == 1);
      CHECK(outcome.error.find("wrong.txt: ") != std::string::npos);
      CHECK(outcome.error.find(says) != std::string::npos);
    }
    CHECK(place
              .caltrop({"attack", "fgsm", "--weights", "net/model.safetensors", "--offset", "200", "--out",
                        "never"})
              .error.find("--offset 200: there are 200 images") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }

  TEST_CASE("arrays and test images alone stand for the data set that they are of") {
    const OneNetwork place;
    const std::vector<std::string> eval = {"eval", "--weights", "net/model.safetensors", "--json", "-"};
    const Json whole = Json::parse(place.output(eval));
    REQUIRE(
        place.caltrop({"export", "--images", "npz", "--dataset", "mnist", "--out", "x", "--quiet"}).status ==
        0);
    const Json arrays =
        Json::parse(place.output(eval, {"--dataset", "arrays", "--data-dir", "x/images.npz"}));
    CHECK(arrays["dataset"] == "arrays");
    for (const char* key : {"n", "accuracy", "confusion", "calibration_error"})
      CHECK(arrays[key] == whole[key]);
    CHECK(arrays["run"]["data"]["test"]["crc32"] == whole["run"]["data"]["test"]["crc32"]);
    const Outcome training = place.caltrop({"train", "--arch", "flatten | dense 10", "--dataset", "arrays",
                                            "--data-dir", "x/images.npz", "--out", "never"});
    CHECK(training.status == 1);
    CHECK(training.error.find("has no training images") != std::string::npos);

    REQUIRE(place.shell("cp -r " + small_data() + "/mnist tests && rm tests/train-*").status == 0);
    const Json alone = Json::parse(place.output(eval, {"--data-dir", "tests"}));
    CHECK(alone["accuracy"] == whole["accuracy"]);
    CHECK(alone["run"]["data"] == whole["run"]["data"]);
    const Outcome split = place.caltrop(
        {"eval", "--weights", "net/model.safetensors", "--data-dir", "tests", "--split", "50:50"});
    CHECK(split.status == 1);
    CHECK(split.error.find("lacks train-images") != std::string::npos);
  }
}

}  // namespace
}  // namespace caltrop::test
