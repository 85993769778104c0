// Enhanced adversarial training (Sanapala & Gondi, "GMA/MIA 2025", section 4.1.2), and what trains like it:
// one network through stages, each on a set of its own, weights carried on.
//
// EAT's stages are cycles: all clean images and a growing prefix of a pool (15, 25, 40, 50 % attacked). The
// paper stops "when the model achieves optimal performance (accuracy greater than 80 %)"; here that is an
// event that is reported, and training goes on, so that cycles can be compared. MIA adds a last stage, a
// bootstrap (mia.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "defense/pool/images.h"
#include "engine/model.h"
#include "engine/optimizer.h"
#include "engine/training.h"

namespace caltrop {

inline constexpr double kStopRule = 0.80;  // the paper's "optimal performance": training accuracy above

// The sets of the cycles, nested: rows of AugmentedImages (clean, then the pool). An Error where shares do
// not rise or the pool is too small.
std::vector<std::vector<int64_t>> cycle_rows(int64_t clean, const AttackedPool& pool,
                                             const std::vector<double>& shares, ShareOf of);
// The same for training that must not see what `out` accepts: the positions that are left are counted anew, as if they
// had been all.
using PoolFilter = std::function<bool(const PlannedImage&)>;
std::vector<std::vector<int64_t>> cycle_rows_without(int64_t clean, const AttackedPool& pool,
                                                     const std::vector<double>& shares, ShareOf of,
                                                     const PoolFilter& out);

// `rows`, then some of them again in a random order until there are `count`: a smaller set that takes as many
// updates in an epoch as a larger one.
std::vector<int64_t> refilled(std::span<const int64_t> rows, int64_t count, uint64_t seed);

struct Stage {
  std::string name;
  const ImageSource* images = nullptr;
  int64_t epochs = 0;
};

struct StagedOptions {
  int64_t batch = 128;
  OptimizerOptions rule = {};  // Adam, 0.001
  Schedule schedule = {};      // over all stages together
  bool carry_optimizer =
      true;  // its moments too, as Keras' fit() called again does; else each stage begins anew
  uint64_t seed = 0;
};

struct StageEpoch {
  size_t stage = 0;
  int64_t epoch = 0;              // within the stage, from 1
  double loss = 0, accuracy = 0;  // over the images, as met
  bool stop_rule = false;         // the first epoch of this stage that the paper's rule would have ended at
  bool last = false;              // of the stage
};

class StagedTraining {
 public:
  // The images of the stages must outlive it.
  StagedTraining(Model& model, std::vector<Stage> stages, const StagedOptions& options);

  int64_t epochs() const { return epochs_; }  // of all stages
  int64_t done() const { return done_; }
  // Images that the first `epochs` of all epochs go through.
  int64_t images(int64_t epochs) const;
  const std::string& stage() const {
    return stages_[place().first].name;
  }  // of the next epoch, or the one that runs
  // Trains the epochs that are left; an Error where the loss or the weights are no longer finite. `on_epoch` is called
  // after each, `progress` after each mini-batch with the images done since the first epoch of all.
  void run(const std::function<void(const StageEpoch&)>& on_epoch = {},
           const std::function<void(int64_t images)>& progress = {});

  // Everything that the next epoch depends on: a training continued from it ends with the same bits.
  void save(SafeTensorFile& file) const;
  void load(const SafeTensorFile& file, const std::string& name);

 private:
  // The stage of the next epoch, and the epochs of the stages before it.
  std::pair<size_t, int64_t> place() const;
  StageEpoch finished(const EpochResult& epoch, size_t stage, int64_t first);

  Model& model_;
  std::vector<Stage> stages_;
  StagedOptions options_;
  std::optional<Optimizer> optimizer_;
  CrossEntropy objective_;
  int64_t epochs_ = 0, done_ = 0;
  bool above_ = false;  // the stop rule was met in this stage
};

// The seed of model `member` of an ensemble: its weights and the order of its images.
uint64_t member_seed(uint64_t seed, uint64_t member);

}  // namespace caltrop
