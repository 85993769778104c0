// The commands that attack, and what their flags mean, from end to end on a small trained network.
#include <doctest/doctest.h>

#include "apps/core/build_info.h"
#include "attacks/gma.h"
#include "data/npz.h"
#include "tests/apps/attacked.h"

namespace caltrop::test {
namespace {

TEST_SUITE("apps") {
  TEST_CASE("attack: targets, labels, norms and what is refused") {
    const Attacked place;
    const Json towards = json_of(place.attack(
        {"attack", "bim", "--target", "3", "--norm", "l2", "--eps", "4", "--limit", "40", "--json", "-"}));
    CHECK(towards["norm"] == "l2");
    const int64_t others = towards["n"].get<int64_t>();  // those of class 3 are left out
    CHECK((others > 20 && others < 40));
    CHECK(towards["max_l2"].get<double>() <= 4.0 + 1e-4);
    CHECK(json_of(place.attack({"attack", "fgsm", "--norm", "l1", "--labels", "predicted", "--limit", "20",
                                "--json", "-"}))["n"] == 20);
    const std::vector<std::vector<std::string>> refused = {{"attack", "pgd", "--eps", "-0.1"},
                                                           {"attack", "pgd", "--eps", "nan"},
                                                           {"attack", "pgd", "--eps", "77"},
                                                           {"attack", "pgd", "--norm", "l1"},
                                                           {"attack", "pgd", "--target", "10"},
                                                           {"attack", "bim", "--restarts", "3"},
                                                           {"attack", "jsma"},
                                                           {"attack", "cw", "--norm", "linf"},
                                                           {"attack", "fab", "--target", "3"},
                                                           {"attack", "pgd", "--bpda"},
                                                           {"attack", "bim", "--preset", "autoattack"},
                                                           {"verify", "nowhere.npz"},
                                                           {"gma", "analyze", "--set", "net"},
                                                           {"gma", "analyze", "--set", "nowhere"}};
    for (std::vector<std::string> words : refused) {
      words.insert(words.end(), {"--out", "never"});
      const Outcome outcome = place.attack(words);
      CAPTURE(words[1]);
      CAPTURE(outcome.error);
      CHECK(outcome.status != 0);
      CHECK(is_one_line(outcome.error));
    }
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }

  TEST_CASE("attack: a flag that the attack does not read is refused, unless a config holds its default") {
    const Workplace place;  // nothing is read before: neither weights nor images are there
    struct Case {
      std::vector<std::string> words;
      std::string says;
    };
    const std::vector<Case> refused = {
        {{"cw", "--norm", "linf"}, "--norm linf does not fit cw"},
        {{"cw", "--restarts", "1"}, "--restarts is for attacks that begin at random"},
        {{"pgd", "--decay", "1"}, "--decay is for mim"},
        {{"pgd", "--overshoot", "0.02"}, "--overshoot is for deepfool"},
        {{"apgd-dlr", "--ce-grad", "torch"}, "--ce-grad is for attacks that climb cross-entropy"},
        {{"apgd-ce", "--targets", "3"}, "--targets is for apgd-t, fab-t, autoattack"},
        {{"square", "--step-size", "0.1"}, "--step-size is for fgsm"},
        {{"square", "--noise", "0.1", "--eot", "4"}, "--eot is for attacks by gradient"},
        {{"pgd", "--eot", "4"}, "--eot averages over what is random"},
        {{"apgd-ce", "--version", "plus"}, "--version is for autoattack"},
        {{"deepfool", "--cw-rate", "0.1"}, "--cw-rate is for cw"},
        {{"autoattack", "--steps", "5"}, "--steps is for attacks of more than one step"},
        {{"fab", "--target", "3"}, "goes to the nearest class"},
        {{"apgd-t", "--target", "3"}, "likeliest classes in turn"},
        {{"autoattack", "--target", "3"}, "--target does not fit autoattack, which succeeds with any class"},
        {{"autoattack", "--target-file", "t.npy"}, "--target-file does not fit autoattack"},
        {{"fab-t", "--target-file", "t.npy"}, "--target-file does not fit fab-t"},
        {{"apgd-t", "--target-file", "t.npy"}, "--target-file does not fit apgd-t"},
        {{"fgsm", "--norm", "l1", "--random-start", "yes"}, "--random-start must be off under the norm l1"},
        {{"cw", "--target", "3", "--labels", "predicted"}, "--labels predicted is for untargeted attacks"},
        {{"cw", "--start", "s.npy"}, "--start is for attacks that can begin anywhere"}};
    for (const Case& wrong : refused) {
      std::vector<std::string> words = {"attack", "--weights", "nowhere.safetensors", "--out", "never"};
      words.insert(words.begin() + 1, wrong.words.begin(), wrong.words.end());
      const Outcome outcome = place.caltrop(words);
      CAPTURE(outcome.error);
      CHECK(outcome.status == 2);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(wrong.says) != std::string::npos);
    }
    const Outcome gma = place.caltrop({"gma", "analyze", "--weights", "nowhere", "--decay", "0.5"});
    CHECK(gma.status == 2);
    CHECK(gma.error.find("--decay is for mim") != std::string::npos);
    const Outcome set =
        place.caltrop({"gma", "analyze", "--weights", "nowhere", "--set", "s", "--steps", "3"});
    CHECK(set.status == 2);
    CHECK(set.error.find("--steps is for crafting images") != std::string::npos);

    // What a config says of the defaults of others is no wish; another value is one.
    place.write("default.json", R"({"attack": "pgd", "decay": 1.0, "weights": "nowhere"})");
    place.write("wish.json", R"({"attack": "pgd", "decay": 0.5, "weights": "nowhere"})");
    CHECK(place.caltrop({"attack", "--config", "default.json"}).error.find("--decay") == std::string::npos);
    CHECK(place.caltrop({"attack", "--config", "wish.json"}).error.find("--decay is for mim") !=
          std::string::npos);
  }

