// caltrop train: epochs of mini-batches, a checkpoint after each, weights at the end.
#include <filesystem>
#include <optional>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/evaluation.h"
#include "data/split.h"
#include "engine/early_stopping.h"
#include "engine/training.h"

namespace caltrop {
namespace {

constexpr const char* kCheckpoint = "checkpoint.safetensors";
constexpr const char* kWeights = "model.safetensors";

struct TrainOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string initializer;
  int64_t epochs = 5, batch = 128;
  std::string rule = "adam", schedule = "linear", ce_grad = "stable";
  std::optional<double> rate;
  std::optional<int64_t> patience;
  double momentum = 0, weight_decay = 0;
  bool nesterov = false;
};

void declare(Flags& flags, TrainOptions& options) {
  flags.usage("(--model NAME | --arch LINE | --weights FILE) [flags]");
  flags.about(
      "Trains a network under cross-entropy on shuffled mini-batches. After each epoch it tests the network "
      "and leaves a checkpoint, so that a run that was cut off continues with --resume; under --schedule "
      "constant --resume with more --epochs extends one that is finished. --weights goes on from trained "
      "weights, with an optimiser that begins anew. The trained weights are DIR/model.safetensors.");
  add_model_flags(flags, options.model, Weights::optional);
  flags.choice("init", options.initializer,
               {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "torch"},
               "how the weights begin [the network's own rule; he_uniform for --arch]");
  flags.exclusive({"init", "weights"});
  add_data_flags(flags, options.data, "train on the first N training images");
  flags.group("Training");
  flags.integer("epochs", options.epochs, 0, kMaxEpochs, "N", "passes over the training images");
  flags.integer(
      "early-stop", options.patience, 1, kMaxEpochs, "N",
      "hold a tenth of the training images out (--split-seed), stop once the loss on them has not fallen "
      "for N epochs, and keep the weights of the best epoch",
      "train all epochs on all images");
  add_batch_flag(flags, options.batch, "images in a mini-batch");
  flags.choice("optimizer", options.rule, {"sgd", "adam", "rmsprop", "adagrad"}, "update rule");
  flags.number("lr", options.rate, {.low = 0, .high = 100, .open_low = true}, "RATE", "learning rate",
               "0.001; 0.01 for sgd and adagrad");
  flags.number("momentum", options.momentum, {.low = 0, .high = 1, .open_high = true}, "M", "of sgd");
  flags.toggle("nesterov", options.nesterov, "Nesterov's form of momentum (sgd)");
  flags.number("weight-decay", options.weight_decay, {.low = 0, .high = 1}, "D",
               "adds D times the weight to its gradient");
  flags.text("schedule", options.schedule, "SHAPE",
             "factor on the rate over the whole training: linear (falls from 1 to 0), constant, cosine, "
             "\"triangle PEAK\" or \"step EVERY FACTOR\", where PEAK and EVERY are shares of the training");
  flags.choice(
      "ce-grad", options.ce_grad, {"stable", "torch"},
      "how cross-entropy's gradient is rounded: stable keeps its digits for confident networks, torch does "
      "as PyTorch");
  add_common_flags(flags, options.common, true, "runs/train-NETWORK-DATASET, the first that is free");
  flags.section(
      "Files",
      " DIR/config.json                 every flag as used, data fingerprint, version: --config repeats it\n"
      " DIR/metrics.jsonl               one line per epoch: epoch, loss, train_accuracy, test_accuracy\n"
      "                                 and with --early-stop held_out_loss, held_out_accuracy\n"
      " DIR/checkpoint.safetensors      weights and optimiser after the last finished epoch\n"
      " DIR/model.safetensors           the trained weights; the network's line is in the metadata\n"
      " DIR/evaluation.json             the last test: as 'caltrop eval --json'");
  flags.section(
      "JSON",
      "out, epochs (the lines of metrics.jsonl), test (as in 'caltrop eval'); best_epoch with --early-stop");
  flags.example("caltrop train --model target --dataset mnist --epochs 5 --out runs/target",
                "Train the paper's Target network on MNIST, about 98.7 % on the test images.");
  flags.example(
      "caltrop train --arch \"conv 8 3x3 | relu | maxpool 2 | flatten | dense 10\" --dataset digits "
      "--optimizer sgd --momentum 0.9",
      "Train a network of your own on digits that the program draws.");
}

OptimizerOptions optimizer_options(TrainOptions& options) {
  if (options.rule != "sgd" && (options.momentum != 0 || options.nesterov)) {
    usage_error("--momentum and --nesterov belong to --optimizer sgd, not {}", options.rule);
  }
  if (options.nesterov && options.momentum == 0) usage_error("--nesterov needs a --momentum above 0");
  if (!options.rate) options.rate = options.rule == "sgd" || options.rule == "adagrad" ? 0.01 : 0.001;
  return {.rule = parse_rule(options.rule),
          .rate = static_cast<float>(*options.rate),
          .momentum = static_cast<float>(options.momentum),
          .nesterov = options.nesterov,
          .weight_decay = static_cast<float>(options.weight_decay)};
}

Schedule parse_schedule(const std::string& text) {
  try {
    return Schedule::parse(text);
  } catch (const Error& problem) {
    usage_error("--schedule: {}", problem.what());
  }
}

// The network as it begins, and the data.
TrainedWithData begin(TrainOptions& options, const Flags& flags, Backend& backend, Console& console) {
  if (!options.model.weights.empty())
    return open_trained_with_data(options.model, options.data, {}, flags, backend, console);
  TrainingData data = load_training_data(options.data, backend, console);
  const ZooEntry asked = asked_network(options.model, data.info.classes);
  Model model(parse_architecture(asked.line), data.train.shape(), backend);
  expect_outputs(model, data.info, "--arch");
  if (options.initializer.empty()) options.initializer = asked.initializer;
  model.initialize(parse_initializer(options.initializer), static_cast<uint64_t>(options.common.seed));
  Json facts = data.info.facts;
  facts["network"] = to_string(model.architecture());
  return {std::move(data), std::move(model), std::move(facts)};
}

// More epochs on a run are the same bits as one run of so many only where the rate does not depend on their number.
void expect_extendable(const TrainOptions& options, const Schedule& schedule) {
  if (!options.common.resume || schedule.constant()) return;
  const Json before = RunFolder::recorded(options.common.out);
  const Json epochs = before.is_object() ? before.value("epochs", Json()) : Json();
  if (!epochs.is_number() || epochs >= options.epochs) return;
  fail(
      "--epochs: the schedule '{}' of the run in {} is laid out over its {} epochs; only --schedule "
      "constant can be extended. Train on in a new folder: --weights {}",
      schedule.text(), options.common.out, epochs.dump(),
      (std::filesystem::path(options.common.out) / kWeights).string());
}

// What --early-stop divides the training images into, evenly over the classes.
constexpr SplitRatio kHeldOut = {.train = 9, .test = 1};

class Training {
 public:
  Training(const TrainOptions& options, TrainedWithData& begun, Console& console, const RunFolder& folder)
      : options_(options), model_(begun.model), data_(begun.data), console_(console), folder_(folder) {
    if (!options.patience) return;
    const SplitIndices parts = stratified_split(data_.train.labels(), static_cast<int>(data_.info.classes),
                                                kHeldOut, static_cast<uint64_t>(options.data.split_seed));
    early_.emplace(*options.patience);
    part_.emplace(data_.train, parts.train);
    held_out_.emplace(data_.train, parts.test);
  }

