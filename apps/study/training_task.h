// One training of a study as it runs: what a defence has to work with, who keeps its metrics, plain training.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "apps/core/run_folder.h"
#include "apps/study/run.h"
#include "apps/study/training.h"

namespace caltrop {

// Attacked images that a defence is trained on, in its folder while its arm is attacked.
inline constexpr const char* kCraftedFolder = "crafted";

// What files of weights hold beside the network: the data set.
std::map<std::string, std::string> weights_metadata(const StudyImages& images);

// Clean test images alone, for learning curves.
TestSet clean_test(const Images& test, int64_t classes);

// Keeps metrics.jsonl of one training, and tells `done` what share of it is done.
class TrainingWatch final : public Watch {
 public:
  TrainingWatch(std::filesystem::path file, Console& console, std::function<void(double)> done)
      : file_(std::move(file)), console_(console), done_(std::move(done)) {}

  void begin(const std::string&, int64_t images, int64_t) override { images_ = images; }
  void at(const std::string&, int64_t done) override;
  void begin_training(int64_t done, int64_t) override { log_.emplace(file_, done); }
  void epoch(const WatchedEpoch& epoch) override;
  void note(const std::string& text) override;
  void warn(const std::string& text) override;

 private:
  std::filesystem::path file_;
  Console& console_;
  std::function<void(double)> done_;
  std::optional<MetricsLog> log_;
  int64_t images_ = 0;
};

// A training by a defence; it has its target, its images and all else by reference. `folder` empty: it only checks.
struct TrainingTask {
  ReadTraining read;
  Crafter crafter;
  DefenceTask task;

  TrainingTask(const StudyCell& cell, ReadTraining training, const Model& target, const StudyImages& images,
               const Images& train, const std::filesystem::path& folder, Watch& watch);
};

// Plain training on from the weights that are there.
Model train_plain(Model model, const StudyCell& cell, const StudyImages& images, const Images& train,
                  int64_t epochs, Watch& watch);

}  // namespace caltrop