  TEST_CASE("attack: a defence in front, and attacks that know it") {
    const Attacked place;
    struct Seen {
      double robust;
      std::string warnings;
    };
    const auto attacked = [&](std::vector<std::string> words) {
      words.insert(words.end(), {"--eps", "0.3", "--norm", "linf", "--limit", "40", "--json", "-"});
      const Outcome outcome = place.attack(words);
      return Seen{json_of(outcome)["robust_accuracy"].get<double>(), outcome.error};
    };
    const Seen masked = attacked({"attack", "pgd", "--quantize", "2", "--random-start", "no"});
    const Seen open = attacked({"attack", "pgd", "--quantize", "2", "--bpda", "--random-start", "no"});
    CHECK(masked.warnings.find("masked") != std::string::npos);
    CHECK(open.warnings.find("masked") == std::string::npos);
    CHECK(masked.robust > open.robust);
    const Seen once = attacked({"attack", "apgd-ce", "--noise", "0.3"});
    const Seen averaged = attacked({"attack", "apgd-ce", "--noise", "0.3", "--eot", "4"});
    CHECK(once.warnings.find("--eot") != std::string::npos);
    CHECK(averaged.warnings.find("--eot") == std::string::npos);
    CHECK(averaged.robust <= once.robust + 0.1);
  }

  TEST_CASE("attack: what its flags say is what runs") {
    const Attacked place;
    place.folder({"attack", "autoattack", "--version", "rand", "--limit", "4", "--eps", "0.05"}, "rand");
    const auto config_of = [&](const std::string& folder) {
      return Json::parse(contents(place.file(folder)).at("config.json"));
    };
    CHECK(config_of("rand")["--version"] == "rand");
    CHECK(config_of("rand")["version"] == version());
    const Json summary = Json::parse(place.read("rand/summary.json"));
    CHECK(summary["run"]["version"] == version());
    CHECK(summary["run"]["seed"] == 0);
    REQUIRE(summary["options"]["stages"].size() == 2);
    CHECK(summary["options"]["stages"][0]["attack"] == "apgd-ce");
    CHECK(summary["options"]["stages"][1]["restarts"] == 1);
    const Outcome again =
        place.caltrop({"attack", "--config", "rand/config.json", "--out", "again", "--quiet"});
    CAPTURE(again.error);
    REQUIRE(again.status == 0);
    CHECK(config_of("again")["--version"] == "rand");
    // In files of earlier versions the flag has the place of the program's version; those of later ones are refused.
    REQUIRE(place
                .shell("sed '/\"schema\"/d; /\"version\"/d; s/\"--version\"/\"version\"/' rand/config.json > "
                       "old.json && sed 's,config/2,config/3,' rand/config.json > new.json")
                .status == 0);
    REQUIRE(place.caltrop({"attack", "--config", "old.json", "--out", "old", "--quiet"}).status == 0);
    check_equal(contents(place.file("old")), contents(place.file("again")));
    const Outcome later = place.caltrop({"attack", "--config", "new.json", "--out", "never", "--quiet"});
    CHECK(later.status == 1);
    CHECK(later.error == "caltrop: new.json: expected the schema config/2, got \"config/3\"\n");
    const Outcome steps = place.attack({"attack", "autoattack", "--steps", "1"});
    CHECK(steps.status == 2);
    CHECK(steps.error.find("--steps") != std::string::npos);

    // A run from before a flag existed had its default.
    REQUIRE(place.shell("sed -i '/\"conv\"/d' rand/config.json").status == 0);
    CHECK(place.caltrop({"attack", "autoattack", "--resume", "--out", "rand", "--quiet"}).status == 0);
  }

