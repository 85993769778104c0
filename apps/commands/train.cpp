// caltrop train: epochs of mini-batches, a checkpoint after each, weights at the end.
#include <filesystem>
#include <numeric>
#include <optional>

#include "apps/commands/evaluation.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "data/split.h"
#include "defense/pool/images.h"
#include "defense/scores.h"
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
      "and "
      "leaves a checkpoint, so that a run that was cut off continues with --resume; under --schedule "
      "constant "
      "--resume with more --epochs extends one that is finished. --weights goes on from trained weights, "
      "with an "
      "optimiser that begins anew. The trained weights are DIR/model.safetensors.");
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
             "\"triangle PEAK\" or "
             "\"step EVERY "
             "FACTOR\", where PEAK and EVERY are shares of the training");
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
      "--optimizer sgd "
      "--momentum 0.9",
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

// What --early-stop divides the training images into, evenly over the classes.
constexpr SplitRatio kHeldOut = {.train = 9, .test = 1};
struct HeldOut {
  ChosenImages train, rest;
  HeldOut(const Images& images, const SplitIndices& parts)
      : train(images, parts.train), rest(images, parts.test) {}
};

struct HeldOutScore {
  double loss = 0, accuracy = 0;
};
HeldOutScore score(const Model& model, const ImageSource& images) {
  const std::vector<float> logits = predict(model, images);
  const std::vector<double> losses = cross_entropies(logits, images.labels(), model.outputs());
  const Confusion confusion(model.outputs(), images.labels(), argmax_rows(logits, model.outputs()));
  return {std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(images.count()),
          summarize(confusion).accuracy};
}

std::string percent(double share) {
  return fmt::format("{:.2f} %", 100 * share);
}

class Training {
 public:
  Training(TrainOptions& options, const Flags& flags)
      : options_(options), flags_(flags), console_(options.common.json, options.common.quiet) {}

  void run() {
    const OptimizerOptions rule = optimizer_options(options_);
    const Schedule schedule = parse_schedule(options_.schedule);
    if (options_.model.weights.empty()) check_network_flags(options_.model);
    RunFolder::check(options_.common.out, options_.common.resume);
    expect_extendable(schedule);
    TrainedWithData begun = begin(open_backend(options_.common, console_));
    Model& model = begun.model;
    const TrainingData& data = begun.data;
    Optimizer optimizer(rule, model.parameters());
    if (options_.patience) {
      early_.emplace(*options_.patience);
      held_out_.emplace(data.train,
                        stratified_split(data.train.labels(), static_cast<int>(data.info.classes), kHeldOut,
                                         static_cast<uint64_t>(options_.data.split_seed)));
    }

    const std::string out = folder_or_free(
        options_.common.out, fmt::format("train-{}-{}", network_name(options_.model), data.info.name));
    RunConfig config = make_config(flags_, begun.facts);
    if (schedule.constant()) config.growing = "epochs";
    const RunFolder folder(out, config, options_.common.resume);
    const TrainingOptions how{.epochs = options_.epochs,
                              .batch = options_.batch,
                              .seed = static_cast<uint64_t>(options_.common.seed),
                              .schedule = schedule};
    console_.say("{}: {}", network_name(options_.model), to_string(model.architecture()));
    console_.say("{} training images, {} parameters, {} epochs -> {}", grouped(images(data).count()),
                 grouped(count_parameters(model.architecture(), model.input())), how.epochs, out);
    console_.blank();
    const Json epochs = train(model, optimizer, data, folder, how);
    finish(model, data, folder, epochs, out);
  }

 private:
  // More epochs on a run are the same bits as one run of so many only where the rate does not depend on their number.
  void expect_extendable(const Schedule& schedule) const {
    if (!options_.common.resume || schedule.constant()) return;
    const Json before = RunFolder::recorded(options_.common.out);
    const Json epochs = before.is_object() ? before.value("epochs", Json()) : Json();
    if (!epochs.is_number() || epochs >= options_.epochs) return;
    fail(
        "--epochs: the schedule '{}' of the run in {} is laid out over its {} epochs; only --schedule "
        "constant can be "
        "extended. Train on in a new folder: --weights {}",
        schedule.text(), options_.common.out, epochs.dump(),
        (std::filesystem::path(options_.common.out) / kWeights).string());
  }

  TrainedWithData begin(Backend& backend) {
    if (!options_.model.weights.empty())
      return open_trained_with_data(options_.model, options_.data, {}, flags_, backend, console_);
    TrainingData data = load_training_data(options_.data, backend, console_);
    Model model(parse_architecture(network_line(options_.model, data.info.classes)), data.train.shape(),
                backend);
    expect_outputs(model, data.info);
    if (options_.initializer.empty())
      options_.initializer = network_initializer(options_.model, data.info.classes);
    model.initialize(parse_initializer(options_.initializer), static_cast<uint64_t>(options_.common.seed));
    Json facts = data.info.facts;
    facts["network"] = to_string(model.architecture());
    return {std::move(data), std::move(model), std::move(facts)};
  }