  const ImageSource& images() const { return part_ ? static_cast<const ImageSource&>(*part_) : data_.train; }

  // The lines of metrics.jsonl.
  Json train(Optimizer optimizer, TrainingOptions how) {
    CrossEntropy objective(options_.ce_grad == "stable" ? CrossEntropyGrad::stable : CrossEntropyGrad::torch);
    how.done = load(optimizer, objective);
    MetricsLog log(folder_.file("metrics.jsonl"), how.done);
    if (folder_.resumed()) console_.say("resumed after epoch {} of {}", how.done, how.epochs);
    if (how.done == how.epochs || (early_ && how.done > 0 && early_->stopped())) return log.lines();
    console_.say("  epoch        loss   train accuracy   test accuracy{}       time",
                 early_ ? "   held-out loss" : "");
    const int64_t count = images().count();
    ProgressLine progress(console_, "", how.epochs * count, "images", how.done * count);
    double begin = progress.seconds();
    const auto at = [&](int64_t epoch, int64_t done) {
      progress.label(fmt::format("epoch {}/{}", epoch, how.epochs));
      progress.at(done);
    };
    const auto after_epoch = [&](const EpochResult& result) {
      tested_ = evaluate(model_, data_.test);
      const double test = tested_->metrics.accuracy;
      Json line = {{"epoch", result.epoch},
                   {"loss", result.loss},
                   {"train_accuracy", result.accuracy},
                   {"test_accuracy", test}};
      std::string held_out;
      if (early_) {
        const EarlyStopping::Look look = early_->look(model_, result.epoch, *held_out_);
        line["held_out_loss"] = look.loss;
        line["held_out_accuracy"] = look.accuracy;
        held_out = fmt::format(" {:>15.5f}", look.loss);
      }
      log.append(line);
      SafeTensorFile file = checkpoint(model_, optimizer, objective);
      if (early_) early_->save(file);
      file.metadata["epoch"] = std::to_string(result.epoch);
      write_safetensors(folder_.file(kCheckpoint), file);
      console_.say("{:>7} {:>11.5f} {:>16} {:>15}{} {:>10}", fmt::format("{}/{}", result.epoch, how.epochs),
                   result.loss, percent_text(result.accuracy), percent_text(test), held_out,
                   duration_text(progress.seconds() - begin));
      begin = progress.seconds();
      return !early_ || !early_->stopped();
    };
    fit(model_, optimizer, images(), objective, how, {.progress = at, .epoch = after_epoch});
    return log.lines();
  }

