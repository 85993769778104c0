// caltrop study: files that say what is trained and attacked; the script of the guide that reads what they leave.
#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "engine/safetensors.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

constexpr const char* kStudy = R"({
  "schema": "study/1",
  "datasets": [{"dataset": "mnist", "limit": 25}],
  "networks": [{"name": "small", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10", "epochs": 1},
               {"weights": "net/model.safetensors", "name": "given"}],
  "shares": [0.2, 1], "seeds": 2, "eps": [0.05, "26/255"],
  "attacks": ["fgsm", {"name": "PGD", "attack": "pgd", "steps": 2, "random_start": "no"},
              {"attack": "deepfool", "norm": "l2", "eps": "0.5:1:0.5"}]})";

constexpr const char* kTrainings = R"({
  "datasets": [{"dataset": "mnist", "limit": 30}],
  "networks": [{"name": "once", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10", "train": ["plain:epochs=1"]},
               {"name": "again", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10",
                "train": [{"epochs": 1}, {"epochs": 2}]},
               {"name": "hardened", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10",
                "train": [{"defence": "adversarial", "eps": 0.1, "epochs": 1}, "plain:epochs=1", "adversarial:epochs=1"]},
               {"name": "voting", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10", "train_images": 120,
                "train": ["plain:epochs=2", {"defence": "mia", "scale": "smoke", "models": "eat-2,eat-2", "cycles": "40",
                          "attacks": "fgsm", "norm": "linf", "big_sizes": [0.1, 0.2], "bootstrap_epochs": 3}]}],
  "eps": [0.05, 0.2], "until_robust": 0.3,
  "attacks": [{"attack": "fgsm", "until_robust": 0}, {"attack": "deepfool", "norm": "l2", "eps": [1]}]})";

constexpr const char* kBeside = R"({
  "datasets": [{"dataset": "mnist", "limit": 20}],
  "networks": [{"name": "cleaned", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10", "train_images": 100,
                "train": ["plain:epochs=1", "ape-gan:attacks=fgsm:epochs=1:width=2"]},
               {"name": "watched", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10", "train_images": 100,
                "train": ["plain:epochs=1", {"defence": "filter-statistics", "attacks": "fgsm", "false_alarms": 0.1}]}],
  "eps": [0.2], "attacks": ["fgsm", {"name": "blind", "attack": "fgsm", "unaware": true}]})";

// Runs study.json into the folder `out`, which must succeed; its files.
Files study_in(const Workplace& place, const std::string& out, const std::vector<std::string>& more) {
  std::vector<std::string> words = {"study", "study.json", "--quiet", "--out", out};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome outcome = place.caltrop(words);
  CAPTURE(outcome.error);
  REQUIRE(outcome.status == 0);
  return contents(place.file(out));
}

