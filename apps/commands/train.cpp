// caltrop train: epochs of mini-batches, a checkpoint after each, weights at the end.
#include <cmath>
#include <optional>

#include "apps/commands/evaluation.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "engine/training.h"

namespace caltrop {
namespace {

constexpr const char* kCheckpoint = "checkpoint.safetensors";

struct TrainOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string initializer;
  int64_t epochs = 5, batch = 128;
  std::string rule = "adam", schedule = "linear", ce_grad = "stable";
  std::optional<double> rate;
  double momentum = 0, weight_decay = 0;
  bool nesterov = false;
};

void declare(Flags& flags, TrainOptions& options) {
  flags.usage("(--model NAME | --arch LINE) [flags]");
  flags.about(
      "Trains a network under cross-entropy on shuffled mini-batches. After each epoch it tests the network "
      "and "
      "leaves a checkpoint, so that a run that was cut off continues with --resume. The trained weights are "
      "DIR/model.safetensors.");
  add_model_flags(flags, options.model, Weights::none);
  flags.choice("init", options.initializer,
               {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "torch"},
               "how the weights begin [the network's own rule; he_uniform for --arch]");
  add_data_flags(flags, options.data, "train on the first N training images");
  flags.group("Training");
  flags.integer("epochs", options.epochs, 0, kMaxEpochs, "N", "passes over the training images");
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
      " DIR/checkpoint.safetensors      weights and optimiser after the last finished epoch\n"
      " DIR/model.safetensors           the trained weights; the network's line is in the metadata\n"
      " DIR/evaluation.json             the last test: as 'caltrop eval --json'");
  flags.section("JSON", "out, epochs (the lines of metrics.jsonl), test (as in 'caltrop eval')");
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

// What a run has reached: everything that the next epoch depends on.
class Checkpoint {
 public:
  Checkpoint(const RunFolder& folder, Model& model, Optimizer& optimizer)
      : folder_(folder), model_(model), optimizer_(optimizer) {}

  // Epochs done: those of the checkpoint, if there is one.
  int64_t load(int64_t epochs) {
    if (!folder_.has(kCheckpoint)) return 0;
    const SafeTensorFile file = read_safetensors(folder_.file(kCheckpoint));
    const auto stated = file.metadata.find("epoch");
    const int64_t epoch = stated == file.metadata.end() ? 0 : std::atoll(stated->second.c_str());
    if (epoch < 1 || epoch > epochs) {
      fail("{}: expected an epoch from 1 to {} in its metadata", folder_.file(kCheckpoint).string(), epochs);
    }
    model_.load(file);
    optimizer_.load(file);
    return epoch;
  }

  void save(int64_t epoch) const {
    SafeTensorFile file = model_.state();
    optimizer_.save(file);
    file.metadata["epoch"] = std::to_string(epoch);
    write_safetensors(folder_.file(kCheckpoint), file);
  }

 private:
  const RunFolder& folder_;
  Model& model_;
  Optimizer& optimizer_;
};

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
    check_network_flags(options_.model);
    RunFolder::check(options_.common.out, options_.common.resume);
    Backend& backend = open_backend(options_.common, console_);
    TrainingData data = load_training_data(options_.data, backend, console_);
    const std::string line = network_line(options_.model, data.info.classes);
    Model model(parse_architecture(line), data.train.shape(), backend);
    expect_outputs(model, data.info);
    if (options_.initializer.empty())
      options_.initializer = network_initializer(options_.model, data.info.classes);
    model.initialize(parse_initializer(options_.initializer), static_cast<uint64_t>(options_.common.seed));
    Optimizer optimizer(rule, model.parameters());

