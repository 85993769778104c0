// caltrop eval: how good a network is on images it was not trained on.
#include <algorithm>
#include <cmath>
#include <functional>

#include "apps/commands/eval_attacked.h"
#include "apps/commands/stored_set.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/attack_report.h"
#include "apps/report/evaluation.h"
#include "apps/report/table.h"
#include "data/npz.h"
#include "data/verification.h"
#include "engine/checksum.h"

namespace caltrop {
namespace {

struct EvalOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string subset = "test", logits, features, attacked;
  int64_t batch = 0;
};

void declare(Flags& flags, EvalOptions& options) {
  flags.usage("--weights FILE [flags]");
  flags.about(
      "Tests a trained network: accuracy with its 95 % interval (Wilson), precision, recall and F1 of each "
      "class and their unweighted means (paper 1, Eq. 7-10), and the confusion matrix. Without --dataset and "
      "--split it takes those that the weights were trained with. With --attacked it judges a stored set of "
      "attacked "
      "images instead, made on this network or on another: what it says of them, and how many it still gets "
      "right.");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "use the first N images");
  add_rows_flags(flags, options.data);
  add_subset_flag(flags, options.subset);
  flags.text(
      "attacked", options.attacked, "FILE",
      "judge attacked images: adversarial.npz of 'caltrop attack', or a part of 'caltrop gma generate'");
  for (const std::string& other : data_flags()) flags.exclusive({"attacked", other});
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images in a batch, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, false);
  flags.text("logits", options.logits, "FILE",
             "write the logits as NPZ: array `logits`, float32, images x outputs; with --attacked those of "
             "the attacked "
             "images, and `clean_logits`");
  flags.text(
      "features", options.features, "FILE",
      "write what the last layer, a dense one, takes as NPZ: array `features`, float32, images x features");
  flags.section(
      "Files",
      "With --out: DIR/config.json, evaluation.json (as --json), classes.csv, confusion.csv; with --attacked "
      "of the attacked images, those of all sizes together");
  flags.section(
      "JSON",
      "schema (evaluation/2), n, accuracy, interval (low and high), precision, recall, f1: fractions; "
      "calibration_error (15 bins); confusion: a row per true class, a column per predicted one; by_class; "
      "dataset, classes, run. With --attacked: schema (judged/2), n, targeted, sizes: of each what "
      "summary.json of 'attack' has (size: null where the set states none); made_on_this_network, run");
  flags.example("caltrop eval --weights runs/target/model.safetensors",
                "Test on the data set that it was trained on.");
  flags.example(
      "caltrop eval --arch \"conv 32 3x3 | relu | maxpool 2 | flatten | dense 10\" --weights net.safetensors "
      "--layout torch --dataset mnist --json -",
      "Test weights saved by PyTorch; JSON on standard output.");
}

// What stands before the last layer is a row of features where that layer is dense.
void check_features(const EvalOptions& options, const Model& model) {
  const LayerSpec& last = model.architecture().layers.back();
  if (options.features.empty() || std::holds_alternative<DenseSpec>(last)) return;
  fail("--features: they are what a last dense layer takes, but {} ends in '{}'", options.model.weights,
       to_string(last));
}

void write_features(const EvalOptions& options, const Model& model, const ImageSource& images) {
  if (options.features.empty()) return;
  const Features all = features(model, images, options.batch);
  NpzWriter file(options.features);
  file.add("features", {images.count(), all.width}, all.values);
  file.close();
}

// The confusion and the classes of all sizes together: what tables show.
AttackSummary together(const std::vector<AttackSummary>& sizes) {
  AttackSummary all = sizes.at(0);
  for (size_t s = 1; s < sizes.size(); ++s) {
    for (size_t k = 0; k < sizes[s].classes.size(); ++k) {
      ClassCount& to = all.classes[k];
      const ClassCount& from = sizes[s].classes[k];
      to.images += from.images, to.clean_correct += from.clean_correct, to.robust += from.robust;
      to.after.resize(std::max(to.after.size(), from.after.size()));
      for (size_t c = 0; c < from.after.size(); ++c) to.after[c] += from.after[c];
    }
  }
  return all;
}

