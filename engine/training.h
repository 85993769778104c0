// Training: one loop for everything that is trained. What a mini-batch costs is an Objective, a class in a file of
// its own (docs/architecture.md lists what it may do); what happens beside the updates are Callbacks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/images.h"
#include "engine/inference.h"
#include "engine/model.h"
#include "engine/optimizer.h"
#include "engine/zoo.h"

namespace caltrop {

// A mini-batch on its device. x and labels keep their memory from step to step.
struct MiniBatch {
  Tensor x;       // (n,h,w,c) in [0,1]
  Labels labels;  // (n)

  // Of this very step: for Objective::prepare(), since a captured step would repeat those that it was captured with.
  std::span<const int64_t> rows = {};  // the images' numbers in the set, on the host
  int64_t kind = 0;                    // of the step, below Objective::kinds()
  float rate = 1;               // the schedule's factor on the rate, for an optimizer of the objective's own
  ForwardOptions forward = {};  // for Model::forward: training, the seed, and the number of the step
};

struct BatchLoss {
  Tensor losses;                      // (n): the update descends their mean
  Tensor logits;                      // (n,classes): whose argmax counts as the network's answers
  std::vector<Tensor> reported = {};  // (n) for each name of reports()
  std::vector<Tensor> wrt = {};       // tracked tensors whose gradients update() is to be given
};

// What a mini-batch costs. loss() and update() are ops alone, that they can be captured and replayed; what a replay
// would get wrong (random numbers, uploads, what depends on the images' numbers) belongs into prepare(), which leaves
// it in memory that stays: in batch.x itself, or in a buffer for each size of mini-batch.
class Objective {
 public:
  virtual ~Objective() = default;

  virtual void prepare(const Model& model, const MiniBatch& batch);
  // May make the images that it trains on, such as adversarial ones.
  virtual BatchLoss loss(const Model& model, const MiniBatch& batch) = 0;
  // With the gradients of the mean loss that `wrt` asked for, beside the update of the network's parameters.
  virtual void update(const MiniBatch& batch, const std::vector<Tensor>& gradients);

  // False where loss() or update() must run anew in each step after all.
  virtual bool replayable() const { return true; }
  // Steps on each mini-batch, one after the other.
  virtual int64_t repeats() const { return 1; }
  // Kinds of steps that take turns in the repeats (MiniBatch::kind): the steps of one kind are the same ops, those of two
  // need not be, and each kind is captured on its own. A second network is trained in the steps of one kind.
  virtual int64_t kinds() const { return 1; }
  // Names of what is reported beside the loss.
  virtual std::vector<std::string> reports() const { return {}; }

  // What the next step depends on, in a checkpoint ("objective...."): a kept perturbation, an optimizer's state.
  virtual void save(SafeTensorFile& file) const;
  virtual void load(const SafeTensorFile& file);
};

class CrossEntropy final : public Objective {
 public:
  explicit CrossEntropy(CrossEntropyGrad gradient = CrossEntropyGrad::stable) : gradient_(gradient) {}
  BatchLoss loss(const Model& model, const MiniBatch& batch) override;

 private:
  CrossEntropyGrad gradient_;
};

struct TrainingOptions {
  int64_t epochs = 5;  // of the whole training, which the schedule is laid out over
  int64_t batch = 128;
  uint64_t seed = 0;
  Schedule schedule = {};
  int64_t done = 0;  // epochs before: those of a checkpoint
  int64_t last = 0;  // the epoch to end with, 0 for the last of all
};

// Of one epoch, as means over the images as met before each update (of the last repeat).
struct EpochResult {
  int64_t epoch = 0;  // counted from 1
  double loss = 0;
  double accuracy = 0;                          // a fraction
  std::map<std::string, double> reported = {};  // by the names of Objective::reports()
};

struct TrainingCallbacks {
  // After each mini-batch: the epoch, and the images done since the training began.
  std::function<void(int64_t epoch, int64_t images)> progress = {};
  // After each epoch: the place for tests, checkpoints and an early end (false).
  std::function<bool(const EpochResult&)> epoch = {};
};

// Trains epochs done + 1 to `last`. The order of images, dropout and the rate are functions of the seed and the
// epoch alone, so that a training continued from a checkpoint ends with the same bits. Memory and captured steps last
// over the epochs. An Error where the loss or the weights are no longer finite.
std::vector<EpochResult> fit(Model& model, Optimizer& optimizer, const ImageSource& images,
                             Objective& objective, const TrainingOptions& options,
                             const TrainingCallbacks& callbacks = {});

// A network by its line and the rule of its first weights, trained from scratch with cross-entropy: Adam, rate 0.001
// falling linearly to 0, mini-batches of 128. `progress` receives images trained on, of all epochs.
Model train_network(const ZooEntry& network, const ImageSource& images, int64_t epochs, uint64_t seed,
                    const Progress& progress = {});

// The same from weights that are there, with an optimizer that begins anew.
void train_further(Model& model, const ImageSource& images, int64_t epochs, uint64_t seed,
                   const TrainingCallbacks& callbacks = {});

// Everything that the next epoch depends on but its number, and back.
SafeTensorFile checkpoint(const Model& model, const Optimizer& optimizer, const Objective& objective);
void load_checkpoint(const SafeTensorFile& file, Model& model, Optimizer& optimizer, Objective& objective);

}  // namespace caltrop
