// Sets whose images were pushed to classes: made, judged by verify and eval on the network and on another, and refused
// where targets are not what an attack stores.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "data/attacked_set.h"
#include "data/npz.h"
#include "tests/apps/attacked.h"
#include "tests/npz_arrays.h"

namespace caltrop::test {
namespace {

// Every image of a set pushed to the class two after its own, but the third one, which is told to stay and left out.
struct Pushed : Attacked {
  Pushed() {
    place_targets();
    folder(words("pgd", {"--target-file", "targets.npz"}), "each");
  }

  static std::vector<std::string> words(const std::string& attack, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"attack", attack, "--steps", "5", "--eps", "0.03", "--limit", "24"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Json judged(const std::string& command, const std::string& file, const std::string& net = "net") const {
    std::vector<std::string> all = {command, file, "--weights", net + "/model.safetensors", "--json", "-"};
    if (command == "eval") all.insert(all.begin() + 1, "--attacked");
    const Outcome outcome = caltrop(all);
    CAPTURE(outcome.error);
    REQUIRE(outcome.status <= 1);
    return Json::parse(outcome.out);
  }
  // What a command says of a set that `change` has been at; its config.json is that of `of`.
  std::string refused(const std::string& command, const std::function<void(AttackedSet&)>& change,
                      const std::string& of = "each") const {
    REQUIRE(shell("rm -rf bad && cp -r " + of + " bad").status == 0);
    AttackedSet set = read_attacked_set(file("each/adversarial.npz"));
    change(set);
    write_attacked_set(file("bad/adversarial.npz"), set);
    return refused_as_it_is(command);
  }
  std::string refused_as_it_is(const std::string& command) const {
    const std::vector<std::string> on = command == "eval" ? std::vector<std::string>{"eval", "--attacked"}
                                                          : std::vector<std::string>{command};
    std::vector<std::string> all = on;
    all.insert(all.end(), {"bad/adversarial.npz", "--out", "never"});
    const Outcome outcome = attack(all);
    CHECK(outcome.status == 1);
    CHECK(is_one_line(outcome.error));
    CHECK_FALSE(std::filesystem::exists(file("never")));
    return outcome.error;
  }

 private:
  void place_targets() const {
    folder(words("bim", {}), "first");
    const AttackedSet first = read_attacked_set(file("first/adversarial.npz"));
    std::vector<int32_t> target;
    for (const int32_t label : first.label) target.push_back((label + 2) % 10);
    target[2] = first.label[2];
    NpzWriter targets(file("targets.npz"));
    targets.add("index", {first.images()}, first.index);
    targets.add("target", {first.images()}, target);
    targets.close();
  }
};

int64_t broken(const Json& verdict, const std::string& name) {
  for (const Json& claim : verdict["claims"])
    if (claim["claim"] == name) return claim["broken"].get<int64_t>();
  return -1;
}

TEST_SUITE("apps") {
  TEST_CASE("targeted sets: success is to arrive, for attack, verify and eval alike, on any network") {
    const Pushed place;
    place.folder(Pushed::words("bim", {"--target", "3"}), "one");
    for (const std::string name : {"each", "one"}) {
      CAPTURE(name);
      const std::string path = name + "/adversarial.npz";
      const AttackedSet set = read_attacked_set(place.file(path));
      REQUIRE(set.target.size() == set.index.size());
      int64_t arrived = 0;
      for (size_t i = 0; i < set.target.size(); ++i) {
        CHECK(set.target[i] == (name == "one" ? 3 : (set.label[i] + 2) % 10));
        CHECK((set.success[i] == 1) == (set.prediction[i] == set.target[i]));
        arrived += set.success[i];
      }
      // Some arrive, some end in a third class, and some stay: each number says something of its own.
      CHECK((arrived > 0 && arrived < set.images()));
      const Json summary = Json::parse(place.read(name + "/summary.json"));
      CHECK(summary["targeted"] == true);
      CHECK(summary["successes"] == arrived);
      const Json verdict = place.judged("verify", path);
      CHECK(verdict["targeted"] == true);
      CHECK(verdict["holds"] == true);
      CHECK(broken(verdict, "targets are other classes than the labels") == 0);
      CHECK(verdict["success_rate"] == summary["success_rate"]);
      const Json judged = place.judged("eval", path);
      CHECK(judged["schema"] == "judged/2");
      CHECK(judged["targeted"] == true);
      for (const char* key : {"success_rate", "success_rate_of_correct", "robust_accuracy", "successes"})
        CHECK(judged["sizes"][0][key] == summary[key]);
      CHECK(judged["sizes"][0]["mean_loss"].get<double>() ==
            doctest::Approx(summary["mean_loss"].get<double>()).epsilon(1e-4));
      CHECK(judged["sizes"][0]["size"].is_null());  // that of the run stands in its config.json
    }
    const std::string images = place.read("each/images.csv");
    CHECK(images.starts_with("index,label,clean_prediction,target,prediction,success,"));
    const Json untargeted = place.judged("verify", "first/adversarial.npz");
    CHECK(untargeted["targeted"] == false);
    CHECK(broken(untargeted, "targets are other classes than the labels") == -1);
    CHECK(place.judged("eval", "first/adversarial.npz")["targeted"] == false);

    REQUIRE(place.caltrop(tiny_training({"--out", "other", "--seed", "5"})).status == 0);
    const Json elsewhere = place.judged("eval", "each/adversarial.npz", "other"),
               asked = place.judged("verify", "each/adversarial.npz", "other");
    CHECK(elsewhere["made_on_this_network"] == false);
    CHECK(asked["success_rate"] == elsewhere["sizes"][0]["success_rate"]);
    CHECK(asked["claimed_success_rate"] != asked["success_rate"]);
    // People are told whose number is whose.
    const Outcome said =
        place.caltrop({"verify", "each/adversarial.npz", "--weights", "other/model.safetensors"});
    CHECK(said.status == 1);
    CHECK(
        said.out.find("23 originals, 1 size, each pushed towards a class of its own: success is to arrive") !=
        std::string::npos);
    CHECK(said.out.find("success on the network that it was made on, which is another than ") !=
          std::string::npos);
    CHECK(said.out.find("other/model.safetensors: ") != std::string::npos);
    CHECK(said.error.find("the set was made on other weights") != std::string::npos);
  }

  TEST_CASE("targeted sets: targets that no attack stores, and those of another run, are refused") {
    const Pushed place;
    for (const std::string command : {"verify", "eval"}) {
      CAPTURE(command);
      const auto says = [&](const std::string& text, const std::string& words) {
        CAPTURE(text);
        CHECK(text.find("bad/adversarial.npz") != std::string::npos);
        CHECK(text.find(words) != std::string::npos);
      };
      says(place.refused(command, [](AttackedSet& set) { set.target[0] = -1; }), "holds the target -1");
      says(place.refused(command, [](AttackedSet& set) { set.target[0] = 10; }),
           "model.safetensors has 10 outputs, but ");
      says(place.refused(command, [](AttackedSet& set) { set.target.clear(); }),
           "lacks the array 'target', but config.json beside it says --target-file");
      says(place.refused(
               command, [](AttackedSet&) {}, "first"),
           "config.json beside it says of none");
      // Of another type, of another length.
      const auto arrays = read_npz(place.file("each/adversarial.npz"));
      const auto n = static_cast<int64_t>(arrays.at("index").shape[0]);
      const auto with = [&](const std::function<void(NpzWriter&)>& add) {
        NpzWriter file(place.file("bad/adversarial.npz"));
        add_arrays(file, arrays, "target");
        add(file);
        file.close();
        return place.refused_as_it_is(command);
      };
      says(
          with([&](NpzWriter& file) { file.add("target", {n}, std::vector<float>(static_cast<size_t>(n))); }),
          "target in ");
      says(with([&](NpzWriter& file) {
             file.add("target", {n - 1}, std::vector<int32_t>(static_cast<size_t>(n - 1)));
           }),
           "expected 'target' of shape (23), got (22)");
    }
    // A forged target, the image's own label, makes a success of what was left alone.
    AttackedSet set = read_attacked_set(place.file("each/adversarial.npz"));
    set.target = set.label;
    write_attacked_set(place.file("each/adversarial.npz"), set);
    const Json forged = place.judged("verify", "each/adversarial.npz");
    CHECK(forged["holds"] == false);
    CHECK(broken(forged, "targets are other classes than the labels") == 23);

    // A set from before targets were stored: --target of its run stands for them.
    place.folder(Pushed::words("bim", {"--target", "3"}), "one");
    set = read_attacked_set(place.file("one/adversarial.npz"));
    set.target.clear();
    write_attacked_set(place.file("one/adversarial.npz"), set);
    CHECK(place.judged("verify", "one/adversarial.npz")["holds"] == true);
    CHECK(place.judged("eval", "one/adversarial.npz")["targeted"] == true);
    set.target.assign(set.index.size(), 4);
    write_attacked_set(place.file("one/adversarial.npz"), set);
    const Outcome other = place.attack({"verify", "one/adversarial.npz"});
    CHECK(other.status == 1);
    CHECK(other.error.find("holds the target 4, but config.json beside it says --target 3") !=
          std::string::npos);
  }

  TEST_CASE(
      "attack: files count the images that are chosen, before those of the target's class are left out") {
    const Attacked place;
    const auto npy = [&](const std::string& name, const std::string& type, const std::string& shape,
                         const std::string& bytes) {
      place.write(name, npy_of(type, shape, bytes));
    };
    const auto bytes_of = [](const auto& values) {
      return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
    };
    // Twenty points, each image of one grey: what is taken shows in delta.
    std::vector<double> points;
    for (int i = 0; i < 20; ++i) points.insert(points.end(), 784, 0.3 + 0.02 * i);
    const std::vector<float> narrow(points.begin(), points.end());
    npy("wide.npy", "<f8", "(20, 28, 28)", bytes_of(points));
    npy("narrow.npy", "<f4", "(20, 28, 28, 1)", bytes_of(narrow));
    const std::vector<int64_t> targets(20, 3);
    npy("targets.npy", "<i8", "(20,)", bytes_of(targets));
    std::vector<std::string> start = {"attack",  "bim",      "--steps", "1",       "--step-size",
                                      "1e-6",    "--eps",    "1",       "--limit", "20",
                                      "--start", "wide.npy", "--norm",  "linf"};
    const auto with = [&](const std::vector<std::string>& more) {
      std::vector<std::string> words = start;
      words.insert(words.end(), more.begin(), more.end());
      return words;
    };
    const Files one = place.folder(with({"--target", "3"}), "one"),
                each = place.folder(with({"--target-file", "targets.npy"}), "each");
    CHECK(one.at("adversarial.npz") == each.at("adversarial.npz"));
    start[11] = "narrow.npy";
    CHECK(place.folder(with({"--target", "3"}), "narrow").at("adversarial.npz") == one.at("adversarial.npz"));
    const AttackedSet set = read_attacked_set(place.file("one/adversarial.npz"));
    REQUIRE((set.images() > 0 && set.images() < 20));
    for (int64_t i = 0; i < set.images(); ++i) {
      const auto at = static_cast<size_t>(i);
      const double grey = set.x[at * 784] / 255.0 + static_cast<double>(set.delta_of(i)[0]);
      CHECK(grey == doctest::Approx(0.3 + 0.02 * static_cast<double>(set.index[at])).epsilon(1e-4));
    }
    // A run is repeated with the files that it read, or with those that are given anew.
    const auto repeated = [&](const std::vector<std::string>& more) {
      std::vector<std::string> words = {"attack", "--config", "each/config.json",
                                        "--out",  "again",    "--quiet"};
      words.insert(words.end(), more.begin(), more.end());
      REQUIRE(place.shell("rm -rf again").status == 0);
      return place.caltrop(words);
    };
    CHECK(repeated({}).status == 0);
    npy("targets.npy", "<i8", "(20,)", bytes_of(std::vector<int64_t>(20, 4)));
    CHECK(
        repeated({}).error.starts_with("caltrop: --config: that run had other contents of --target-file: "));
    CHECK(repeated({"--target-file", "targets.npy"}).status == 0);
    CHECK(repeated({"--target", "3"}).status == 0);
    CHECK(place.read("again/adversarial.npz") == one.at("adversarial.npz"));
    // A set that holds the attacked images alone begins as well.
    start[11] = "one/adversarial.npz";
    CHECK(place.attack(with({"--target", "3", "--out", "on"})).status == 0);

    // What a file must hold is said in NumPy's words.
    npy("short.npy", "<f4", "(19, 28, 28, 1)", std::string(19 * 784 * 4, '\0'));
    npy("bytes.npy", "|u1", "(20, 28, 28, 1)", std::string(20 * 784, '\0'));
    npy("floats.npy", "<f8", "(20,)", std::string(160, '\0'));
    npy("bools.npy", "|b1", "(20,)", std::string(20, '\1'));
    npy("square.npy", "<i8", "(10, 2)", std::string(160, '\0'));
    struct Case {
      std::vector<std::string> more;
      std::string says;
    };
    for (const Case& wrong : std::vector<Case>{
             {{"--start", "short.npy", "--target", "3"}, "expected an array (20,28,28,1), got (19,28,28,1)"},
             {{"--start", "bytes.npy"}, "bytes.npy: expected float32 or float64, found uint8"},
             {{"--target-file", "floats.npy"},
              "floats.npy: expected integers (int64, int32, uint8, ...), found float64"},
             {{"--indices", "bools.npy"},
              "bools.npy: expected integers (int64, int32, uint8, ...), found bool"},
             {{"--indices", "square.npy"}, "in one dimension, got shape (10,2)"}}) {
      std::vector<std::string> words = {"attack", "bim", "--limit", "20", "--out", "never"};
      words.insert(words.end(), wrong.more.begin(), wrong.more.end());
      const Outcome outcome = place.attack(words);
      CAPTURE(outcome.error);
      CHECK(outcome.status == 1);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(wrong.says) != std::string::npos);
      CHECK_FALSE(std::filesystem::exists(place.file("never")));
    }
    const std::vector<uint8_t> few = {4, 7};
    npy("few.npy", "|u1", "(2,)", bytes_of(few));
    CHECK(json_of(place.attack({"attack", "fgsm", "--indices", "few.npy", "--json", "-"}))["n"] == 2);
  }
}

}  // namespace
}  // namespace caltrop::test