void run_attacked(EvalOptions& options, const Flags& flags, Console& console) {
  Backend& backend = open_backend(options.common, console);
  const StoredSet stored = open_stored_set(options.attacked);
  const AttackedSet& set = stored.set;
  options.attacked = stored.file;
  const OpenedNetwork network = open_network(options.model, set.shape, set.classes(), backend);
  expect_outputs(network.model, options.model.weights, stored.file, set);
  check_features(options, network.model);
  Json facts = network.facts;
  const uint32_t pixels = checksum(std::span(set.delta), checksum(std::span(set.x)));
  facts["inputs"]["attacked_crc32"] = fmt::format("{:08x}", checksum(std::span(set.target), pixels));
  const std::optional<bool> own = made_on(stored, facts);
  for (const char* defence : {"noise", "quantize"})
    if (stored.config.contains(defence))
      console.warn("{} was attacked behind --{}, and is judged by the network alone", stored.file, defence);
  const RunConfig config = make_config(flags, facts, data_flags());
  const RunFolder folder(options.common.out, config, options.common.resume);
  ProgressLine progress(console, "judging", set.images() * set.sizes(), "images");
  const JudgedSet judged =
      judge_set(network.model, set, options.batch, std::bind_front(&ProgressLine::at, &progress));
  progress.finish();
  Json result = {{"n", set.images()},
                 {"targeted", set.targeted()},
                 {"made_on_this_network", own ? Json(*own) : Json()},
                 {"sizes", Json::array()}};
  using Kind = Column::Kind;
  Table table({{"size", "size", Kind::general, 4},
               {"clean", "clean", Kind::percent},
               {"accuracy", "attacked", Kind::percent},
               {"robust", "robust", Kind::percent},
               {"of_all", set.targeted() ? "arrived, of all" : "fooled, of all", Kind::percent},
               {"of_right", "of those right", Kind::percent}});
  for (const AttackSummary& summary : judged.sizes) {
    Json size = to_json(summary);
    for (const char* key : {"box_violations", "ball_violations", "zero_gradients", "nan_gradients"})
      size.erase(key);
    result["sizes"].push_back(std::move(size));
    table.row({std::isinf(summary.size) ? Cell() : Cell(static_cast<double>(summary.size)),
               summary.clean_accuracy(), summary.accuracy(), summary.robust_accuracy(),
               summary.success_rate(), summary.success_rate_of_correct()});
  }
  const AttackSummary all = together(judged.sizes);
  const Table classes = robust_class_table(all, {}), confusion = confusion_table(all.confusion(), {});
  console.say("{} attacked images{}, made on {}", grouped(set.images() * set.sizes()),
              set.targeted() ? fmt::format(", each pushed {}", target_in_words(set)) : "",
              !own   ? "a network that they do not name"
              : *own ? "this network"
                     : "another network");
  console.say(table);
  if (set.targeted()) console.say("{}", kOfTargets);
  console.blank();
  console.say(classes);
  console.blank();
  console.say(confusion);
  if (!options.logits.empty()) {
    NpzWriter file(options.logits);
    file.add("logits", {set.images() * set.sizes(), judged.outputs}, judged.attacked);
    file.add("clean_logits", {set.images(), judged.outputs}, judged.clean);
    file.close();
  }
  write_features(options, network.model, StoredImages(set, backend, false));
  result = result_of(config, "judged/2", std::move(result));
  folder.write_json("evaluation.json", result);
  folder.write("classes.csv", classes.csv());
  folder.write("confusion.csv", confusion.csv());
  console.result(result);
}

void run(EvalOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  for (const std::string& file : {options.logits, options.features})
    if (!file.empty()) check_writable(file);
  RunFolder::check(options.common.out, options.common.resume);
  if (!options.attacked.empty()) return run_attacked(options, flags, console);
  Backend& backend = open_backend(options.common, console);
  const Trained trained = open_trained(options.model, options.data, options.subset, flags, backend, console);
  check_features(options, trained.model);
  const DataInfo& data = trained.data.info;
  const RunConfig config = make_config(flags, trained.facts);
  const RunFolder folder(options.common.out, config, options.common.resume);

  const ChosenImages images(trained.data.images, trained.data.rows);
  ProgressLine progress(console, "testing", images.count(), "images");
  const Evaluation evaluation =
      evaluate(trained.model, images, options.batch, std::bind_front(&ProgressLine::at, &progress));
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

  Calibration calibration;
  const std::vector<double> sure = confidences(evaluation.logits, trained.model.outputs());
  const std::vector<int32_t> said = argmax_rows(evaluation.logits, trained.model.outputs());
  for (size_t i = 0; i < said.size(); ++i) calibration.add(sure[i], said[i] == images.labels()[i]);
  console.say("calibration error {:.4f} (15 bins)", calibration.error());
  Json result = to_json(evaluation.metrics, evaluation.confusion);
  result["calibration_error"] = calibration.error();
  result["by_class"] = classes.json();
  result["dataset"] = data.name;
  result["classes"] = data.class_names;
  if (!options.logits.empty()) {
    NpzWriter file(options.logits);
    file.add("logits", {evaluation.metrics.n, trained.model.outputs()}, evaluation.logits);
    file.close();
  }
  write_features(options, trained.model, images);
  result = result_of(config, "evaluation/2", std::move(result));
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
