// caltrop eval: how good a network is on images it was not trained on.
#include <algorithm>
#include <cmath>
#include <functional>

#include "apps/commands/evaluation.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "data/npz.h"

namespace caltrop {
namespace {

struct EvalOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string subset = "test", logits;
  int64_t batch = 0;
};

void declare(Flags& flags, EvalOptions& options) {
  flags.usage("--weights FILE [flags]");
  flags.about(
      "Tests a trained network: accuracy with its 95 % interval (Wilson), precision, recall and F1 of each "
      "class and their unweighted means (paper 1, Eq. 7-10), and the confusion matrix. Without --dataset and "
      "--split it takes those that the weights were trained with.");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "use the first N images");
  add_subset_flag(flags, options.subset);
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images in a batch, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, false);
  flags.text("logits", options.logits, "FILE",
             "write the logits as NPZ: array `logits`, float32, images x outputs");
  flags.section("Files",
                "With --out: DIR/config.json, evaluation.json (as --json), classes.csv, confusion.csv");
  flags.section("JSON",
                "n, accuracy, interval (low and high), precision, recall, f1: fractions; confusion: a row "
                "per true class, a column per predicted one; dataset, classes");
  flags.example("caltrop eval --weights runs/target/model.safetensors",
                "Test on the data set that it was trained on.");
  flags.example(
      "caltrop eval --arch \"conv 32 3x3 | relu | maxpool 2 | flatten | dense 10\" --weights net.safetensors "
      "--layout torch --dataset mnist --json -",
      "Test weights saved by PyTorch; JSON on standard output.");
}

void run(EvalOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  if (!options.logits.empty()) check_writable(options.logits);
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  const Trained trained = open_trained(options.model, options.data, options.subset, flags, backend, console);
  const DataInfo& data = trained.data.info;
  const RunFolder folder(options.common.out, make_config(flags, trained.facts), options.common.resume);

  ProgressLine progress(console, "testing", trained.data.images.count(), "images");
  const Evaluation evaluation = evaluate(trained.model, trained.data.images, options.batch,
                                         std::bind_front(&ProgressLine::at, &progress));
  progress.finish();
  const auto broken = std::count_if(evaluation.logits.begin(), evaluation.logits.end(),
                                    [](float z) { return !std::isfinite(z); });
  if (broken > 0) console.warn("{} of {} logits are not finite", broken, evaluation.logits.size());

  const Table classes = class_table(evaluation, data.class_names);
  const Table confusion = confusion_table(evaluation.confusion, data.class_names);
  console.say("accuracy {} on {} images of {}", in_words(evaluation.metrics), grouped(evaluation.metrics.n),
              data.name);
  console.blank();
  console.say(classes);
  console.blank();
  console.say(confusion);

  Json result = to_json(evaluation.metrics, evaluation.confusion);
  result["dataset"] = data.name;
  result["classes"] = data.class_names;
  if (!options.logits.empty()) {
    NpzWriter file(options.logits);
    file.add("logits", {evaluation.metrics.n, trained.model.outputs()}, evaluation.logits);
    file.close();
  }
  folder.write_json("evaluation.json", result);
  folder.write("classes.csv", classes.csv());
  folder.write("confusion.csv", confusion.csv());
  console.result(result);
}

}  // namespace

Run eval_command(Flags& flags) {
  return make_command<EvalOptions>(flags, declare, run);
}

}  // namespace caltrop