TEST_SUITE("apps") {
  TEST_CASE("study: what stands before a network and what stands beside it, attacked again from its files") {
    const Workplace place;
    place.write("study.json", kBeside);
    const Files whole = study_in(place, "whole", {});
    // The cleaner and its network are one network in one file; a detector is none.
    const SafeTensorFile cleaned = read_safetensors(place.file("whole/mnist-cleaned-seed-0.safetensors"));
    CHECK(cleaned.metadata.at("arch").find("deconv 1 4x4 stride 2 pad 1 | sigmoid | conv 2 3x3") !=
          std::string::npos);
    CHECK_FALSE(whole.contains("mnist-watched-seed-0.safetensors"));
    CHECK(whole.contains("mnist-watched-seed-0/2-filter-statistics/cascade.safetensors"));
    CHECK(Json::parse(whole.at("mnist-cleaned-seed-0-trained.json"))["detects"] == false);
    CHECK(Json::parse(whole.at("mnist-watched-seed-0-trained.json"))["detects"] == true);
    for (const char* name : {"cleaned", "watched"}) {
      CAPTURE(name);
      const Json attacks =
          Json::parse(whole.at(fmt::format("mnist-{}-seed-0-attacks.json", name)))["attacks"];
      REQUIRE(attacks.size() == 2);
      CHECK((attacks[0]["about"].value("unaware", false) == false && attacks[1]["about"]["unaware"] == true));
      CHECK(attacks[0]["sizes"] != attacks[1]["sizes"]);
      CHECK(attacks[0]["clean_correct"] == attacks[1]["clean_correct"]);  // the defence judges both
      REQUIRE(
          place.shell(fmt::format("cp -r whole {0} && rm {0}/mnist-{0}-seed-0-attacks.json", name)).status ==
          0);
      check_equal(whole, study_in(place, name, {"--resume"}));
    }
  }

  TEST_CASE("study: trainings one after the other, and a defence that votes and raises alarms") {
    const Workplace place;
    place.write("study.json", kTrainings);
    const auto run = [&](const std::string& out, const std::vector<std::string>& more) {
      return study_in(place, out, more);
    };
    const Files whole = run("whole", {});
    const auto tensors = [&](const std::string& name) {
      return read_safetensors(place.file("whole/" + name)).tensors;
    };
    // A training of one epoch is that of 'caltrop train'; one more goes on from what is kept of it.
    REQUIRE(place
                .caltrop(tiny_training({"--arch", "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10",
                                        "--epochs", "1", "--out", "same"}))
                .status == 0);
    const auto once = read_safetensors(place.file("same/model.safetensors")).tensors;
    CHECK(tensors("mnist-once-seed-0.safetensors") == once);
    CHECK(tensors("mnist-again-seed-0/1-plain/model.safetensors") == once);
    CHECK(tensors("mnist-again-seed-0/2-plain/model.safetensors") ==
          tensors("mnist-again-seed-0.safetensors"));
    CHECK_FALSE(tensors("mnist-again-seed-0.safetensors") == once);
    const std::string& metrics = whole.at("mnist-again-seed-0/2-plain/metrics.jsonl");
    CHECK(std::ranges::count(metrics, '\n') == 2);
    CHECK(Json::parse(metrics.substr(0, metrics.find('\n')))["test_accuracy"].is_number());

    // A defence trains what it does by itself, and what comes after goes on from that.
    REQUIRE(place
                .caltrop({"defend",          "adversarial",
                          "--weights",       "same/model.safetensors",
                          "--data-dir",      small_data() + "/mnist",
                          "--limit",         "500",
                          "--eps",           "0.1",
                          "--epochs",        "1",
                          "--scale",         "smoke",
                          "--test-attacked", "5",
                          "--unseen",        "0",
                          "--adaptive",      "0",
                          "--out",           "hand",
                          "--quiet"})
                .status == 0);
    const auto hand = read_safetensors(place.file("hand/model.safetensors")).tensors,
               first = tensors("mnist-hardened-seed-0/1-adversarial/model.safetensors"),
               second = tensors("mnist-hardened-seed-0/2-plain/model.safetensors");
    CHECK(first == hand);
    CHECK_FALSE(second == first);
    CHECK(tensors("mnist-hardened-seed-0/3-adversarial/model.safetensors") ==
          tensors("mnist-hardened-seed-0.safetensors"));
    CHECK(std::ranges::count(whole.at("mnist-hardened-seed-0/3-adversarial/metrics.jsonl"), '\n') == 1);

    CHECK_FALSE(whole.contains("mnist-voting-seed-0.safetensors"));  // there is no single network
    CHECK(whole.contains("mnist-voting-seed-0/2-mia/eat-2.2-bootstrap.safetensors"));
    for (const auto& [name, bytes] : whole) CHECK(name.find("crafted") == std::string::npos);
    const Json trained = Json::parse(whole.at("mnist-voting-seed-0-trained.json"));
    CHECK(trained["detects"] == true);
    CHECK(trained["trainings"][0] == "plain:epochs=2");
    for (const Json& row : Json::parse(whole.at("results.json"))["rows"]) {
      const bool votes = row["network"] == "voting";
      CAPTURE(row.dump());
      if (row["attack"] == "fgsm")
        CHECK((row["until_robust"] == 0 && row["reached"] == "yes" && row["n"] == 1));
      if (row["attack"] == "deepfool") CHECK((row["until_robust"] == 0.3 && !row["reached"].is_null()));
      CHECK(row["robust"] <= row["clean_correct"]);
      if (votes) CHECK(row["clean_correct"] <= trained["right"]);
      CHECK(row["calibration_error"].is_null() == (votes || row["attack"] == "all"));
    }
    const Json stored = Json::parse(whole.at("mnist-voting-seed-0-attacks.json"))["attacks"][0];
    CHECK(stored["about"]["trainings"].size() == 2);
    CHECK(stored["about"]["tensors_crc32"] == trained["tensors_crc32"]);

    // What is not as it was recorded is not taken for it.
    REQUIRE(place.shell("cp -r whole cut && truncate -s 3000 cut/mnist-again-seed-0.safetensors").status ==
            0);
    const Outcome cut = place.caltrop({"study", "study.json", "--quiet", "--out", "cut", "--resume"});
    CHECK(cut.status == 1);
    CHECK(is_one_line(cut.error));
    CHECK(cut.error.find("mnist-again-seed-0.safetensors") != std::string::npos);
    REQUIRE(place.shell("cp same/model.safetensors cut/mnist-again-seed-0.safetensors").status == 0);
    CHECK(place.caltrop({"study", "study.json", "--quiet", "--out", "cut", "--resume"})
              .error.find("it has changed; delete both") != std::string::npos);
    REQUIRE(place.shell("rm cut/mnist-again-seed-0.safetensors").status == 0);
    check_equal(whole, run("cut", {"--resume"}));

    // Killed while it is defended, and when one attack on it is done; the same for one thread.
    int kills = 0;
    for (const char* seen : {"killed/mnist-voting-seed-0/2-mia/checkpoint.safetensors",
                             "killed/mnist-voting-seed-0-attacks.json"}) {
      const pid_t process =
          place.start({"study", "study.json", "--quiet", "--out", "killed", "--threads", "1", "--resume"});
      while (::access(place.file(seen).c_str(), F_OK) != 0 &&
             ::access(place.file("killed/report.html").c_str(), F_OK) != 0)
        ::usleep(200);
      kills += stop(process) ? 1 : 0;
    }
    CHECK(kills >= 1);
    check_equal(whole, run("killed", {"--resume"}));

    const Json plan = Json::parse(place.output({"study", "study.json", "--dry-run", "--json", "-"}));
    double seconds = 0;
    for (const Json& part : plan["parts"])
      if (part["part"].get<std::string>().starts_with("mia")) seconds = part["seconds"].get<double>();
    CHECK(seconds > 0);
    int64_t bytes = 0;
    for (const auto& [name, content] : whole)
      if (name.ends_with(".safetensors")) bytes += static_cast<int64_t>(content.size());
    CHECK(plan["bytes"] > bytes);

    const auto refused = [&](const std::string& from, const std::string& to, const std::string& says) {
      std::string text = kTrainings;
      const size_t at = text.find(from);
      REQUIRE(at != std::string::npos);
      place.write("study.json", text.replace(at, from.size(), to));
      const Outcome outcome = place.caltrop({"study", "study.json", "--quiet", "--out", "never"});
      CAPTURE(outcome.error);
      CHECK(outcome.status == 1);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(says) != std::string::npos);
      CHECK_FALSE(std::filesystem::exists(place.file("never")));
    };
    refused("plain:epochs=1", "plane:epochs=1",
            "networks[0]: train[0]: plane: expected a training, one of plain");
    refused("plain:epochs=1", "plain:epochs=0",
            "train[0]: plain:epochs=0: --epochs: expected a whole number");
    refused("[\"plain:epochs=1\"]", "[]", "networks[0]: train: expected a list of trainings");
    refused("[\"plain:epochs=1\"]", "[\"plain\"], \"epochs\": 3", "networks[0]: unknown option --epochs");
    refused("\"plain:epochs=2\", ", "", "networks[3]: mia:scale=smoke");
    refused("\"adversarial:epochs=1\"", "\"adversarial:epochs=1:from=same/model.safetensors\"",
            "leave 'from' out");
    refused("\"defence\": \"adversarial\"", "\"from\": \"nowhere\", \"defence\": \"adversarial\"",
            "networks[2]: train[0]: from: nowhere: no such file");
    refused("\"bootstrap_epochs\": 3}", "\"bootstrap_epochs\": 3}, \"plain\"", "nothing can go on from mia");
    refused("\"cycles\": \"40\"", "\"cycles\": \"40,30\"", "train[1]: mia:scale=smoke");
    refused(
        "\"arch\": \"conv 2 3x3 | relu | maxpool 4 | flatten | dense 10\", \"train\": [\"plain:epochs=1\"]",
        "\"weights\": \"same/model.safetensors\", \"epochs\": 3", "networks[0]: --weights excludes --epochs");
  }

  TEST_CASE("study: trains, attacks, resumes with the same bytes; the guide's script reads it") {
    const Workplace place;
    REQUIRE(place.caltrop(tiny_training({"--out", "net"})).status == 0);
    place.write("study.json", kStudy);
    const auto run = [&](const std::string& out, const std::vector<std::string>& more) {
      return study_in(place, out, more);
    };
    const Files whole = run("whole", {});
    for (const char* name : {"mnist-small-seed-1.safetensors", "mnist-small-share-0.2-seed-0-attacks.json",
                             "mnist-given-seed-1-attacks.json", "table-linf.tex", "table-l2.tex",
                             "curve-small-share-0.2-l2.gp", "curve-given-linf.gp", "report.html"}) {
      CAPTURE(name);
      CHECK(whole.contains(name));
    }
    CHECK_FALSE(whole.contains("mnist-given-seed-0.safetensors"));
    const Json results = Json::parse(whole.at("results.json"))["rows"];
    // Three networks, two seeds; at two sizes two attacks and both together, at two of another norm one.
    CHECK(results.size() == 3 * 2 * (2 * 3 + 2 * 1));
    const Json config = Json::parse(whole.at("config.json"));
    CHECK(config["study"] == Json::parse(kStudy));
    CHECK(config["data"]["mnist"]["test"]["images"] == 25);
    CHECK(config["inputs"]["weights_crc32"].contains("given"));
    // The trained network is that of 'caltrop train', of a share and of another seed it is another.
    REQUIRE(place
                .caltrop(tiny_training({"--arch", "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10",
                                        "--epochs", "1", "--seed", "1", "--out", "same"}))
                .status == 0);
    CHECK(read_safetensors(place.file("same/model.safetensors")).tensors ==
          read_safetensors(place.file("whole/mnist-small-seed-1.safetensors")).tensors);
    CHECK(whole.at("mnist-small-share-0.2-seed-0.safetensors") != whole.at("mnist-small-seed-0.safetensors"));
    CHECK(whole.at("mnist-small-seed-0.safetensors") != whole.at("mnist-small-seed-1.safetensors"));

    const pid_t process =
        place.start({"study", "study.json", "--quiet", "--out", "killed", "--threads", "1"});
    while (::access(place.file("killed/mnist-small-share-0.2-seed-1-attacks.json").c_str(), F_OK) != 0 &&
           ::access(place.file("killed/report.html").c_str(), F_OK) != 0)
      ::usleep(200);
    stop(process);
    check_equal(whole, run("killed", {"--resume"}));

    // Another study is not the one that was begun, but a seed more is, in a file that may have moved.
    const auto with = [](const std::string& from, const std::string& to) {
      std::string other = kStudy;
      return other.replace(other.find(from), from.size(), to);
    };
    place.write("study.json", with("\"steps\": 2", "\"steps\": 3"));
    const Outcome refused = place.caltrop({"study", "study.json", "--out", "whole", "--resume"});
    CHECK(refused.status == 1);
    CHECK(refused.error.find("has the study's attacks[1].steps 2, not 3") != std::string::npos);
    place.write("moved.json", with("\"seeds\": 2", "\"seeds\": 1"));
    REQUIRE(place.caltrop({"study", "moved.json", "--quiet", "--out", "grown"}).status == 0);
    CHECK_FALSE(std::filesystem::exists(place.file("grown/mnist-small-seed-1.safetensors")));
    place.write("study.json", kStudy);
    check_equal(whole, run("grown", {"--resume"}));

    if (place.shell("command -v python3").status != 0) {
      MESSAGE("SKIP: no python3 for the script of docs/studies.md");
      return;
    }
    std::ifstream stream(std::filesystem::path(CALTROP_SOURCE_DIR) / "docs/studies.md");
    const std::string guide{std::istreambuf_iterator<char>(stream), {}}, begin = "```python\n";
    const size_t from = guide.find(begin) + begin.size();
    const std::string script = guide.substr(from, guide.find("```", from) - from);
    CHECK(std::ranges::count(script, '\n') <= 20);
    place.write("read.py", script);
    const Outcome read = place.shell("python3 read.py whole");
    CAPTURE(read.error);
    CHECK(read.status == 0);
    // It shows what summary.json says.
    const Json summary = Json::parse(whole.at("summary.json"))["rows"];
    for (const Json& row : summary) {
      const std::string line = fmt::format(
          "{:12} {:24} {:>8} {:6.2f} % ", row["network"].get<std::string>(), row["attack"].get<std::string>(),
          row["size_asked"].get<std::string>(), 100 * row["robust_accuracy"].get<double>());
      CAPTURE(line);
      CHECK(read.out.find(line) != std::string::npos);
    }
  }

  TEST_CASE("study: a training that goes on from a file is of that file's weights") {
    const Workplace place;
    REQUIRE(place.caltrop(tiny_training({"--out", "net"})).status == 0);
    REQUIRE(place.caltrop(tiny_training({"--out", "other", "--seed", "3"})).status == 0);
    const std::string line = read_safetensors(place.file("net/model.safetensors")).metadata.at("arch");
    place.write("study.json",
                Json{{"datasets", {{{"dataset", "mnist"}, {"limit", 10}}}},
                     {"networks",
                      {{{"name", "more"},
                        {"arch", line},
                        {"train_images", 100},
                        {"train", {"adversarial:eps=0.1:epochs=1:from=net/model.safetensors"}}}}},
                     {"eps", 0.1},
                     {"attacks", {"fgsm"}}}
                    .dump());
    const Files whole = study_in(place, "out", {});
    const Json config = Json::parse(whole.at("config.json"));
    CHECK(config["inputs"]["from_crc32"]["more"].is_string());
    CHECK(Json::parse(whole.at("results.json"))["run"]["inputs"] == config["inputs"]);
    REQUIRE(place.shell("cp other/model.safetensors net/model.safetensors").status == 0);
    const Outcome refused = place.caltrop({"study", "study.json", "--out", "out", "--resume"});
    CHECK(refused.status == 1);
    CHECK(refused.error.find("has the inputs's from_crc32.more") != std::string::npos);
  }

  TEST_CASE("study: what is wrong in a file is said with its place, and nothing is written") {
    const Workplace place;
    const auto refused = [&](const std::string& from, const std::string& to, const std::string& says) {
      std::string text = kStudy;
      const size_t at = text.find(from);
      REQUIRE(at != std::string::npos);
      place.write("study.json", text.replace(at, from.size(), to));
      const Outcome outcome = place.caltrop({"study", "study.json", "--quiet", "--out", "never"});
      CAPTURE(outcome.error);
      CHECK(outcome.status == 1);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find("study.json: ") != std::string::npos);
      CHECK(outcome.error.find(says) != std::string::npos);
      CHECK_FALSE(std::filesystem::exists(place.file("never")));
    };
    refused("study/1", "study/2", "expected the schema study/1");
    refused("\"seeds\"", "\"sedes\"", "unknown option --sedes");
    refused("\"seeds\": 2", "\"seeds\": 2, \"seeds\": 3", "the key 'seeds' comes twice in one object");
    refused("\"seeds\": 2", "\"seeds\": 0", "--seeds: expected a whole number from 1");
    refused("[0.2, 1]", "[0.2, 2]", "--shares: expected a number above 0 and at most 1");
    refused("[0.2, 1]", "{}", "shares: expected a value or a list");
    refused("\"epochs\": 1", "\"epoch\": 1", "networks[0]: unknown option --epoch; did you mean --epochs?");
    refused("\"name\": \"given\"", "\"name\": \"small\"", "two networks are called small");
    refused("\"name\": \"small\"", "\"name\": \"a/b\"", "networks[0]: name: 'a/b' is no name");
    refused("\"limit\": 25", "\"limit\": 0", "datasets[0]: --limit: expected a whole number from 1");
    refused("\"attacks\": [\"fgsm\"", "\"attacks\": [\"fsgm\"", "attacks[0]: fsgm: attack: expected one of");
    refused("\"norm\": \"l2\"", "\"norm\": \"l3\"", "attacks[2]: --norm: expected one of linf, l2, l1");
    refused("\"steps\": 2", "\"until_robust\": 2",
            "attacks[1]: --until-robust: expected a number of at least 0 and at most 1");
    refused("\"steps\": 2", "\"eot\": 5", "PGD: --eot averages over what is random");
    refused("\"steps\": 2", "\"unaware\": true", "PGD: --unaware is of a defence that an attacker may know");
    refused("\"epochs\": 1", "\"epochs\": 1, \"layout\": \"torch\"", "networks[0]: layout: it is of weights");
    refused("\"name\": \"given\"", "\"name\": \"given\", \"epochs\": 3",
            "networks[1]: --weights excludes --epochs");
    refused("\"epochs\": 1", "\"train_images\": 501", "networks[0]: train_images 501: mnist has 500");
    refused("[0.2, 1]", "[0.0001, 1]", "networks[0]: shares: 0.0001 of 500 training images is none");
    refused("\"epochs\": 1", "\"pool_stride\": 1", "networks[0]: --arch excludes --pool-stride");
    refused("net/model.safetensors", "nowhere.safetensors", "networks[1]: ");
    refused("dense 10", "dense 9", "networks[0]: small has 9 outputs");
    refused("\"eps\": [0.05, \"26/255\"]", "\"eps\": 5", "attacks[0]: ");
    refused("\"steps\": 2", "\"overshoot\": 2", "attacks[1]: PGD: --overshoot is for deepfool");
    refused("\"attack\": \"pgd\"", "\"attack\": 3", "attacks[1]: 'attack' is missing");
    refused("\"eps\": [0.05, \"26/255\"],", "", "attacks[0]: eps is missing");
    refused("\"datasets\"", "\"dataset\"", "unknown option --dataset");
    refused("{\n", "[{\n", "expected JSON");
  }
}

}  // namespace
}  // namespace caltrop::test
