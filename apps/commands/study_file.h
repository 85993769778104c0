// A study as a file: what 'caltrop study' runs. docs/studies.md has its keys.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/core/options.h"
#include "apps/core/size.h"
#include "apps/study/run.h"

namespace caltrop {

// A network: trained by the study, or of a file.
struct StudyNetwork {
  std::string name;
  ModelOptions model;            // with `weights`: given
  std::string initializer = {};  // "" until read: the network's own
  int64_t epochs = 5;
  std::vector<StudyTraining> trainings = {};  // instead
  std::string from = {};                      // the file that the first of them goes on from
  std::optional<int64_t> train_images = {};
  bool given() const { return !model.weights.empty(); }
};
struct StudyDataset {
  DataOptions data;
  std::string subset = "test";
};
struct StudyFile {
  std::vector<StudyDataset> datasets;
  std::vector<StudyNetwork> networks;
  std::vector<double> shares = {1};  // of the training images
  std::vector<StudyAttack> attacks;
  std::vector<int64_t> seeds = {0};
};

// `seed`: the first, where the file names none. An Error that begins with the file and the place in it where what it says
// makes no study: unknown keys, values that a flag of that name would not take, attacks that no figure could show.
StudyFile read_study(const Json& json, const std::string& file, int64_t seed);

}  // namespace caltrop
