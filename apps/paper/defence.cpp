#include "apps/paper/defence.h"

#include <chrono>

#include "apps/commands/defend.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/paper/attack_study.h"
#include "apps/study/defence_run.h"
#include "apps/study/run.h"
#include "defense/cycles.h"

namespace caltrop {
namespace {

constexpr const char* kStem = "defence";

// What one seed runs: `defend mia` with the paper's cycles, or `defend eat`.
DefendFlags flags_of_seed(const DefenceStudyOptions& options, const CommonOptions& common, int64_t seed,
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

// The run of one seed in its own folder; of a finished one its result is read, and `worked` stays false.
DefenceRun run_seed(const std::string& dataset, DefendFlags options, const StudyPlace& place,
                    const Flags& flags, bool& worked) {
  options.model.weights = place.folder.file(dataset + "-target.safetensors").string();
  options.data.dataset = dataset;
  resolve(options);
  const TrainedWithData target = open_trained_with_data(options.model, options.data, options.test_images,
                                                        flags, place.backend, place.console);
  DefendRun defend(options,
                   {target.model, target.data.train, target.data.test, target.data.info, target.facts},
                   place.console);
  RunConfig config = make_config(flags, target.facts);
  config.values["dataset"] = dataset;
  config.values["seed"] = options.common.seed;
  config.values["eight-bits"] = options.eight_bits;
  const std::string name =
      fmt::format("{}-seed-{}{}", dataset, options.common.seed, options.eight_bits ? "-8-bits" : "");
  const RunFolder folder(place.folder.file(name), config, true);
  say_when_interrupted(fmt::format("interrupted; continue with: caltrop {} --resume --out {}",
                                   flags.command(), place.folder.path().string()));
  const std::string stored = std::string(kStem) + ".json";
  if (folder.has(stored)) {
    place.console.note("{} is done", folder.path().string());
    return read_defence_run(folder, stored);
  }
  place.console.blank();
  place.console.say("{}, seed {}{}", dataset, options.common.seed,
                    options.eight_bits ? ", attacked images rounded to 8 bits before training" : "");
  worked = true;
  return read_defence_run(defend.run(folder, kStem));
}

}  // namespace

DefenceStudy study_defence(const std::string& dataset, const DefenceStudyOptions& options,
                           CommonOptions& common, const StudyPlace& place, const Flags& flags) {
  (void)study_network(target_cell(dataset, options.data_dir, options.scale, common.seed), place);
  DefenceStudy study{.dataset = dataset};
  const auto start = std::chrono::steady_clock::now();
  const int64_t total = options.seeds * (options.vote ? 2 : 1);
  int64_t done = 0, made = 0;
  for (int64_t k = 0; k < options.seeds; ++k) {
    for (const bool eight_bits : {false, true}) {
      if (eight_bits && !options.vote) continue;
      bool worked = false;
      DefenceRun run = run_seed(dataset, flags_of_seed(options, common, common.seed + k, eight_bits), place,
                                flags, worked);
      (eight_bits ? study.rounded : study.runs).push_back(std::move(run));
      ++done;
      made += worked;
      if (made == 0 || done == total) continue;
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      place.console.note(
          "{}: {} of {} runs are done, about {} left", dataset, done, total,
          duration_text(elapsed.count() / static_cast<double>(made) * static_cast<double>(total - done)));
    }
  }
  return study;
}

}  // namespace caltrop
