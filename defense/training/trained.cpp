#include "defense/training/trained.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "attacks/attack_images.h"
#include "engine/error.h"
#include "engine/inference.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr double kMostPasses = 100000;
constexpr const char* kLastEpoch = "checkpoint.safetensors";
constexpr const char* kFinalWeights = "model.safetensors";

// Against the images' own classes: a network without an alarm is right where it is not fooled.
Scores scores_on(const Model& model, const TestSet& watched) {
  const std::vector<float> logits = predict(model, watched.images);
  std::vector<int32_t> truth(watched.images.labels().size());
  for (size_t i = 0; i < truth.size(); ++i) truth[i] = watched.truth(i);
  return scores_of(cross_entropies(logits, truth, model.outputs()), argmax_rows(logits, model.outputs()),
                   truth, watched.clean(), watched.pool);
}

// Accuracy under FGSM of the network as it stands, on the first images of the test set.
double under_fgsm(const Model& model, const Images& test, double eps) {
  const std::vector<float> sizes = {static_cast<float>(eps)};
  const AttackJob job{.rows = row_range(0, std::min(kWatchedImages, test.count()))};
  return attack_images(model, test, sizes, attack_defaults(AttackKind::fgsm), job).sizes[0].accuracy();
}

struct StageOptions {
  std::string name;  // of the defence
  std::optional<double> watch_eps;
  OptimizerOptions rule;
  int64_t batch = 0;
  Schedule schedule;
};

// The stages of one defence, one after the other, from where the folder's checkpoint stands.
class Stages {
 public:
  Stages(const DefenceTask& task, const TestSet& watched, std::vector<TrainingStage> stages,
         StageOptions options, std::function<std::shared_ptr<Model>()> first_network)
      : task_(task),
        watched_(watched),
        stages_(std::move(stages)),
        options_(std::move(options)),
        first_network_(std::move(first_network)) {}

  StageModels run() {
    if (!task_.folder.empty() && fs::exists(path(kLastEpoch))) {
      checkpoint_ = read_safetensors(path(kLastEpoch));
      read_place();
    }
    int64_t epochs = 0, all = 0, before = done_ * images_of(stages_[stage_]).count();
    for (size_t s = 0; s < stages_.size(); ++s) {
      const int64_t images = stages_[s].epochs * images_of(stages_[s]).count();
      epochs += stages_[s].epochs;
      all += images;
      if (s < stage_) before += images;
    }
    task_.watch.begin_training(lines_, epochs);
    task_.watch.begin("training", all, before);
    int64_t first = 0;
    for (size_t s = 0; s < stages_.size(); ++s) {
      run_stage(s, first);
      first += stages_[s].epochs * images_of(stages_[s]).count();
    }
    return std::move(models_);
  }

 private:
  fs::path path(const std::string& name) const { return task_.folder / name; }
  const ImageSource& images_of(const TrainingStage& stage) const {
    return stage.images != nullptr ? *stage.images : task_.train;
  }

  void read_place() {
    const int64_t stage = checkpoint_->number("stage").value_or(-1);
    done_ = checkpoint_->number("epoch").value_or(0);
    lines_ = checkpoint_->number("epochs_logged").value_or(0);
    const auto stages = static_cast<int64_t>(stages_.size());
    if (stage < 0 || stage >= stages || done_ < 1 || done_ > stages_[static_cast<size_t>(stage)].epochs ||
        lines_ < done_) {
      fail("{}: expected a stage below {} and one of its epochs in the metadata", path(kLastEpoch).string(),
           stages);
    }
    stage_ = static_cast<size_t>(stage);
  }

  void run_stage(size_t number, int64_t first) {
    TrainingStage& stage = stages_[number];
    const std::shared_ptr<Model> model = first_network_();
    if (number < stage_) {
      model->load(read_safetensors(path(stage.file)));
      models_.push_back(model);
      return;
    }
    if (stage.begin) stage.begin(*model, models_);
    const std::unique_ptr<Objective> objective = stage.objective(*model, models_);
    Optimizer optimizer(options_.rule, model->parameters());
    int64_t done = 0;
    bool ended = stage.epochs == 0;
    if (number == stage_ && checkpoint_) {
      ended = checkpoint_->number("ended").value_or(0) != 0;
      if (ended) {
        model->load(read_safetensors(path(stage.file)));
      } else {
        load_checkpoint(*checkpoint_, *model, optimizer, *objective);
      }
      if (stage.look) stage.look->load(*checkpoint_);
      done = done_;
    }
    if (!ended) {
      const auto at = [&](int64_t, int64_t trained) {
        task_.watch.at(label(stage), first + trained);
      };
      const auto after = [&](const EpochResult& epoch) {
        return finish_epoch(number, *model, optimizer, *objective, epoch);
      };
      fit(*model, optimizer, images_of(stage), *objective,
          {.epochs = stage.epochs,
           .batch = options_.batch,
           .seed = task_.seed,
           .schedule = options_.schedule,
           .done = done},
          {.progress = at, .epoch = after});
    }
    if (stage.epochs == 0) write_weights(stage, *model);
    models_.push_back(model);
  }

