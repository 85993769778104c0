// caltrop defend NAME: a defence, from attacked images to tables.
#include "apps/commands/defend.h"

#include <algorithm>

#include "apps/commands/defend_report.h"
#include "apps/core/build_info.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "apps/study/defence_run.h"

namespace caltrop {
namespace {

// Once written it stays: the logits that it is made of are removed when the run is done.
const std::string kVoteCurve = "vote_curve.json";

// Everything but the attacks that decides the images of a subset.
std::string origin_of(const DefendFlags& options, const Json& facts, const char* subset) {
  if (options.cache.empty()) return "";
  return Json{{"version", version()},           {"device", options.common.device},
              {"conv", options.common.conv},    {"weights", facts.at("inputs").at("weights_crc32")},
              {"network", facts.at("network")}, {"data", facts.at("data").at(subset)}}
      .dump();
}

std::map<std::string, std::string> metadata_of(const DataOptions& data) {
  SafeTensorFile file;
  describe_data(file, data);
  return file.metadata;
}

}  // namespace

void DefendWatch::begin(const std::string& what, int64_t images, int64_t done) {
  progress_ = nullptr;
  progress_ = std::make_unique<ProgressLine>(console_, what, images, "images", done);
}

void DefendWatch::at(const std::string& what, int64_t done) {
  progress_->label(what);
  progress_->at(done);
}

void DefendWatch::pool(const std::string& name, const AttackedPool& pool) {
  pools.emplace_back(name, pool);
  if (brief_) console_.say("   {} attacked images to learn from", grouped(pool.count()));
}

void DefendWatch::begin_training(int64_t done, int64_t epochs) {
  log_ = std::make_unique<MetricsLog>(folder->file("metrics.jsonl"), done);
  if (folder->resumed() && !brief_) console_.say("resumed after epoch {} of {}", done, epochs);
}

void DefendWatch::epoch(const WatchedEpoch& epoch) {
  const StageEpoch& trained = epoch.trained;
  const Score& all = epoch.tested.all;
  log_->append(metrics_line(epoch));
  if (brief_ && trained.last) {
    console_.say("   {} {:<10}  training accuracy {:6.2f} %, test accuracy {:6.2f} %", epoch.model,
                 epoch.stage, 100 * trained.accuracy, 100 * all.accuracy);
  } else if (!brief_) {
    console_.say("{:<8} {:<12} epoch {:>2}  loss {:.4f}  train {:6.2f} %  test {:6.2f} %{}", epoch.model,
                 epoch.stage, trained.epoch, trained.loss, 100 * trained.accuracy, 100 * all.accuracy,
                 trained.stop_rule ? "  (above 80 %: the paper's rule would stop here)" : "");
  }
}

DefendRun::DefendRun(const DefendFlags& options, DefendTarget target, Console& console, bool brief)
    : options_(options),
      target_(std::move(target)),
      console_(console),
      watch_(console, brief),
      crafter_(target_.model, options.cache,
               {target_.info.name,
                {origin_of(options, target_.facts, "train"), origin_of(options, target_.facts, "test")}},
               watch_) {
  options_.defence->check(task(nullptr));
  options_.check(target_.train, target_.test);
}

DefenceTask DefendRun::task(const RunFolder* folder) {
  return {.target = target_.model,
          .train = target_.train,
          .test = target_.test,
          .classes = target_.info.classes,
          .known = options_.recipe(seed()),
          .pool = options_.pool(),
          .crafter = crafter_,
          .folder = folder != nullptr ? folder->path() : "",
          .metadata = metadata_of(options_.data),
          .pool_stride = options_.model.pool_stride,
          .seed = seed(),
          .watch = watch_};
}

Defended& DefendRun::train(const RunFolder& folder) {
  folder_ = &folder;
  watch_.folder = &folder;
  tests_ = make_test_sets(task(&folder), options_.tests(target_.test.count(), seed()));
  defended_ = options_.defence->train(task(&folder), tests_.at(0));
  watch_.finish();
  return defended_;
}

const DefenceEvaluation& DefendRun::evaluate() {
  evaluation_ = caltrop::evaluate(defended_, task(folder_), tests_, options_.attacker(seed()));
  watch_.finish();
  return evaluation_;
}

int64_t DefendRun::attacked_train() const {
  return watch_.pools.empty() ? 0 : watch_.pools.front().second.count();
}

Json DefendRun::run(const RunFolder& folder, const std::string& stem) {
  train(folder);
  console_.note("{} attacked images, {} of them from {}", grouped(crafter_.reused() + crafter_.crafted()),
                grouped(crafter_.reused()), options_.cache);
  evaluate();
  console_.note("its price: {} parameters instead of {}, {} passes through a network for an answer",
                grouped(evaluation_.parameters),
                grouped(count_parameters(target_.model.architecture(), target_.model.input())),
                evaluation_.passes);
  Json result = {{"schema", "defend/1"}};
  const auto show = [&](const std::string& name, const Table& table, bool say = true) {
    if (table.empty()) return;
    if (say) {
      console_.blank();
      console_.say(table);
    }
    folder.write_table(name, table);
    result[name] = table.json();
  };
  show("pool", pool_table(tests_, watch_.pools));
  show("summary", summary_table(evaluation_.judged));
  show("attacks", attacks_table(evaluation_.judged), false);
  show("sizes", sizes_table(evaluation_.judged), false);
  show("leave_out", leave_out_table(options_.defence->leave_out(tests_.at(0))));
  if (folder.has(kVoteCurve)) {
    result["vote_curve"] = folder.read_rows(kVoteCurve);
  } else {
    show("vote_curve", vote_curve_table(options_.defence->vote_curve(tests_.at(0))), false);
  }
  show("gradients", gradients_table(evaluation_.gradients));
  show("adaptive", adaptive_table(evaluation_.adaptive));
  if (!evaluation_.unaware.empty()) {
    console_.blank();
    console_.note("the same attacks by one who does not know the defence:");
  }
  show("unaware", adaptive_table(evaluation_.unaware));
  Json& met = result["stop_rule"] = Json::array();
  for (const Json& line : metrics()) {
    if (line.at("stop_rule") != true) continue;
    met.push_back(
        {{"model", line.at("model")}, {"stage", line.at("stage")}, {"epoch", line.at("stage_epoch")}});
  }
  folder.write_json(stem + ".json", result);
  options_.defence->remove_working_files();
  result["metrics"] = metrics();
  return result;
}

namespace {

void declare(Flags& flags, DefendFlags& options, const DefenceInfo& info) {
  flags.usage("--weights FILE [flags]");
  flags.about(info.about + " Source: " + info.source + ".");
  add_defend_flags(flags, options, info);
  flags.section(
      "Files",
      " DIR/config.json                every flag as used\n"
      " DIR/metrics.jsonl              one line per epoch: model, stage, loss and accuracy in training, and "
      "in "
      "test in all and per attack\n"
      " DIR/*.safetensors              the weights of each network after each stage\n"
      " DIR/checkpoint.safetensors     after the last finished epoch\n"
      " DIR/pool.csv                   the attacked images, of each attack and norm\n"
      " DIR/summary.csv                accuracy, F1, detection, false alarms of each model and stage\n"
      " DIR/attacks.csv, sizes.csv     the same per attack; recall and right answers per size\n"
      " DIR/leave_out.csv              --controls leave-out: detection of what was never trained on\n"
      " DIR/vote_curve.csv             mia: the vote after each epoch of the bootstraps, per attack\n"
      " DIR/adaptive.csv               the defence under attacks that know it\n"
      " DIR/unaware.csv                the same by one who does not, where the defence hides its gradients "
      "or "
      "stands before or beside the network\n"
      " DIR/gradients.csv              test images without an input gradient, in fp32\n"
      " DIR/" +
          info.name +
          ".json                   as --json\n"
          " CACHE/*.safetensors            attacked images, by content");
  flags.section("JSON",
                "out, pool, summary, attacks, sizes, leave_out, vote_curve, gradients, adaptive, unaware "
                "(the tables), stop_rule "
                "(the epochs that met the paper's rule), metrics (the lines of metrics.jsonl)");
  flags.example(
      fmt::format("caltrop defend {} --weights runs/target/model.safetensors --scale quick", info.name),
      "10,000 MNIST images, in a few minutes.");
}

void run(DefendFlags& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  resolve(options);
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  const TrainedWithData target =
      open_trained_with_data(options.model, options.data, options.test_images, flags, backend, console);
  DefendRun defend(
      options, {target.model, target.data.train, target.data.test, target.data.info, target.facts}, console);
  const std::string out = folder_or_free(options.common.out, options.info.name + "-" + target.data.info.name);
  const RunFolder folder(out, make_config(flags, target.facts), options.common.resume);
  Json result = {{"out", out}};
  result.update(defend.run(folder, options.info.name));
  console.result(result);
}

}  // namespace

Run defend_command(Flags& flags, const DefenceInfo& info) {
  auto options = std::make_shared<DefendFlags>();
  declare(flags, *options, info);
  return [options, &flags] {
    run(*options, flags);
  };
}

}  // namespace caltrop
