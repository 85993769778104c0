#include "apps/paper/defence.h"

#include <fstream>

#include "apps/paper/attack_study.h"
#include "apps/paper/defence_numbers.h"
#include "defense/cycles.h"

namespace caltrop {
namespace {

constexpr const char* kStem = "defence";

Json lines_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  Json lines = Json::array();
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(Json::parse(line, nullptr, false));
    if (lines.back().is_discarded()) fail("{}: line {} is not JSON", path.string(), lines.size());
  }
  return lines;
}

// The run of one seed in its own folder; a finished one is read.
Json run_seed(const RunFolder& study, const std::string& dataset, DefendFlags options, Backend& backend,
              const Flags& flags, Console& console) {
  options.model.weights = study.file(dataset + "-target.safetensors").string();
  options.data.dataset = dataset;
  resolve(options);
  const TrainedWithData target =
      open_trained_with_data(options.model, options.data, options.test_images, flags, backend, console);
  DefendRun defend(
      options, {target.model, target.data.train, target.data.test, target.data.info, target.facts}, console);
  RunConfig config = make_config(flags, target.facts);
  config.values["dataset"] = dataset;
  config.values["seed"] = options.common.seed;
  config.values["eight-bits"] = options.eight_bits;
  const std::string name =
      fmt::format("{}-seed-{}{}", dataset, options.common.seed, options.eight_bits ? "-8-bits" : "");
  const RunFolder folder(study.file(name), config, true);
  say_when_interrupted(fmt::format("interrupted; continue with: caltrop {} --resume --out {}",
                                   flags.command(), study.path().string()));
  if (folder.has(std::string(kStem) + ".json")) {
    console.note("{} is done", folder.path().string());
    Json result = folder.read_json(std::string(kStem) + ".json");
    result["metrics"] = lines_of(folder.file("metrics.jsonl"));
    return result;
  }
  console.blank();
  console.say("{}, seed {}{}", dataset, options.common.seed,
              options.eight_bits ? ", attacked images rounded to 8 bits before training" : "");
  return defend.run(folder, kStem);
}

}  // namespace

DefendFlags study_flags(const DefenceStudyOptions& options, const CommonOptions& common, int64_t seed,
                        bool eight_bits) {
  DefendFlags flags;
  flags.common = common;
  flags.common.seed = seed;
  flags.scale = options.scale;
  flags.cache = options.cache;
  flags.data.data_dir = options.data_dir;
  flags.info = defence_info(options.vote ? "mia" : "eat");
  CyclesOptions how{.members = kPaperMembers, .cycles = kPaperCycles, .controls = {"updates"}};
  if (options.vote) {
    how.bootstraps = true;
    how.bootstrap_cycle = 40;
    how.controls = {"leave-out", "same-size", "updates"};
  }
  if (eight_bits) {
    flags.eight_bits = true;
    how.cycles = {15, 25, 40};
    how.controls.clear();
    flags.unseen = 0;
    flags.adaptive = 0;
  }
  flags.defence = std::make_shared<Cycles>(how);
  return flags;
}

DefenceStudy study_defence(const RunFolder& folder, const std::string& dataset,
                           const DefenceStudyOptions& options, CommonOptions& common, Backend& backend,
                           const Flags& flags, Console& console) {
  (void)study_network(folder, dataset, options.data_dir, "target", *study_size(options.scale, "target"),
                      common, backend, console);
  DefenceStudy study{.dataset = dataset};
  for (int64_t k = 0; k < options.seeds; ++k) {
    const int64_t seed = common.seed + k;
    study.runs.push_back(
        run_seed(folder, dataset, study_flags(options, common, seed, false), backend, flags, console));
    if (!options.vote) continue;
    study.rounded.push_back(
        run_seed(folder, dataset, study_flags(options, common, seed, true), backend, flags, console));
  }
  return study;
}

}  // namespace caltrop
