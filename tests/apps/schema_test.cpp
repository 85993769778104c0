// Each JSON file against its JSON Schema in docs/schemas, by valijson.
#include <doctest/doctest.h>

#include <fstream>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

using Plain = nlohmann::json;

// What is wrong with a document by the schema that it names; "" where nothing is.
std::string problem(const Plain& document) {
  if (!document.is_object() || !document.contains("schema")) return "it names no schema";
  std::string name = document["schema"].get<std::string>();
  std::ranges::replace(name, '/', '-');
  std::ifstream stream(std::filesystem::path(CALTROP_SOURCE_DIR) / "docs/schemas" / (name + ".json"));
  if (!stream) return "docs/schemas has no " + name + ".json";
  const Plain text = Plain::parse(stream);
  valijson::Schema schema;
  valijson::SchemaParser().populateSchema(valijson::adapters::NlohmannJsonAdapter(text), schema);
  valijson::ValidationResults results;
  if (valijson::Validator().validate(schema, valijson::adapters::NlohmannJsonAdapter(document), &results))
    return "";
  std::string words;
  for (valijson::ValidationResults::Error error; results.popError(error);) {
    for (const std::string& place : error.context) words += place;
    words += ": " + error.description + "; ";
  }
  return words;
}

TEST_SUITE("apps") {
  TEST_CASE(
      "schemas: every JSON file of the attacking commands is what its schema says, and nothing else is") {
    const Workplace place;
    for (const char* seed : {"1", "2"})
      REQUIRE(place.caltrop(tiny_training({"--out", std::string("net") + seed, "--seed", seed})).status == 0);
    const std::string net = "net1/model.safetensors", both = net + ",net2/model.safetensors";
    place.write("study.json",
                R"({"schema": "study/1", "datasets": ["mnist"], "seeds": 2, "eps": ["8/255", 0.1],
      "networks": [{"name": "small", "arch": "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10", "epochs": 1},
                   {"name": "other", "arch": "flatten | dense 10", "train": ["plain:epochs=1"]}],
      "attacks": ["fgsm", {"attack": "pgd", "steps": 2}]})");
    const std::vector<std::vector<std::string>> runs = {
        {"attack", "pgd", "--steps", "2", "--eps", "8/255", "--weights", net, "--limit", "9", "--out", "pgd"},
        {"attack", "deepfool", "--weights", net, "--limit", "9", "--out", "deepfool"},
        {"attack", "autoattack", "--version", "rand", "--weights", net, "--eps", "0.1", "--limit", "3",
         "--out", "aa"},
        {"eval", "--weights", net, "--out", "eval"},
        {"eval", "--attacked", "pgd/adversarial.npz", "--weights", net, "--out", "judged"},
        {"verify", "pgd/adversarial.npz", "--weights", net, "--out", "verdict"},
        {"sweep", "--weights", both, "--attacks", "fgsm,pgd:steps=2", "--eps", "0.1", "--limit", "9", "--out",
         "sweep", "--json", "sweep.json"},
        {"sweep", "--weights", net, "--attacks", "fgsm", "--eps", "0.1", "--dry-run", "--json", "plan.json"},
        {"transfer", "--weights", both, "--attacks", "fgsm", "--eps", "0.1", "--limit", "9", "--out",
         "transfer", "--json", "transfer.json"},
        {"study", "study.json", "--out", "study", "--json", "done.json"}};
    for (std::vector<std::string> words : runs) {
      words.emplace_back("--quiet");
      const Outcome outcome = place.caltrop(words);
      CAPTURE(outcome.error);
      REQUIRE(outcome.status == 0);
    }
    int files = 0;
    std::map<std::string, Plain> seen;
    for (const auto& [name, bytes] : contents(place.path())) {
      if (!name.ends_with(".json") || name.starts_with("net")) continue;
      const Plain document = Plain::parse(bytes);
      const std::string wrong = problem(document);
      const std::string& file = name;
      CAPTURE(file);
      CHECK(wrong == "");
      ++files;
      seen[document.value("schema", "")] = document;
    }
    CHECK(files > 25);
    CHECK(seen.size() == 13);  // as many as docs/schemas holds
    // A field that is lacking, of another type or beyond its range is found.
    Plain summary = seen.at("attack/2");
    summary.erase("tolerance");
    CHECK(problem(summary) != "");
    summary = seen.at("attack/2");
    summary["robust_accuracy"] = 1.5;
    CHECK(problem(summary) != "");
    summary["robust_accuracy"] = "all";
    CHECK(problem(summary) != "");
    Plain stored = seen.at("study-attacks/3");
    stored["attacks"][0]["sizes"][0]["robust"] = "0120";
    CHECK(problem(stored) != "");
  }

  TEST_CASE("schemas: the JSON of training, defences, GMA, poisoning, the demonstration and benchmarks") {
    const Workplace place;
    REQUIRE(place.caltrop(tiny_training({"--out", "net", "--json", "train.json"})).status == 0);
    const std::string net = "net/model.safetensors";
    const std::vector<std::vector<std::string>> runs = {
        {"defend",
         "mia",
         "--weights",
         net,
         "--scale",
         "smoke",
         "--limit",
         "120",
         "--test-images",
         "40",
         "--models",
         "eat-2,eat-2",
         "--cycles",
         "30,40",
         "--attacks",
         "fgsm,cw",
         "--test-attacked",
         "20",
         "--unseen",
         "6",
         "--adaptive",
         "2",
         "--adaptive-steps",
         "2",
         "--adaptive-attacks",
         "pgd,cw",
         "--cw-steps",
         "5",
         "--cw-rounds",
         "1",
         "--controls",
         "leave-out",
         "--out",
         "mia",
         "--json",
         "mia.json"},
        {"defend",          "adversarial", "--weights",     net,  "--scale",    "smoke",
         "--limit",         "60",          "--test-images", "30", "--epochs",   "1",
         "--test-attacked", "9",           "--unseen",      "0",  "--adaptive", "0",
         "--out",           "adversarial"},
        {"gma", "analyze", "--weights", net, "--limit", "3", "--steps", "1", "--out", "analysis"},
        {"gma", "generate", "--weights", net, "--limit", "2", "--subset", "test", "--steps", "1", "--out",
         "set", "--json", "set.json"},
        {"gma",       "poison", "--limit",  "100",
         "--dataset", "mnist",  "--arch",   "conv 2 3x3 | gelu | avgpool 4 | flatten | dense 10",
         "--seeds",   "2",      "--epochs", "1",
         "--ascents", "1",      "--unroll", "1",
         "--group",   "8",      "--out",    "poison"},
        {"gma", "poison", "--limit", "100", "--dataset", "mnist", "--arch",
         "conv 2 3x3 | gelu | avgpool 4 | flatten | dense 10", "--epochs", "1", "--unroll", "2", "--group",
         "4", "--check", "--json", "check.json"},
        {"demo", "--dataset", "mnist", "--limit", "120", "--epochs", "1", "--images", "6", "--defence-epochs",
         "1", "--adaptive", "1", "--out", "demo"},
        {"bench", "--json", "jobs.json"},
        {"info", "--json", "info.json"},
        {"info", "--model", "target", "--json", "network.json"},
        {"export", "--weights", net, "--dataset", "mnist", "--limit", "2", "--images", "npz", "--out",
         "export", "--json", "export.json"},
        {"paper", "gma-mia", "--figure", "7", "--dataset", "mnist", "--scale", "smoke", "--out", "gma-mia",
         "--json", "gma-mia.json"},
        {"paper", "kim", "--dataset", "mnist", "--scale", "smoke", "--train-images", "10", "--out", "kim",
         "--json", "kim.json"},
        {"bench", "layers", "--arch", "conv 2 3x3 | relu | flatten | dense 10", "--batch", "2", "--repeats",
         "1", "--out", "layers"},
        {"bench", "kernels", "softmax", "--version", "1", "--device", "emulated", "--out", "kernels"}};
    for (std::vector<std::string> words : runs) {
      words.emplace_back("--quiet");
      const Outcome outcome = place.caltrop(words);
      CAPTURE(words[1]);
      CAPTURE(outcome.error);
      REQUIRE(outcome.status == 0);
    }
    // Where its helper is not built there is no file to look at.
    (void)place.caltrop(
        {"emulate", "matmul", "--m", "4", "--thread", "0,0,0", "--out", "emulated", "--quiet"});
    std::map<std::string, Plain> seen;
    for (const auto& [name, bytes] : contents(place.path())) {
      if (!name.ends_with(".json")) continue;
      const Plain document = Plain::parse(bytes);
      const std::string wrong = problem(document);
      const std::string& file = name;
      CAPTURE(file);
      CHECK(wrong == "");
      seen[document.value("schema", "")] = document;
    }
    for (const char* name :
         {"train/1", "train-test/1", "defend/1", "gma-analysis/1", "gma-set/1", "poison/1", "poison-check/1",
          "demo/1", "info/1", "info-network/1", "export/1", "paper-gma-mia/1", "paper-kim/1", "bench-jobs/1",
          "bench-layers/1", "bench-kernels/1"}) {
      CAPTURE(name);
      REQUIRE(seen.contains(name));
      Plain lacking = seen.at(name);
      for (const auto& [key, value] : seen.at(name).items())
        if (key != "schema" && key != "out" && key != "metrics") lacking.erase(key);
      CHECK(problem(lacking) != "");
    }
    Plain defence = seen.at("defend/1");
    defence["summary"][0]["false_alarms"] = 2;
    CHECK(problem(defence) != "");
  }
}

}  // namespace
}  // namespace caltrop::test