    Json facts = data.info.facts;
    facts["network"] = to_string(model.architecture());
    const std::string out = folder_or_free(
        options_.common.out, fmt::format("train-{}-{}", network_name(options_.model), data.info.name));
    const RunFolder folder(out, make_config(flags_, facts), options_.common.resume);
    const TrainingOptions how{
        .epochs = options_.epochs,
        .batch = options_.batch,
        .seed = static_cast<uint64_t>(options_.common.seed),
        .schedule = schedule,
        .cross_entropy = options_.ce_grad == "stable" ? CrossEntropyGrad::stable : CrossEntropyGrad::torch};
    console_.say("{}: {}", network_name(options_.model), line);
    console_.say("{} training images, {} parameters, {} epochs -> {}", grouped(data.train.count()),
                 grouped(count_parameters(model.architecture(), model.input())), how.epochs, out);
    console_.blank();
    const Json epochs = train(model, optimizer, data, folder, how);
    finish(model, data, folder, epochs, out);
  }

 private:
  Json train(Model& model, Optimizer& optimizer, const TrainingData& data, const RunFolder& folder,
             const TrainingOptions& how) {
    Checkpoint checkpoint(folder, model, optimizer);
    const int64_t done = checkpoint.load(how.epochs);
    MetricsLog log(folder.file("metrics.jsonl"), done);
    if (folder.resumed()) console_.say("resumed after epoch {} of {}", done, how.epochs);
    if (done < how.epochs) console_.say("  epoch        loss   train accuracy   test accuracy       time");
    const int64_t images = data.train.count();
    ProgressLine progress(console_, "", how.epochs * images, "images", done * images);
    for (int64_t epoch = done + 1; epoch <= how.epochs; ++epoch) {
      const double begin = progress.seconds();
      progress.label(fmt::format("epoch {}/{}", epoch, how.epochs));
      const EpochResult result = train_epoch(model, optimizer, data.train, epoch, how,
                                             [&](int64_t now) { progress.at((epoch - 1) * images + now); });
      // The loss of the last batch was taken before its update: the weights are looked at too.
      if (!std::isfinite(result.loss) || !model.finite()) {
        fail("the {} in epoch {}; try a smaller --lr than {:g}",
             std::isfinite(result.loss) ? "weights were no longer finite"
                                        : fmt::format("loss became {}", result.loss),
             epoch, *options_.rate);
      }
      tested_ = evaluate(model, data.test);
      const double test = tested_->metrics.accuracy;
      log.append({{"epoch", epoch},
                  {"loss", result.loss},
                  {"train_accuracy", result.accuracy},
                  {"test_accuracy", test}});
      checkpoint.save(epoch);
      console_.say("{:>7} {:>11.5f} {:>16} {:>15} {:>10}", fmt::format("{}/{}", epoch, how.epochs),
                   result.loss, percent(result.accuracy), percent(test),
                   duration_text(progress.seconds() - begin));
    }
    progress.finish();
    return log.lines();
  }

  void finish(const Model& model, const TrainingData& data, const RunFolder& folder, const Json& epochs,
              const std::string& out) {
    SafeTensorFile weights = model.state();
    describe_data(weights, options_.data);
    write_safetensors(folder.file("model.safetensors"), weights);
    const Evaluation evaluation = tested_ ? std::move(*tested_) : evaluate(model, data.test);
    folder.write_json("evaluation.json", to_json(evaluation.metrics, evaluation.confusion));
    if (!epochs.empty()) console_.blank();
    console_.say("test accuracy {} on {} images", in_words(evaluation.metrics),
                 grouped(evaluation.metrics.n));
    console_.say("weights       {}", folder.file("model.safetensors").string());
    console_.result(
        {{"out", out}, {"epochs", epochs}, {"test", to_json(evaluation.metrics, evaluation.confusion)}});
  }

  TrainOptions& options_;
  const Flags& flags_;
  Console console_;
  std::optional<Evaluation> tested_;  // after the last epoch, unless a resumed run had none left
};

}  // namespace

Run train_command(Flags& flags) {
  return make_command<TrainOptions>(
      flags, declare, [](TrainOptions& options, const Flags& given) { Training(options, given).run(); });
}

}  // namespace caltrop
