// The study library: the worked example of docs/adding_a_study.md, run at a tiny size, cut off and gone on with.
#include "apps/study/run.h"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/report/table.h"
#include "apps/study/comparison.h"
#include "apps/study/defence_run.h"
#include "tests/apps/program.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

// [adding_a_study] The block below is that of the guide.
Study example_study(const std::string& data_dir) {
  const std::vector<GmaSize> sizes = plain_sizes(std::vector<float>{0.05f, 0.1f});
  AttackOptions pgd = attack_defaults(AttackKind::pgd);
  pgd.steps = 3;
  return {
      .dataset = "mnist",
      .data_dir = data_dir,
      .arms =
          {{.name = "narrow", .line = "conv 2 3x3 | relu | maxpool 4 | flatten | dense 10", .attacked = 20},
           {.name = "wide", .line = "conv 8 3x3 | relu | maxpool 4 | flatten | dense 10", .attacked = 20}},
      .seeds = {0, 1},
      .attacks = {{"fgsm", attack_defaults(AttackKind::fgsm), sizes}, {"pgd", pgd, sizes}}};
}

// What the paper prints, as a fraction.
double printed_accuracy(const std::string& arm) {
  return arm == "narrow" ? 0.12 : 0.34;
}

Table example_table(const std::vector<CellResult>& results) {
  ComparedTable table({{"network", "network"}}, {{"accuracy", "under PGD", true}});
  for (const std::string arm : {"narrow", "wide"}) {
    const MeanAndDeviation ours = over_cells(
        results, "mnist", arm, [](const CellResult& cell) { return cell.under("pgd").worst_accuracy; });
    table.row({arm}, {{ours, printed_accuracy(arm)}});
  }
  return table.table();
}
// [end]

std::string text_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

Json run_example(const fs::path& folder_path, const Study& study, bool resume = false) {
  Console console("-", true);  // says nothing
  CommonOptions common;
  Backend& backend = open_backend(common, console);
  const RunFolder folder(folder_path, {{{"study", "example"}}, Json::object()}, resume);
  const StudyResults results = run_study(cells_of(study), {folder, backend, console});
  REQUIRE(results.cells.size() == 4);
  const Table table = example_table(results.cells);
  folder.write_table("table", table);
  for (const CellResult& cell : results.cells) {
    CHECK(cell.attacked() == 20);
    for (const GmaAnalysis& attack : cell.attacks) {
      REQUIRE(attack.sizes.size() == 2);
      for (const GmaSizeResult& size : attack.sizes) {
        REQUIRE(size.tries.size() == 1);
        CHECK(size.tries[0].ball_violations == 0);
        CHECK(size.tries[0].max_linf <= doctest::Approx(size.size.eps));
        CHECK(size.tries[0].max_linf > 0);
      }
    }
    CHECK(refusal([&] { (void)cell.under("cw"); }).find("was not attacked with cw") != std::string::npos);
  }
  return table.json();
}

