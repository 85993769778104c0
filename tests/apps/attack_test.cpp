// The commands that attack, from end to end on a small trained network.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "apps/core/build_info.h"
#include "attacks/gma.h"
#include "data/npz.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

// A workplace with a trained network in net/.
struct Attacked : Workplace {
  Attacked() { REQUIRE(caltrop(tiny_training({"--out", "net"})).status == 0); }

  Outcome attack(std::vector<std::string> words) const {
    words.insert(words.end(), {"--weights", "net/model.safetensors", "--quiet"});
    return caltrop(words);
  }
  Files folder(std::vector<std::string> words, const std::string& out) const {
    words.insert(words.end(), {"--out", out});
    const Outcome outcome = attack(words);
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    return contents(file(out));
  }
};

Json json_of(const Outcome& outcome) {
  CAPTURE(outcome.error);
  REQUIRE(outcome.status == 0);
  return Json::parse(outcome.out);
}

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
        {{"autoattack", "--target", "3"}, "succeeds with any class"}};
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