  std::string label(const TrainingStage& stage) const {
    return stages_.size() == 1 ? options_.name : options_.name + ", " + stage.name;
  }

  bool finish_epoch(size_t number, Model& model, const Optimizer& optimizer, const Objective& objective,
                    const EpochResult& epoch) {
    TrainingStage& stage = stages_[number];
    std::map<std::string, double> reported = epoch.reported;
    bool on = epoch.epoch < stage.epochs;
    if (stage.look && !stage.look->go_on(model, epoch, reported)) on = false;
    const std::shared_ptr<const Model> whole = stage.tested ? stage.tested(model) : nullptr;
    const Model& tested = whole ? *whole : model;
    if (options_.watch_eps) reported["fgsm"] = under_fgsm(tested, task_.test, *options_.watch_eps);
    task_.watch.epoch({.model = options_.name,
                       .stage = stage.name,
                       .number = ++lines_,
                       .trained = {.stage = number,
                                   .epoch = epoch.epoch,
                                   .loss = epoch.loss,
                                   .accuracy = epoch.accuracy,
                                   .last = !on},
                       .tested = scores_on(tested, watched_),
                       .reported = std::move(reported)});
    if (task_.folder.empty()) return on;
    if (!on) write_weights(stage, model);
    // Behind the last epoch of a stage nothing asks for more than its weights, which are written.
    SafeTensorFile file;
    if (on) file = checkpoint(model, optimizer, objective);
    if (stage.look) stage.look->save(file);
    file.metadata["stage"] = std::to_string(number);
    file.metadata["epoch"] = std::to_string(epoch.epoch);
    file.metadata["epochs_logged"] = std::to_string(lines_);
    file.metadata["ended"] = on ? "0" : "1";
    write_safetensors(path(kLastEpoch), file);
    return on;
  }

  void write_weights(const TrainingStage& stage, const Model& model) const {
    if (task_.folder.empty()) return;
    SafeTensorFile weights = model.state();
    weights.metadata.insert(task_.metadata.begin(), task_.metadata.end());
    write_safetensors(path(stage.file), weights);
  }

  const DefenceTask& task_;
  const TestSet& watched_;
  std::vector<TrainingStage> stages_;
  StageOptions options_;
  std::function<std::shared_ptr<Model>()> first_network_;
  std::optional<SafeTensorFile> checkpoint_;
  size_t stage_ = 0;              // of the checkpoint
  int64_t done_ = 0, lines_ = 0;  // epochs of that stage; of all, as logged
  StageModels models_;
};

}  // namespace

TrainedDefence::TrainedDefence(std::string name, TrainingRecipe recipe)
    : name_(std::move(name)),
      recipe_epochs_(recipe.epochs),
      nesterov_(recipe.rule.nesterov),
      continues_(recipe.continues),
      recipe_momentum_(static_cast<double>(recipe.rule.momentum)),
      beta1_(recipe.rule.beta1),
      batch_(recipe.batch),
      optimizer_(to_string(recipe.rule.rule)),
      schedule_(std::move(recipe.schedule)),
      rate_(static_cast<double>(recipe.rule.rate)),
      weight_decay_(static_cast<double>(recipe.rule.weight_decay)) {}

std::vector<DefenceOption> TrainedDefence::options() {
  std::vector<DefenceOption> all = own_options();
  const std::vector<DefenceOption> training = {
      {.name = "epochs",
       .value = &epochs_,
       .what = "passes over the training images",
       .value_name = "N",
       .otherwise = fmt::format("by --scale: 1, 3, 3, {}", recipe_epochs_),
       .low = 1,
       .high = kMostPasses},
      {.name = "batch",
       .value = &batch_,
       .what = "images in a mini-batch",
       .value_name = "N",
       .low = 1,
       .high = 65536},
      {.name = "optimizer",
       .value = &optimizer_,
       .what = "update rule",
       .choices = {"sgd", "adam", "rmsprop", "adagrad"}},
      {.name = "lr",
       .value = &rate_,
       .what = "learning rate",
       .value_name = "RATE",
       .low = 0,
       .high = 100,
       .open_low = true},
      {.name = "momentum",
       .value = &momentum_,
       .what = "of sgd",
       .value_name = "M",
       .otherwise = fmt::format("{:g}", recipe_momentum_),
       .low = 0,
       .high = 0.9999},
      {.name = "weight-decay",
       .value = &weight_decay_,
       .what = "adds D times the weight to its gradient",
       .value_name = "D",
       .low = 0,
       .high = 1},
      {.name = "schedule",
       .value = &schedule_,
       .what = "factor on the rate over all epochs, as in 'caltrop train'",
       .value_name = "SHAPE"},
      {.name = "watch-eps",
       .value = &watch_eps_,
       .what = fmt::format(
           "after each epoch say the accuracy under FGSM of this size, on the first {} test images",
           kWatchedImages),
       .value_name = "E",
       .otherwise = "not",
       .low = 0,
       .high = 1,
       .open_low = true},
      {.name = "init",
       .value = &initializer_,
       .what = "how the weights begin [the network's own rule]",
       .choices = {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "torch"}},
      {.name = "from",
       .value = &from_,
       .what = "go on from these weights, of the same network, with an optimiser that begins anew",
       .value_name = "FILE",
       .otherwise = "from scratch"}};
  all.insert(all.end(), training.begin(), training.end() - (continues_ ? 0 : 1));
  return all;
}