  TEST_CASE("attack: a size as it was asked for, beside the one that is used") {
    const Attacked place;
    const Files files =
        place.folder({"attack", "pgd", "--eps", "8/255", "--step-size", "2/255", "--limit", "5"}, "a");
    const Json config = Json::parse(files.at("config.json")), summary = Json::parse(files.at("summary.json"));
    CHECK(config["eps"] == "8/255");
    CHECK(summary["size_asked"] == "8/255");
    CHECK(summary["size"].dump() == "0.03137255");  // the shortest decimal that fp32 reads as the size
    CHECK(summary["options"]["step_size"].get<float>() == 2.0f / 255);
    CHECK(summary["options"]["restarts"] == 1);
    CHECK(summary["max_linf"].get<double>() <=
          summary["size"].get<double>() + summary["tolerance"].get<double>());
    const Outcome said = place.caltrop({"attack", "--config", "a/config.json", "--out", "b"});
    CHECK(said.out.find("L-inf of 8/255 (0.03137255 in fp32)") != std::string::npos);
    check_equal(files, contents(place.file("b")));
    CHECK(json_of(place.attack({"verify", "a/adversarial.npz", "--json", "-"}))["holds"] == true);
    // Quiet: nothing is said where nothing is wrong.
    const Outcome quiet = place.attack({"attack", "fgsm", "--eps", "0.02", "--limit", "5", "--out", "c"});
    CHECK(quiet.status == 0);
    CHECK(quiet.out.empty());
    CHECK(quiet.error.empty());
    CHECK(Json::parse(place.read("c/summary.json"))["size"].dump() == "0.02");
    CHECK(Json::parse(place.read("c/config.json"))["eps"].dump() == "0.02");
  }

  TEST_CASE(
      "attack: a default that flatters is said to, and so is a preset that is not the library's to the "
      "image") {
    const Attacked place;
    const auto warnings = [&](std::vector<std::string> words) {
      words.insert(words.end(), {"--eps", "0.1", "--limit", "3", "--json", "-"});
      const Outcome outcome = place.attack(words);
      const Json result = json_of(outcome);
      for (const Json& warning : result["warnings"])
        CHECK(outcome.error.find(warning.get<std::string>()) != std::string::npos);
      return result["warnings"].dump();
    };
    CHECK(warnings({"attack", "pgd"}).find("its number flatters the network") != std::string::npos);
    // The table measured pgd under L-inf alone.
    CHECK(warnings({"attack", "pgd", "--norm", "l2"}).find("pgd under l2 was not measured") !=
          std::string::npos);
    CHECK(warnings({"attack", "mim"}).find("mim under linf was not measured") != std::string::npos);
    CHECK(warnings({"attack", "pgd", "--steps", "3"}).find("flatters") == std::string::npos);
    CHECK(warnings({"attack", "fgsm"}).find("flatters") == std::string::npos);
    CHECK(warnings({"attack", "apgd-ce", "--steps", "2"}).find("flatters") == std::string::npos);
    const std::string foolbox = warnings({"attack", "mim", "--preset", "foolbox"});
    CHECK(foolbox.find("is not foolbox's to the image: foolbox's momentum") != std::string::npos);
    CHECK(warnings({"attack", "bim", "--preset", "foolbox"}) == "[]");
  }

  TEST_CASE("--config: other images or weights than those of the run are refused") {
    const Attacked place;
    place.folder({"attack", "fgsm", "--eps", "0.1", "--limit", "10"}, "first");
    REQUIRE(place
                .shell("sed 's/\"weights_crc32\": \"[0-9a-f]*/\"weights_crc32\": \"00000000/' "
                       "first/config.json > weights.json && "
                       "sed 's/\"crc32\": \"[0-9a-f]*/\"crc32\": \"00000000/' first/config.json > data.json")
                .status == 0);
    for (const auto& [config, says] :
         {std::pair("weights.json", "other weights"), {"data.json", "other images"}}) {
      const Outcome outcome = place.caltrop({"attack", "--config", config, "--out", "never", "--quiet"});
      CAPTURE(outcome.error);
      CHECK(outcome.status == 1);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(says) != std::string::npos);
      CHECK_FALSE(std::filesystem::exists(place.file("never")));
    }
    // Chosen anew they are no mistake.
    CHECK(place.caltrop({"attack", "--config", "data.json", "--limit", "5", "--out", "five", "--quiet"})
              .status == 0);
  }

