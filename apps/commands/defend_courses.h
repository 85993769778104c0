// The networks that a defence trains, one after the other, each on a course through stages. A course may branch
// off another's: then it goes on from the weights and the optimizer's moments that a stage of that one ended with.
//
// In the run folder:
//   STAGE's file              weights at the end of each stage
//   metrics.jsonl             one line for each epoch: loss and accuracy in training, and on the test set in all and
//                             attack by attack (clean images with those of the attack)
//   checkpoint.safetensors    after the last finished epoch
//   working files             removed by remove_working_files(): the state at branches, and test logits of epochs
//                             whose votes will be asked for
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "defense/eat.h"

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

// What the networks are tested on after each epoch: the clean images, then those of the pool.
struct CourseTest {
  const AugmentedImages* images = nullptr;
  int64_t clean = 0;
  const AttackedPool* pool = nullptr;
  std::span<const PoolLane> lanes;  // of the pool
};

struct CourseOptions {
  StagedOptions staged;               // but for the seed
  const DataOptions* data = nullptr;  // that the weights name
};

// Trains what the folder's checkpoint does not say is done; the lines of metrics.jsonl. The courses must stay the
// same from run to run.
Json train_courses(const std::vector<Course>& courses, const CourseTest& test, const CourseOptions& options,
                   const RunFolder& folder, Console& console);

// Logits of the test images after own epoch `epoch` (from 1) of a course with `votes`.
std::vector<float> logits_after(const Course& course, int64_t epoch, const RunFolder& folder);
void remove_working_files(const std::vector<Course>& courses, const RunFolder& folder);

}  // namespace caltrop