void TrainedDefence::resolve(std::string_view scale, const PoolRecipeOptions& known) {
  if (!epochs_) epochs_ = scale == "smoke" ? 1 : scale == "paper" ? recipe_epochs_ : 3;
  if (momentum_ && optimizer_ != "sgd") fail("--momentum belongs to --optimizer sgd, not {}", optimizer_);
  if (!initializer_.empty() && !from_.empty()) fail("--init has no say over the weights of --from");
  if (!from_.empty()) from_ = fs::absolute(from_).lexically_normal().string();
  try {
    (void)Schedule::parse(schedule_);
  } catch (const Error& problem) {
    fail("--schedule: {}", problem.what());
  }
  resolve_own(scale, known);
}

void TrainedDefence::check(const DefenceTask& task) const {
  if (!from_.empty()) (void)first_network(task);
  check_own(task);
}

DefenceCost TrainedDefence::cost(const DefenceTask& task) const {
  constexpr double kForwards = 3;  // a pass backward counts as two forward
  const Architecture line = architecture(task);
  const ImageShape& shape = task.train.shape();
  int64_t epochs = 0, files = 0;
  for (const TrainingStage& stage : stages(task)) epochs += stage.epochs, ++files;
  const auto macs = static_cast<double>(count_macs(line, shape));
  constexpr int64_t kCheckpoint = 3;  // the weights and Adam's moments
  return {.macs = kForwards * passes() * macs * static_cast<double>(epochs * task.train.count()),
          .answer = macs,
          .bytes = 4 * count_parameters(line, shape) * (files + kCheckpoint)};
}

Defended TrainedDefence::train(const DefenceTask& task, const TestSet& watched) {
  const StageOptions how{name_, watch_eps_, rule(), batch_, Schedule::parse(schedule_)};
  return defended(task, Stages(task, watched, stages(task), how, [&] { return first_network(task); }).run());
}

std::unique_ptr<Objective> TrainedDefence::make_objective(const DefenceTask& /*task*/,
                                                          const Model& /*model*/) const {
  return std::make_unique<CrossEntropy>();
}

std::vector<TrainingStage> TrainedDefence::stages(const DefenceTask& task) const {
  std::vector<TrainingStage> all(1);
  all[0] = {.name = "training",
            .file = kFinalWeights,
            .epochs = epochs(),
            .objective = [this, &task](const Model& model,
                                       const StageModels&) { return make_objective(task, model); },
            .look = make_look(task)};
  return all;
}

Defended TrainedDefence::defended(const DefenceTask& /*task*/, const StageModels& trained) const {
  return defended_by(trained.back());
}

OptimizerOptions TrainedDefence::rule() const {
  OptimizerOptions rule{.rule = parse_rule(optimizer_), .rate = static_cast<float>(rate_)};
  rule.weight_decay = static_cast<float>(weight_decay_);
  rule.beta1 = beta1_;
  if (rule.rule == Rule::sgd) {
    rule.momentum = static_cast<float>(momentum_.value_or(recipe_momentum_));
    rule.nesterov = nesterov_ && rule.momentum > 0;
  }
  return rule;
}

std::shared_ptr<Model> TrainedDefence::first_network(const DefenceTask& task) const {
  const Architecture line = architecture(task);
  auto model = std::make_shared<Model>(line, task.train.shape(), task.train.backend());
  if (from_.empty()) {
    const std::string rule =
        initializer_.empty() ? zoo_initializer(task.target.architecture()) : initializer_;
    model->initialize(parse_initializer(rule), task.seed);
    return model;
  }
  try {
    const SafeTensorFile file = read_safetensors(from_);
    if (const auto stated = stated_network(file, from_);
        stated && to_string(stated->architecture) != to_string(line))
      fail("{} holds the network '{}', but '{}' is defended", from_, to_string(stated->architecture),
           to_string(line));
    model->load(file);
  } catch (const Error& problem) {
    fail("--from: {}", problem.what());
  }
  return model;
}

}  // namespace caltrop
