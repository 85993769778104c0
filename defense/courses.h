// Networks trained one after the other, each on a course through stages (eat.h). A course may branch off
// another's: then it goes on from the weights and the optimizer's moments that a stage of that one ended with.
//
// In the folder:
//   STAGE's file              weights at the end of each stage
//   checkpoint.safetensors    after the last finished epoch
//   working files             removed by remove_working_files(): the state at branches, and test logits of epochs
//                             whose votes will be asked for
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "defense/eat.h"
#include "defense/watch.h"

namespace caltrop {

struct CourseStage {
  std::string name;  // "cycle 15 %", "bootstrap"
  const ImageSource* images = nullptr;
  int64_t epochs = 0;
  std::string file;  // of the weights
};

struct Course {
  std::string name;  // of the network, as tables show it
  std::string line, initializer;
  uint64_t seed = 0;
  std::vector<CourseStage> stages = {};  // of a branch: first those that it shares with its trunk
  std::optional<size_t> trunk = {};      // an earlier course
  size_t shared = 0;                     // stages
  bool votes = false;                    // keep the test logits of its own epochs

  int64_t epochs(size_t from, size_t to) const;  // of stages [from, to)
  int64_t own_epochs() const { return epochs(shared, stages.size()); }
};

// Clean images, then those of a pool: what networks are tested on after each epoch.
struct CourseTest {
  const AugmentedImages* images = nullptr;
  int64_t clean = 0;
  const AttackedPool* pool = nullptr;
};

struct CourseOptions {
  StagedOptions staged;  // but for the seed
  std::filesystem::path folder;
  std::map<std::string, std::string> metadata;  // that files of weights hold beside the network's
};

// Trains what the folder's checkpoint does not say is done. The courses must stay the same from run to run.
void train_courses(const std::vector<Course>& courses, const CourseTest& test, const CourseOptions& options,
                   Watch& watch);

// Logits of the test images after own epoch `epoch` (from 1) of a course with `votes`.
std::vector<float> logits_after(const Course& course, int64_t epoch, const std::filesystem::path& folder);
void remove_working_files(const std::vector<Course>& courses, const std::filesystem::path& folder);

}  // namespace caltrop