TEST_SUITE("apps") {
  TEST_CASE("study: the worked example of the guide is the code that is tested") {
    const std::string guide = text_of(fs::path(CALTROP_SOURCE_DIR) / "docs/adding_a_study.md"),
                      test = text_of(fs::path(CALTROP_SOURCE_DIR) / "tests/apps/study_test.cpp");
    const std::string begin = "is that of the guide.\n", end = "// [end]";
    const size_t from = test.find(begin) + begin.size();
    CHECK(guide.find("```cpp\n" + test.substr(from, test.find(end, from) - from) + "```") !=
          std::string::npos);
  }

  TEST_CASE("study: networks, seeds and attacks; cut off and resumed with the same bytes") {
    const Workplace place;
    const Study study = example_study(small_data());
    const Json table = run_example(place.file("whole"), study);
    REQUIRE(table.size() == 2);
    CHECK(table[1]["accuracy_sd"].is_number());
    const auto whole = contents(place.file("whole"));
    CHECK(whole.contains("mnist-narrow-seed-1.safetensors"));

    // Cut off before the second attack on one network, and before another network was trained.
    const fs::path cut = place.file("cut");
    fs::copy(place.file("whole"), cut);
    Json stored = Json::parse(place.read("cut/mnist-narrow-seed-0-attacks.json"));
    stored["attacks"].erase(1);
    place.write("cut/mnist-narrow-seed-0-attacks.json", stored.dump(2) + "\n");
    for (const char* name : {"mnist-wide-seed-1.safetensors", "mnist-wide-seed-1-attacks.json", "table.csv"})
      fs::remove(cut / name);
    CHECK(run_example(cut, study, true) == table);
    CHECK(contents(cut) == whole);

    // What other weights or options gave is made again; what fits is taken as it stands.
    stored = Json::parse(place.read("cut/mnist-wide-seed-0-attacks.json"));
    stored["attacks"][0]["sizes"][0]["tries"][0]["correct"] = 19;  // told from a new one by this
    stored["attacks"][1]["about"]["attack"] = "another";
    place.write("cut/mnist-wide-seed-0-attacks.json", stored.dump(2) + "\n");
    run_example(cut, study, true);
    const Json again = Json::parse(place.read("cut/mnist-wide-seed-0-attacks.json"));
    CHECK(again["attacks"][0]["sizes"][0]["tries"][0]["correct"] == 19);
    CHECK(again["attacks"][1] == Json::parse(whole.at("mnist-wide-seed-0-attacks.json"))["attacks"][1]);

    // One that has to be made again takes none of those behind it along.
    place.write("cut/mnist-wide-seed-0-attacks.json", whole.at("mnist-wide-seed-0-attacks.json"));
    stored = Json::parse(place.read("cut/mnist-wide-seed-0-attacks.json"));
    stored["attacks"][0]["about"]["attack"] = "another";
    place.write("cut/mnist-wide-seed-0-attacks.json", stored.dump(2) + "\n");
    run_example(cut, study, true);
    CHECK(contents(cut) == whole);

    // Neither results of another network nor counts that contradict one another are taken.
    const Json good = Json::parse(whole.at("mnist-wide-seed-0-attacks.json"));
    for (const auto& [place_of, value] :
         {std::pair("/attacks/0/about/tensors_crc32", Json("00000000")),
          {"/attacks/0/clean_correct", Json(good["attacks"][0]["clean_correct"].get<int64_t>() + 1)},
          {"/attacks/1/sizes/0/robust", Json("1")},
          {"/attacks/1/sizes", Json("none")}}) {
      Json other = good;
      other[Json::json_pointer(place_of)] = value;
      place.write("cut/mnist-wide-seed-0-attacks.json", other.dump(2) + "\n");
      const std::string refused = refusal([&] { run_example(cut, study, true); });
      CAPTURE(std::string(place_of));
      CAPTURE(refused);
      CHECK(refused.find("mnist-wide-seed-0-attacks.json") != std::string::npos);
      CHECK(refused.find("delete") != std::string::npos);
    }
    place.write("cut/mnist-wide-seed-0-attacks.json", whole.at("mnist-wide-seed-0-attacks.json"));

    for (const auto& [text, says] :
         {std::pair("{\"attacks\": [{}]", "expected JSON"), std::pair("{}", "damaged")}) {
      place.write("cut/mnist-wide-seed-0-attacks.json", text);
      const std::string refused = refusal([&] { run_example(cut, study, true); });
      CAPTURE(refused);
      CHECK(refused.find(says) != std::string::npos);
      CHECK(refused.find("mnist-wide-seed-0-attacks.json") != std::string::npos);
    }
  }

  TEST_CASE("study: an attack that seeks the smallest perturbation runs once for all sizes") {
    const Workplace place;
    Study study = example_study(small_data());
    study.arms.pop_back();
    study.seeds = {0};
    AttackOptions deepfool = attack_defaults(AttackKind::deepfool);
    deepfool.norm = Norm::l2;
    study.attacks = {{"deepfool", deepfool, plain_sizes(std::vector<float>{0.01f, 1.0f, 30.0f})}};
    Console console("-", true);  // says nothing
    CommonOptions common;
    Backend& backend = open_backend(common, console);
    const RunFolder folder(place.file("out"), {Json::object(), Json::object()}, false);
    const StudyResults results = run_study(cells_of(study), {folder, backend, console});
    REQUIRE(results.cells.size() == 1);
    CHECK(results.cells[0].cell.stem == "mnist-narrow");
    const std::vector<GmaSizeResult>& sizes = results.cells[0].under("deepfool").sizes;
    CHECK(sizes[0].accuracy() >= sizes[1].accuracy());
    CHECK(sizes[1].accuracy() >= sizes[2].accuracy());
    CHECK(sizes[2].accuracy() < sizes[0].accuracy());
    CHECK(sizes[2].accuracy() == 0);  // 30 takes an image anywhere
    CHECK(sizes[0].accuracy() <= results.cells[0].clean());

    study.dataset = "fashion-mnist";
    const StudyResults none = run_study(cells_of(study), {folder, backend, console});
    CHECK(none.cells.empty());
    CHECK(none.skipped.size() == 1);
  }

  TEST_CASE("study: a defence's result that lacks a row or a number is refused, not passed over") {
    const Json row = {{"model", "vote"}, {"stage", "bootstrap"}, {"test", "exact"},
                      {"attack", "pgd"}, {"norm", "l2"},         {"size", nullptr},
                      {"images", 7},     {"fooled", 0.5},        {"recall", nullptr}};
    const DefenceRun run = read_defence_run({{"sizes", Json::array({row})}});
    REQUIRE(run.sizes.size() == 1);
    CHECK(run.sizes[0].fooled.value_or(0) == 0.5);
    CHECK_FALSE(run.sizes[0].detected);
    CHECK(refusal([&] {
            (void)run.judged({"vote", "bootstrap", "exact"});
          }).find("says nothing of vote") != std::string::npos);
    Json lacking = row;
    lacking.erase("fooled");
    CHECK(refusal([&] {
            (void)read_defence_run({{"sizes", Json::array({lacking})}});
          }).find("lacks 'fooled'") != std::string::npos);
    lacking["fooled"] = "half";
    CHECK(refusal([&] {
            (void)read_defence_run({{"sizes", Json::array({lacking})}});
          }).find("damaged") != std::string::npos);
  }
}

}  // namespace
}  // namespace caltrop::test
