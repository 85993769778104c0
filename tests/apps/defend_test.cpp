// The defence from end to end on a small trained network: the same files whatever happens on the way, a cache
// that is not taken in, and errors before work.
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <thread>

#include "apps/commands/defend_report.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

namespace fs = std::filesystem;

struct Trained : Workplace {
  Trained() { REQUIRE(caltrop(tiny_training({"--out", "net"})).status == 0); }

  // Small in everything; `more` flags win.
  Outcome defend(const std::string& kind, const std::vector<std::string>& more) const {
    return caltrop(words(kind, more));
  }
  static std::vector<std::string> words(const std::string& kind, const std::vector<std::string>& more) {
    const std::vector<std::pair<std::string, std::string>> defaults = {{"--weights", "net/model.safetensors"},
                                                                       {"--scale", "smoke"},
                                                                       {"--limit", "120"},
                                                                       {"--test-images", "40"},
                                                                       {"--cw-steps", "5"},
                                                                       {"--cache", "cache"}};
    std::vector<std::string> all = {"defend", kind, "--quiet"};
    for (const auto& [name, value] : defaults) {
      if (std::find(more.begin(), more.end(), name) == more.end()) all.insert(all.end(), {name, value});
    }
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string cached(const std::string& stem) const {
    for (const auto& entry : fs::directory_iterator(file("cache"))) {
      if (entry.path().filename().string().starts_with(stem)) return entry.path().string();
    }
    FAIL("no such file in the cache");
    return "";
  }
};

void check_same(const Trained& place, const std::string& a, const std::string& b) {
  const auto left = contents(place.file(a)), right = contents(place.file(b));
  CHECK(left.size() == right.size());
  for (const auto& file : left) {
    CAPTURE(file.first);
    CHECK((right.contains(file.first) && right.at(file.first) == file.second));
  }
}

TEST_SUITE("apps") {
  TEST_CASE("defend: the same files with other threads, from the cache and without it") {
    const Trained place;
    const Outcome first = place.defend("mia", {"--out", "a", "--json", "-"});
    CAPTURE(first.error);
    REQUIRE(first.status == 0);
    REQUIRE(place.defend("mia", {"--out", "b", "--threads", "1"}).status == 0);
    REQUIRE(place.defend("mia", {"--out", "c", "--threads", "1", "--cache", "other"}).status == 0);
    check_same(place, "a", "b");
    check_same(place, "a", "c");
    CHECK(contents(place.file("cache")) == contents(place.file("other")));

    const Json result = Json::parse(first.out);
    // Three networks in four stages, two votes and the control; exact, rounded, exact where rounding leaves
    // something, and under unseen attacks.
    REQUIRE(result["summary"].size() == 4 * (12 + 2 + 1));
    // Four attacks that are trained on; bim, mim, deepfool, and PGD and FGSM under the other norm and of other
    // sizes.
    CHECK(result["attacks"].size() == (4 + 4 + 4 + 7) * (12 + 2 + 1));
    for (const Json& row : result["summary"]) {
      if (row["model"] != "off-grid pixel") continue;
      CHECK(row["false_alarms"] == 0);
      CHECK((row["detection_rate"].get<double>() > 0.9) == (row["test"] != "8 bits"));
      CHECK(row["accuracy"].is_null());
    }
    const auto attacked = [&](const std::string& test) {
      const auto row =
          std::ranges::find_if(result["summary"], [&](const Json& one) { return one["test"] == test; });
      return (*row)["attacked"].get<int64_t>();
    };
    CHECK(attacked("exact, left by rounding") == attacked("8 bits"));
    CHECK(attacked("8 bits") <= attacked("exact"));
    // Under the attacks that know it, the vote has one of three answers; all together are no weaker than each.
    REQUIRE(result["adaptive"].size() == 1 + 4 * 8 + 4 + 8);
    std::map<std::string, double> worst;
    for (const Json& row : result["adaptive"]) {
      const std::string budget = row["norm"].dump() + row["size"].dump();
      const double wrong = row["wrong"].get<double>();
      if (row["attack"] == "any") {
        CHECK(row["right"].is_null());
        CHECK(wrong >= worst.at(budget));
        continue;
      }
      const double all = row["right"].get<double>() + row["detected"].get<double>() + wrong;
      CHECK(std::abs(all - 1) < 1e-9);
      worst[budget] = std::max(worst[budget], wrong);
    }
    // The vote after each epoch of the bootstraps: in the end what the summary says.
    const Json curve = result["vote_curve"];
    REQUIRE(curve.size() == 5);  // one epoch: in all, and four attacks
    for (const Json& row : result["summary"]) {
      if (row["model"] != "vote" || row["stage"] != "bootstrap" || row["test"] != "exact") continue;
      CHECK(curve[0]["accuracy"] == row["accuracy"]);
    }
    // Each size's images are counted once.
    const Json sizes = Json::parse(place.read("a/sizes.json"))["rows"], attacks = result["attacks"];
    for (const Json& attack : attacks) {
      int64_t images = 0;
      for (const Json& size : sizes) {
        const bool same = size["model"] == attack["model"] && size["stage"] == attack["stage"] &&
                          size["test"] == attack["test"] && size["attack"] == attack["attack"];
        if (same) images += size["images"].get<int64_t>();
      }
      CHECK(images == attack["images"].get<int64_t>());
    }
    // A trained network of the run is one that other commands take.
    CHECK(place.caltrop({"eval", "-q", "--weights", "a/eat-1-bootstrap.safetensors"}).status == 0);
    CHECK(place.defend("mia", {"--out", "a"}).error.find("--resume") != std::string::npos);
  }

  TEST_CASE("defend: the controls, and a cycle after the one that bootstraps are drawn from") {
    const Trained place;
    const std::vector<std::string> flags = {"--models",          "eat-2,eat-1",
                                            "--control-model",   "eat-2",
                                            "--cycles",          "15,40,50",
                                            "--bootstrap-cycle", "40",
                                            "--controls",        "leave-out,same-size,updates",
                                            "--adaptive",        "0",
                                            "--unseen",          "0"};
    const auto with = [&](const std::string& out) {
      std::vector<std::string> all = flags;
      all.insert(all.end(), {"--out", out, "--cache", out + "-cache"});
      return all;
    };
    const auto begin = std::chrono::steady_clock::now();
    const Outcome first = place.defend("mia", with("a"));
    CAPTURE(first.error);
    REQUIRE(first.status == 0);
    const auto whole = std::chrono::steady_clock::now() - begin;
    const Json result = Json::parse(place.read("a/mia.json"));
    std::vector<std::string> rows;
    for (const Json& row : result["summary"]) {
      if (row["test"] == "exact")
        rows.push_back(row["model"].get<std::string>() + ", " + row["stage"].get<std::string>());
    }
    const std::vector<std::string> expected = {
        "eat-2, cycle 15 %",         "eat-1, cycle 15 %",          "eat-2, cycle 40 %",
        "eat-1, cycle 40 %",         "vote, cycle 40 %",           "eat-2, cycle 50 %",
        "eat-1, cycle 50 %",         "eat-2, bootstrap",           "eat-1, bootstrap",
        "vote, bootstrap",           "eat-2, cycle 40 % again",    "eat-1, cycle 40 % again",
        "eat-2 wide, cycle 40 % on", "off-grid pixel, no training"};
    CHECK(rows == expected);
    const std::vector<std::string> left_out = {"gma", "pgd", "fgsm", "cw", "big-sizes", "linf"};
    REQUIRE(result["leave_out"].size() == left_out.size());
    for (size_t k = 0; k < left_out.size(); ++k) CHECK(result["leave_out"][k]["left_out"] == left_out[k]);
    CHECK(result["leave_out"][0]["images"] == 10);  // a quarter of 40
    for (const auto& [name, bytes] : contents(place.file("a"))) {
      CHECK((name.find("logits") == std::string::npos && name.find("state") == std::string::npos));
    }
    // Branches too go on from a kill with the same bits.
    const pid_t process = place.start(Trained::words("mia", with("b")));
    std::this_thread::sleep_for(whole * 55 / 100);
    (void)stop(process);
    std::vector<std::string> again = with("b");
    again.emplace_back("--resume");
    for (int times = 0; times < 2; ++times) {
      const Outcome rest = place.defend("mia", again);
      CAPTURE(rest.error);
      REQUIRE(rest.status == 0);
      check_same(place, "a", "b");
    }
  }

  TEST_CASE("defend: a run killed anywhere ends with the files of one that was not") {
    const Trained place;
    const std::vector<std::string> flags = {"--models", "eat-2,eat-1", "--epochs", "2"};
    const auto with = [&](const std::string& out, bool resume) {
      std::vector<std::string> all = flags;
      all.insert(all.end(), {"--out", out, "--cache", out + "-cache"});
      if (resume) all.emplace_back("--resume");
      return all;
    };
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(place.defend("eat", with("whole", false)).status == 0);
    const auto whole = std::chrono::steady_clock::now() - begin;
    int killed = 0;
    for (const int percent : {15, 40, 60, 80}) {
      const std::string out = "run" + std::to_string(percent);
      const pid_t process = place.start(Trained::words("eat", with(out, false)));
      std::this_thread::sleep_for(whole * percent / 100);
      killed += stop(process);
      const Outcome rest = place.defend("eat", with(out, true));
      CAPTURE(rest.error);
      REQUIRE(rest.status == 0);
      check_same(place, "whole", out);
      // A second kill in the middle of nothing: a finished run resumed changes nothing.
      REQUIRE(place.defend("eat", with(out, true)).status == 0);
      check_same(place, "whole", out);
    }
    CHECK(killed >= 2);
    const Outcome other = place.defend("eat", {"--models", "eat-2", "--out", "whole", "--resume"});
    CHECK((other.status == 1 && other.error.find("--models") != std::string::npos));
  }

  TEST_CASE("defend: one defence after another, killed and resumed") {
    const Trained place;
    const auto with = [](const std::string& out, const std::vector<std::string>& more) {
      std::vector<std::string> all = {"--adaptive", "0", "--out", out};
      all.insert(all.end(), more.begin(), more.end());
      return all;
    };
    REQUIRE(place.defend("adversarial", with("first", {"--epochs", "4"})).status == 0);
    const std::vector<std::string> second = {"--from", "first/model.safetensors", "--epochs", "3"};
    REQUIRE(place.defend("fast", with("whole", second)).status == 0);
    // Killed as soon as an epoch is done.
    const pid_t process = place.start(Trained::words("fast", with("killed", second)));
    while (!fs::exists(place.file("killed/checkpoint.safetensors")) &&
           !fs::exists(place.file("killed/fast.json")))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    (void)stop(process);
    std::vector<std::string> again = with("killed", second);
    again.emplace_back("--resume");
    const Outcome rest = place.defend("fast", again);
    CAPTURE(rest.error);
    REQUIRE(rest.status == 0);
    check_same(place, "whole", "killed");
    CHECK(place.caltrop({"eval", "-q", "--weights", "killed/model.safetensors"}).status == 0);
    const Json result = Json::parse(place.read("whole/fast.json"));
    for (const Json& row : result["summary"])
      CHECK((row["model"] == "defence" && row["false_alarms"].is_null()));
    // Refused before anything is written.
    const auto refused = [&](const std::string& kind, const std::vector<std::string>& more,
                             const char* expected) {
      const Outcome no = place.defend(kind, with("never", more));
      CAPTURE(no.error);
      CHECK((no.status != 0 && is_one_line(no.error) && no.error.find(expected) != std::string::npos));
      CHECK_FALSE(fs::exists(place.file("never")));
    };
    refused("adversarial", {"--share", "1.5"}, "--share");
    refused("adversarial", {"--eps", "0"}, "--eps");
    refused("trades", {"--steps", "0"}, "--steps");
    refused("free", {"--replays", "0"}, "--replays");
    refused("fast", {"--watched", "0", "--early-stop"}, "--early-stop");
    refused("alp", {"--from", "nothing.safetensors"}, "--from");
    refused("alp", {"--from", "net/config.json"}, "--from");
  }

  TEST_CASE("defend: a cached set that is damaged or of another model is made again, visibly") {
    const Trained place;
    const std::vector<std::string> flags = {"--models", "eat-2", "--cycles", "30", "--attacks", "gma,fgsm"};
    const auto run = [&](const std::string& out, const std::vector<std::string>& more = {}) {
      std::vector<std::string> all = flags;
      all.insert(all.end(), {"--out", out});
      all.insert(all.end(), more.begin(), more.end());
      const Outcome outcome = place.defend("eat", all);
      CAPTURE(outcome.error);
      REQUIRE(outcome.status == 0);
      return outcome.error;
    };
    CHECK(run("a").empty());
    const std::string train = place.cached("mnist-train-fgsm"), test = place.cached("mnist-test-fgsm");
    // Cut short.
    fs::resize_file(train, fs::file_size(train) / 2);
    const std::string damaged = run("b");
    CHECK(is_one_line(damaged));
    CHECK(damaged.find("it is made again") != std::string::npos);
    check_same(place, "a", "b");
    // Another set under its name.
    fs::copy_file(test, train, fs::copy_options::overwrite_existing);
    const std::string foreign = run("c");
    CHECK(foreign.find("another model, data set or version; it is made again") != std::string::npos);
    check_same(place, "a", "c");
    CHECK(run("d").empty());
    // Another model, seed or attack finds nothing in the cache that fits it.
    const size_t before = contents(place.file("cache")).size();
    REQUIRE(place.caltrop(tiny_training({"--out", "net2", "--seed", "5"})).status == 0);
    run("e", {"--weights", "net2/model.safetensors"});
    CHECK(contents(place.file("cache")).size() == 2 * before);
    run("f", {"--seed", "3"});
    CHECK(contents(place.file("cache")).size() == 3 * before);
    // The rounding of images is none of the cache's business.
    run("g", {"--eight-bits"});
    CHECK(contents(place.file("cache")).size() == 3 * before);
    const Json rounded = Json::parse(place.read("g/eat.json"))["summary"];
    for (const Json& row : rounded) CHECK(row["test"] != "exact");
  }

  TEST_CASE("defend: the tables, counted by hand") {
    JudgedTest one{.model = "m",
                   .stage = "s",
                   .test = "exact",
                   .clean = {.images = 4, .flagged = 1, .right = 2, .wrong = 1},
                   .attacked = {{.images = 3, .flagged = 2, .right = 1}, {.images = 1, .flagged = 1}}};
    one.metrics.accuracy = 4.0 / 7;
    one.attacks = {{"fgsm", {{.images = 2, .flagged = 2}, {.images = 1, .flagged = 1}}, {}},
                   {"cw", {{.images = 1, .right = 1}, {}}, {}}};
    one.sizes = {{"fgsm", Norm::linf, 0.5f, one.attacks[0].fates},
                 {"cw", Norm::l2, {}, one.attacks[1].fates}};
    JudgedTest other = one;
    other.knows_classes = false;
    CHECK(summary_table({one, other}).csv() ==
          "model,stage,test,clean,attacked,accuracy,f1,detection_accuracy,detection_f1,detection_rate,"
          "fooling_detected,wrong,false_alarms,clean_accuracy\n"
          "m,s,exact,4,3,0.5714285714285714,0,0.7142857142857143,0.6666666666666666,0.6666666666666666,1,0,0."
          "25,0.5\n"
          "m,s,exact,4,3,,,0.7142857142857143,0.6666666666666666,0.6666666666666666,1,,0.25,\n");
    // Two of two found beside one false alarm among four clean images; one of one missed.
    CHECK(attacks_table({one}).csv() ==
          "model,stage,test,attack,images,fooled,recall,fooling_recall,wrong,accuracy,f1,detection_accuracy,"
          "detection_f1\n"
          "m,s,exact,fgsm,2,0.5,1,1,0,0,0,0.8333333333333334,0.8\nm,s,exact,cw,1,0,0,,0,0,0,0.6,0\n");
    CHECK(sizes_table({one}).csv() ==
          "model,stage,test,attack,norm,size,images,fooled,recall,right\n"
          "m,s,exact,fgsm,linf,0.5,2,0.5,1,0\nm,s,exact,cw,l2,,1,0,0,1\n");
    // Who raises no alarms detects nothing, which is not a share of 0.
    JudgedTest silent = one;
    silent.detects = false;
    CHECK(summary_table({silent}).csv().ends_with("m,s,exact,4,3,0.5714285714285714,0,,,,,0,,0.5\n"));
    CHECK(sizes_table({silent}).csv().ends_with("m,s,exact,cw,l2,,1,0,,1\n"));
  }

  TEST_CASE("defend: what cannot be done is refused before any work") {
    const Trained place;
    struct Case {
      std::vector<std::string> flags;
      int status;
      std::string says;
    };
    const std::vector<Case> cases = {
        {{"--cycles", "40,25"}, 2, "--cycles must rise"},
        {{"--cycles", "25,25"}, 2, "--cycles must rise"},
        {{"--cycles", "100"}, 2, "leaves no clean image"},
        {{"--cycles", "0"}, 2, "--cycles: expected"},
        {{"--cycles", "-5"}, 2, "--cycles: expected"},
        {{"--cycles", "150", "--share-of", "clean"}, 2, "--cycles: expected"},
        {{"--cycles", "nan"}, 2, "--cycles: expected"},
        {{"--cycles", "0.1"}, 1, "are none"},
        {{"--cycles", "99.99999"}, 1, "--cycles asks for"},
        {{"--test-attacked", "2000000000"}, 1, "--test-attacked asks for"},
        {{"--pool", "20"}, 1, "--pool 20: the cycle of 15 % needs 21 attacked images"},
        {{"--controls", "leave-out", "--pool", "130"}, 1, "--controls leave-out needs"},
        {{"--controls", "leave-out", "--attacks", "pgd"}, 2, "needs two attacks"},
        {{"--controls", "updates", "--cycles", "40"}, 2, "compares the last two cycles"},
        {{"--controls", "same-size"}, 2, "the vote of defend mia"},
        {{"--controls", "leave-out", "--control-model", "target"}, 2, "none of --models"},
        {{"--unseen-attacks", "pgd"}, 2, "it is trained on"},
        {{"--unseen", "5", "--unseen-sizes", "500"}, 1, "--unseen-sizes 500 is absurd"},
        {{"--norm", "linf", "--big-sizes", "3"}, 1, "--big-sizes 3 is absurd"},
        {{"--models", "eat-4"}, 2, "--models"},
        {{"--attacks", "gma,gma"}, 2, "named twice"},
        {{"--attacks", "square"}, 2, "--attacks"},
        {{"--schedule", "steps"}, 2, "--schedule"},
        {{"--epochs", "0"}, 2, "--epochs"},
        {{"--lr", "0"}, 2, "--lr"},
        {{"--scale", "huge"}, 2, "--scale"},
        {{"--weights", "none.safetensors"}, 1, "none.safetensors: no such file"},
        {{"--resume"}, 2, "--resume needs the --out"},
        {{"--out", "net"}, 1, "net"},
        {{"--cache", "net/model.safetensors", "--out", "never"}, 1, "cannot create the folder"},
    };
    for (const Case& one : cases) {
      CAPTURE(one.says);
      const Outcome outcome = place.defend("eat", one.flags);
      CAPTURE(outcome.error);
      CHECK(outcome.status == one.status);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(one.says) != std::string::npos);
      CHECK_FALSE(fs::exists(place.file("runs")));
      CHECK_FALSE(fs::exists(place.file("never")));
    }
    const Outcome cycle = place.defend("mia", {"--bootstrap-cycle", "30"});
    CHECK((cycle.status == 2 && cycle.error.find("is none of --cycles") != std::string::npos));
    const Outcome far = place.defend("mia", {"--adaptive", "5", "--adaptive-l2", "500"});
    CHECK((far.status == 1 && far.error.find("--adaptive-l2 500 is absurd") != std::string::npos));
    const Outcome many =
        place.defend("mia", {"--models", "eat-1,eat-2,eat-3,eat-1,eat-2,eat-3,eat-1,eat-2,eat-3"});
    CHECK((many.status == 1 && many.error.find("at most 8 can vote") != std::string::npos));
    // Ten images cannot fill eleven classes; the folder does not remain.
    const Outcome few = place.defend("mia", {"--limit", "10", "--out", "few"});
    CHECK(few.status == 1);
    CHECK(is_one_line(few.error));
    CHECK(few.error.find("the bootstrap of eat-1 holds no image of class") != std::string::npos);
    CHECK_FALSE(fs::exists(place.file("few")));
    const Outcome usage = place.caltrop({"defend", "eet"});
    CHECK((usage.status == 2 && usage.error.find("did you mean eat?") != std::string::npos));
  }