  TEST_CASE("demo leaves what it says") {
    const Workplace place;
    const std::vector<std::string> words = {
        "demo", "--dataset",  "digits", "--limit",          "300", "--epochs", "1", "--images",
        "12",   "--adaptive", "2",      "--defence-epochs", "1"};
    std::vector<std::string> first = words, other = words;
    first.insert(first.end(), {"--out", "d"});
    other.insert(other.end(), {"--out", "e", "--threads", "1"});
    const Outcome outcome = place.caltrop(first);
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    const Files files = contents(place.file("d"));
    for (const char* name :
         {"config.json", "demo.json", "model.safetensors", "defence/eat-1-bootstrap.safetensors",
          "defence/eat-3-bootstrap.safetensors", "defence/metrics.jsonl", "metrics.jsonl", "attacks.csv",
          "gma-linf.csv", "gma-l2.csv", "defence.csv", "defence-by-size.csv", "adaptive.csv", "images.png",
          "accuracy-by-size.gp", "accuracy-by-size.dat", "report.html"}) {
      CAPTURE(name);
      CHECK(files.contains(name));
    }
    CHECK(outcome.out.find("clean accuracy") != std::string::npos);
    const Json result = Json::parse(files.at("demo.json"));
    CHECK(result["norms"].size() == 2);
    CHECK(result["training"].size() == 1 + 3 * 5);
    const Json& defence = result["defence"];
    const Json& detectors = defence["detectors"];
    REQUIRE(detectors.size() == 2 * 6);
    for (size_t k = 0; k < detectors.size(); ++k) {
      const Json& row = detectors[k];
      CAPTURE(row.dump());
      CHECK(row["test"] == (k < 6 ? "exact" : "8 bits"));
      CHECK(row["clean"] == 12);
      CHECK(row["fooling"].get<int>() <= row["attacked"].get<int>());
      CHECK(row["clean_accuracy"].get<double>() + row["false_alarms"].get<double>() <= 1 + 1e-9);
      CHECK(row["detected"].get<double>() + row["wrong"].get<double>() <= 1 + 1e-9);
      CHECK(row["fooling_detected"].get<double>() + row["fooling_wrong"].get<double>() <= 1 + 1e-9);
    }
    // Every image crafted here lies off the grid, and none after rounding.
    CHECK(detectors[5]["detector"] == "pixel check");
    CHECK(detectors[5]["detected"] == 1);
    CHECK(detectors[11]["detected"] == 0);
    CHECK(detectors[0]["detector"] == "Target alone");
    CHECK(detectors[0]["fooling_wrong"] == 1);
    // What the vote was shown are the attacks of the GMA section: the first of up to three tries of each size.
    const size_t sizes = gma_sizes().size();
    REQUIRE(defence["by_size"].size() == 2 * sizes);
    for (size_t k = 0; k < 2 * sizes; ++k) {
      const Json &shown = defence["by_size"][k], &analysed = result["norms"][k / sizes]["sizes"][k % sizes];
      CAPTURE(shown.dump());
      CHECK(shown["norm"] == result["norms"][k / sizes]["norm"]);
      CHECK(shown["size"].get<double>() == doctest::Approx(analysed["eps"].get<double>()));
      const double right = 1 - shown["undefended_wrong"].get<double>();
      CHECK(right >= analysed["accuracy"].get<double>() - 1e-9);
      if (analysed["tries"] == 1) CHECK(right <= analysed["accuracy"].get<double>() + 1e-9);
    }
    // What repeats the run is in the page, what depends on the machine is not.
    CHECK(files.at("report.html")
              .find("caltrop demo --dataset digits --limit 300 --epochs 1 --images 12 "
                    "--defence-epochs 1 --adaptive 2 --seed 0") != std::string::npos);
    REQUIRE(place.caltrop(other).status == 0);
    check_equal(files, contents(place.file("e")));
    // Too few images for a cycle are found out before any work.
    const Outcome few =
        place.caltrop({"demo", "--dataset", "digits", "--limit", "2", "--out", "never", "--quiet"});
    CAPTURE(few.error);
    CHECK(few.status == 1);
    CHECK(few.error.find("15 % attacked images beside 2 clean ones are none") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(place.file("never")));
  }
}

}  // namespace
}  // namespace caltrop::test
