// The base of every defence that is one network, of the target's architecture, trained by an Objective of its own:
// adversarial training in its forms, distillation, pruning. It owns the options that they share, the training with its
// checkpoints, and what is told of each epoch; a defence of this kind says what is its own in the virtual functions.
//
// In the folder of the task:
//   STAGE's file              weights at the end of each stage; model.safetensors at the end of the last
//   checkpoint.safetensors    after the last finished epoch: a killed run goes on with the same bits. Once a stage has
//                             ended, where it ended, and no weights
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "defense/defence.h"
#include "engine/optimizer.h"
#include "engine/training.h"

namespace caltrop {

inline constexpr int64_t kWatchedImages = 1000;  // of --watch-eps

// How a defence trains where its flags are silent: its source's recipe.
struct TrainingRecipe {
  int64_t epochs = 10;  // at --scale paper
  int64_t batch = 128;
  OptimizerOptions rule = {};  // Adam, 0.001
  std::string schedule = "constant";
  bool continues = true;  // whether --from goes on from weights; else it is of the network that it is given
};

// Looks at the network after each epoch, beside what is tested anyway. What it remembers is part of a checkpoint.
class EpochLook {
 public:
  virtual ~EpochLook() = default;
  // Whether to go on; what it adds to `reported` is logged with the epoch. It may give the network other weights
  // where it ends the stage.
  virtual bool go_on(Model& model, const EpochResult& epoch, std::map<std::string, double>& reported) = 0;
  virtual void save(SafeTensorFile& /*file*/) const {}
  virtual void load(const SafeTensorFile& /*file*/) {}
};

using StageModels = std::vector<std::shared_ptr<const Model>>;

// One training; a defence has one or several, one after the other, each of a network of its own.
struct TrainingStage {
  std::string name;  // as tables show it: "teacher"
  std::string file;  // of its weights: "teacher.safetensors"
  int64_t epochs = 0;
  std::function<std::unique_ptr<Objective>(const Model& model, const StageModels& before)> objective;
  // Changes the weights that the stage begins with, which are those of --from or drawn by the task's seed: takes them
  // from a stage before, prunes them. Called in a resumed run too, whose checkpoint is taken after it.
  std::function<void(Model& model, const StageModels& before)> begin = {};
  std::unique_ptr<EpochLook> look = {};
  const ImageSource* images = nullptr;  // that it trains on; null: the task's
  // Of the network as it stands, what is tested after each epoch. Empty: the network itself.
  std::function<std::shared_ptr<const Model>(const Model& model)> tested = {};
};

class TrainedDefence : public Defence {
 public:
  std::vector<DefenceOption> options() final;  // own_options(), then those of every training
  void resolve(std::string_view scale, const PoolRecipeOptions& known) final;
  void check(const DefenceTask& task) const final;
  DefenceCost cost(const DefenceTask& task) const override;
  Defended train(const DefenceTask& task, const TestSet& watched) override;

 protected:
  TrainedDefence(std::string name, TrainingRecipe recipe);

  // The flags of this defence alone.
  virtual std::vector<DefenceOption> own_options() { return {}; }
  // As Defence's, of own options.
  virtual void resolve_own(std::string_view /*scale*/, const PoolRecipeOptions& /*known*/) {}
  virtual void check_own(const DefenceTask& /*task*/) const {}

  // What a mini-batch costs. A defence of several stages overrides the next one in its place.
  virtual std::unique_ptr<Objective> make_objective(const DefenceTask& task, const Model& model) const;
  // What looks at each epoch; null: nothing.
  virtual std::unique_ptr<EpochLook> make_look(const DefenceTask& /*task*/) const { return nullptr; }
  // The trainings; by default one, "training", of make_objective(). The last one's network is the defence.
  virtual std::vector<TrainingStage> stages(const DefenceTask& task) const;
  // What is defended, of the networks of all stages: by default the last one, as it is.
  virtual Defended defended(const DefenceTask& task, const StageModels& trained) const;

  // Passes of each image through the network in an epoch, forward and backward, those of attacks inside it too.
  virtual double passes() const { return 1; }

  // The network that is trained: the target's, unless the defence adds layers to it.
  virtual Architecture architecture(const DefenceTask& task) const { return task.target.architecture(); }

  int64_t epochs() const { return *epochs_; }  // resolved
  bool from_scratch() const { return from_.empty(); }
  OptimizerOptions rule() const;
  const std::string& name() const { return name_; }

 private:
  // A network as a training begins, by --from or the seed.
  std::shared_ptr<Model> first_network(const DefenceTask& task) const;

  std::string name_;
  int64_t recipe_epochs_;
  bool nesterov_, continues_;
  double recipe_momentum_;
  float beta1_;
  std::optional<int64_t> epochs_;
  int64_t batch_;
  std::string optimizer_, schedule_, initializer_, from_;
  double rate_, weight_decay_;
  std::optional<double> momentum_, watch_eps_;
};

}  // namespace caltrop