  Json finish(const Json& epochs) {
    Json result = {{"schema", "train/1"}, {"out", folder_.path().string()}, {"epochs", epochs}};
    if (!epochs.empty()) console_.blank();
    if (early_ && early_->best_epoch() > 0) {
      console_.say("{} after epoch {}; the weights are those of epoch {}, with the least held-out loss",
                   early_->stopped() ? "stopped" : "ended", epochs.size(), early_->best_epoch());
      result["best_epoch"] = early_->best_epoch();
      model_.load(early_->best());
      tested_.reset();
    }
    SafeTensorFile weights = model_.state();
    describe_data(weights, options_.data);
    write_safetensors(folder_.file(kWeights), weights);
    if (!tested_) tested_ = evaluate(model_, data_.test);
    result["test"] = to_json(tested_->metrics, tested_->confusion);
    folder_.write_json("evaluation.json", with_schema("train-test/1", result["test"]));
    console_.say("test accuracy {} on {} images", in_words(tested_->metrics), grouped(tested_->metrics.n));
    console_.say("weights       {}", folder_.file(kWeights).string());
    return result;
  }

 private:
  // Epochs done: those of the checkpoint, if there is one.
  int64_t load(Optimizer& optimizer, Objective& objective) {
    if (!folder_.has(kCheckpoint)) return 0;
    const std::string name = folder_.file(kCheckpoint).string();
    const SafeTensorFile file = read_safetensors(name);
    const int64_t epoch = file.number("epoch").value_or(0);
    if (epoch < 1 || epoch > options_.epochs)
      fail("{}: expected an epoch from 1 to {} in its metadata", name, options_.epochs);
    load_checkpoint(file, model_, optimizer, objective);
    if (early_) early_->load(file, epoch, name);
    return epoch;
  }

  const TrainOptions& options_;
  Model& model_;
  const TrainingData& data_;
  Console& console_;
  const RunFolder& folder_;
  // With --early-stop.
  std::optional<ChosenImages> part_, held_out_;
  std::optional<EarlyStopping> early_;
  std::optional<Evaluation> tested_;  // after the last epoch, unless a resumed run had none left
};

void run(TrainOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  const OptimizerOptions rule = optimizer_options(options);
  const TrainingOptions how{.epochs = options.epochs,
                            .batch = options.batch,
                            .seed = static_cast<uint64_t>(options.common.seed),
                            .schedule = parse_schedule(options.schedule)};
  if (options.model.weights.empty()) asked_network(options.model);
  RunFolder::check(options.common.out, options.common.resume);
  expect_extendable(options, how.schedule);
  TrainedWithData begun = begin(options, flags, open_backend(options.common, console), console);

  const std::string name = options.model.model.empty() ? "custom" : options.model.model;
  const std::string out =
      folder_or_free(options.common.out, fmt::format("train-{}-{}", name, begun.data.info.name));
  RunConfig config = make_config(flags, begun.facts);
  if (how.schedule.constant()) config.growing = "/epochs";
  const RunFolder folder(out, config, options.common.resume);
  Training training(options, begun, console, folder);
  const Model& model = begun.model;
  console.say("{}: {}", name, to_string(model.architecture()));
  console.say("{} training images, {} parameters, {} epochs -> {}", grouped(training.images().count()),
              grouped(count_parameters(model.architecture(), model.input())), how.epochs, out);
  console.blank();
  const Json epochs = training.train(Optimizer(rule, model.parameters()), how);
  console.result(training.finish(epochs));
}

}  // namespace

Run train_command(Flags& flags) {
  return make_command<TrainOptions>(flags, declare, run);
}

}  // namespace caltrop