  const ImageSource& images(const TrainingData& data) const {
    return held_out_ ? static_cast<const ImageSource&>(held_out_->train) : data.train;
  }

  // Epochs done: those of the checkpoint, if there is one.
  int64_t load(const RunFolder& folder, Model& model, Optimizer& optimizer, Objective& objective) {
    if (!folder.has(kCheckpoint)) return 0;
    const std::string name = folder.file(kCheckpoint).string();
    const SafeTensorFile file = read_safetensors(name);
    const int64_t epoch = file.number("epoch").value_or(0);
    if (epoch < 1 || epoch > options_.epochs)
      fail("{}: expected an epoch from 1 to {} in its metadata", name, options_.epochs);
    load_checkpoint(file, model, optimizer, objective);
    if (early_) early_->load(file, epoch, name);
    return epoch;
  }

  Json train(Model& model, Optimizer& optimizer, const TrainingData& data, const RunFolder& folder,
             TrainingOptions how) {
    CrossEntropy objective(options_.ce_grad == "stable" ? CrossEntropyGrad::stable : CrossEntropyGrad::torch);
    how.done = load(folder, model, optimizer, objective);
    MetricsLog log(folder.file("metrics.jsonl"), how.done);
    if (folder.resumed()) console_.say("resumed after epoch {} of {}", how.done, how.epochs);
    if (how.done == how.epochs || (early_ && how.done > 0 && early_->stopped())) return log.lines();
    console_.say("  epoch        loss   train accuracy   test accuracy{}       time",
                 early_ ? "   held-out loss" : "");
    const int64_t count = images(data).count();
    ProgressLine progress(console_, "", how.epochs * count, "images", how.done * count);
    double begin = progress.seconds();
    TrainingCallbacks callbacks;
    callbacks.progress = [&](int64_t epoch, int64_t done) {
      progress.label(fmt::format("epoch {}/{}", epoch, how.epochs));
      progress.at(done);
    };
    callbacks.epoch = [&](const EpochResult& result) {
      tested_ = evaluate(model, data.test);
      const double test = tested_->metrics.accuracy;
      Json line = {{"epoch", result.epoch},
                   {"loss", result.loss},
                   {"train_accuracy", result.accuracy},
                   {"test_accuracy", test}};
      std::string held_out;
      if (early_) {
        const HeldOutScore held = score(model, held_out_->rest);
        early_->go_on(model, result.epoch, held.loss);
        line["held_out_loss"] = held.loss;
        line["held_out_accuracy"] = held.accuracy;
        held_out = fmt::format(" {:>15.5f}", held.loss);
      }
      log.append(line);
      SafeTensorFile file = checkpoint(model, optimizer, objective);
      if (early_) early_->save(file);
      file.metadata["epoch"] = std::to_string(result.epoch);
      write_safetensors(folder.file(kCheckpoint), file);
      console_.say("{:>7} {:>11.5f} {:>16} {:>15}{} {:>10}", fmt::format("{}/{}", result.epoch, how.epochs),
                   result.loss, percent(result.accuracy), percent(test), held_out,
                   duration_text(progress.seconds() - begin));
      begin = progress.seconds();
      return !early_ || !early_->stopped();
    };
    fit(model, optimizer, images(data), objective, how, callbacks);
    return log.lines();
  }

  void finish(Model& model, const TrainingData& data, const RunFolder& folder, const Json& epochs,
              const std::string& out) {
    Json result = {{"out", out}, {"epochs", epochs}};
    if (!epochs.empty()) console_.blank();
    if (early_ && early_->best_epoch() > 0) {
      console_.say("{} after epoch {}; the weights are those of epoch {}, with the least held-out loss",
                   early_->stopped() ? "stopped" : "ended", epochs.size(), early_->best_epoch());
      result["best_epoch"] = early_->best_epoch();
      model.load(early_->best());
      tested_.reset();
    }
    SafeTensorFile weights = model.state();
    describe_data(weights, options_.data);
    write_safetensors(folder.file(kWeights), weights);
    const Evaluation evaluation = tested_ ? std::move(*tested_) : evaluate(model, data.test);
    const Json test = to_json(evaluation.metrics, evaluation.confusion);
    folder.write_json("evaluation.json", test);
    console_.say("test accuracy {} on {} images", in_words(evaluation.metrics),
                 grouped(evaluation.metrics.n));
    console_.say("weights       {}", folder.file(kWeights).string());
    result["test"] = test;
    console_.result(result);
  }

  TrainOptions& options_;
  const Flags& flags_;
  Console console_;
  std::optional<HeldOut> held_out_;  // with --early-stop
  std::optional<EarlyStopping> early_;
  std::optional<Evaluation> tested_;  // after the last epoch, unless a resumed run had none left
};

}  // namespace

Run train_command(Flags& flags) {
  return make_command<TrainOptions>(
      flags, declare, [](TrainOptions& options, const Flags& given) { Training(options, given).run(); });
}

}  // namespace caltrop
