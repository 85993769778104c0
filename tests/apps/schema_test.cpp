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
    Plain stored = seen.at("study-attacks/2");
    stored["attacks"][0]["sizes"][0]["robust"] = "0120";
    CHECK(problem(stored) != "");
  }
}

}  // namespace
}  // namespace caltrop::test