  TEST_CASE("defend: a disk that is full in the middle costs one line, and nothing that was done") {
    const Trained place;
    REQUIRE(place.defend("eat", {"--models", "eat-2", "--out", "whole"}).status == 0);
    // Files above 100 kB cannot be written: the first checkpoint is larger, what was crafted is there
    // already.
    std::string line = "ulimit -f 200; exec \"$CALTROP\"";
    for (const std::string& word : Trained::words("eat", {"--models", "eat-2", "--out", "cut"}))
      line += " " + word;
    const Outcome cut = place.shell(line);
    CAPTURE(cut.error);
    CHECK(cut.status == 1);
    CHECK(is_one_line(cut.error));
    CHECK(cut.error.find("cut/") != std::string::npos);
    for (const auto& [name, bytes] : contents(place.file("cut"))) {
      CHECK((name == "config.json" || name == "metrics.jsonl"));
    }
    REQUIRE(place.defend("eat", {"--models", "eat-2", "--out", "cut", "--resume"}).status == 0);
    check_same(place, "whole", "cut");
  }

  TEST_CASE("defend: a disk that is full between two networks, or while images are crafted, loses nothing") {
    const Trained place;
    const auto with = [](const std::string& out, const std::string& cache) {
      return std::vector<std::string>{"--models", "eat-2,eat-1", "--adaptive", "0", "--cycles", "25,40",
                                      "--unseen", "0",           "--out",      out, "--cache",  cache};
    };
    REQUIRE(place.defend("mia", with("whole", "cache")).status == 0);
    const auto limited = [&](const std::string& blocks, const std::string& out, const std::string& cache) {
      std::string line = "ulimit -f " + blocks + "; exec \"$CALTROP\"";
      for (const std::string& word : Trained::words("mia", with(out, cache))) line += " " + word;
      const Outcome cut = place.shell(line);
      CAPTURE(cut.error);
      CHECK(cut.status == 1);
      CHECK(is_one_line(cut.error));
    };
    const auto go_on = [&](const std::string& out, const std::string& cache) {
      std::vector<std::string> again = with(out, cache);
      again.emplace_back("--resume");
      const Outcome rest = place.defend("mia", again);
      CAPTURE(rest.error);
      REQUIRE(rest.status == 0);
      check_same(place, "whole", out);
    };
    // 4 MB hold eat-2's checkpoint, which then is at its bootstrap's end, but not eat-1's.
    limited("8000", "cut", "cache");
    CHECK(fs::exists(place.file("cut/eat-2-bootstrap.safetensors")));
    CHECK_FALSE(fs::exists(place.file("cut/eat-1-cycle-40.safetensors")));
    go_on("cut", "cache");
    // 10 kB hold no crafted set: neither part of one nor an empty run remains.
    limited("20", "early", "new-cache");
    CHECK_FALSE(fs::exists(place.file("early")));
    CHECK(contents(place.file("new-cache")).empty());
    go_on("early", "new-cache");
    CHECK(contents(place.file("new-cache")) == contents(place.file("cache")));
  }
}

}  // namespace
}  // namespace caltrop::test
