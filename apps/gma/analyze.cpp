// caltrop gma analyze: the paper's Algorithm 2, on a stored set or on images crafted now.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "apps/commands/stored_set.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/gma/flags.h"
#include "apps/report/attack_report.h"
#include "apps/report/table.h"
#include "attacks/gma/replay.h"
#include "data/gma_set.h"

namespace caltrop {
namespace {

struct AnalyzeCommand {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  GmaFlags gma;
  std::string subset = "test", set;
  int64_t tries = 3, batch = 0;
};

void declare(Flags& flags, AnalyzeCommand& options) {
  flags.usage("--weights FILE [--set DIR] [flags]");
  flags.about(
      "Analyses what each miniature size does to a network (Algorithm 2): accuracy per size, fooled below "
      "50 %, robust above 80 %, and the paper's flag. Up to three tries: a repeated deterministic attack "
      "gives the same answer, so the second and third begin at random points; a size is left alone once it "
      "fooled the network. With --set the stored images of 'caltrop gma generate' are shown to the network "
      "instead, once: it may be another network than the one they were crafted on. The set brings its "
      "images and sizes; of the other flags --norm chooses among them.");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "attack the first N images");
  add_subset_flag(flags, options.subset);
  add_gma_flags(flags, options.gma);
  flags.integer("tries", options.tries, 1, 3, "N", "most tries for each size");
  flags.text("set", options.set, "DIR", "a folder of 'caltrop gma generate'", "craft the images");
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images crafted together, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, true, "runs/gma-analysis-DATASET, the first that is free");
  flags.section("Files",
                " DIR/config.json               every flag as used\n"
                " DIR/gma-NORM.csv and .json    one row per size\n"
                " DIR/analysis.json             as --json\n"
                " DIR/accuracy-by-size.png      with its gnuplot script and data");
  flags.section("JSON",
                "norms: for each its norm, n, clean_accuracy, sizes (the table), pooled_accuracy and "
                "worst_accuracy over the sizes, passes, pooled_verdict and pooled_flag (Algorithm 2 on "
                "pooled_accuracy)");
  flags.example("caltrop gma analyze --weights runs/target/model.safetensors --limit 1000",
                "30 sizes under both norms on the first 1,000 test images.");
}

AttackOptions attack_of(const AnalyzeCommand& options, Norm norm) {
  return attack_options(options.gma.attack, norm, options.common.seed);
}

// The tables and the figure of what `analyze` finds for each norm.
void report(AnalyzeCommand& options, const RunConfig& config, const std::string& name,
            const std::vector<Norm>& norms, const std::function<GmaAnalysis(Norm)>& analyze,
            Console& console) {
  const std::string out = folder_or_free(options.common.out, "gma-analysis-" + name);
  const RunFolder folder(out, config, options.common.resume);
  std::vector<GmaAnalysis> analyses;
  Json results = Json::array();
  for (const Norm norm : norms) {
    const GmaAnalysis& analysis = analyses.emplace_back(analyze(norm));
    const Table table = gma_table(analysis);
    console.say("{}: {} images, clean accuracy {:.2f} %", norm_title(norm), grouped(analysis.images),
                100 * analysis.baseline);
    console.blank();
    console.say(table);
    console.blank();
    say_gma(console, analysis);
    const GmaVerdict pooled = gma_verdict(analysis.pooled_accuracy);
    const int flag = pooled == GmaVerdict::fooled ? 1 : 0;
    console.say("Algorithm 2 over all sizes together: {}, flag {}", to_string(pooled), flag);
    console.blank();
    folder.write_table("gma-" + to_string(norm), table);
    Json& found = results.emplace_back(to_json(analysis));
    found["pooled_verdict"] = to_string(pooled);
    found["pooled_flag"] = flag;
  }
  const std::string figure =
      write_figure(folder, "accuracy-by-size",
                   gma_figure(analyses, options.model.model.empty() ? "the network" : options.model.model));
  const Json result = {{"schema", "gma-analysis/1"}, {"norms", results}};
  folder.write_json("analysis.json", result);
  console.say("tables and {}", folder.file(figure).string());
  console.result(result);
}

void craft_and_analyze(AnalyzeCommand& options, const Flags& flags, std::vector<Norm> norms,
                       Console& console) {
  expect_read(flags, parse_attack(options.gma.attack.kind));
  const std::vector<GmaSize> sizes = gma_sizes_of(options.gma);
  for (const Norm norm : norms) attack_of(options, norm);
  Backend& backend = open_backend(options.common, console);
  const Trained trained = open_trained(options.model, options.data, options.subset, flags, backend, console);
  const Images& images = trained.data.images;
  const auto analyze = [&](Norm norm) {
    ProgressLine progress(console, to_string(norm), images.count() * options.tries, "images");
    AttackJob job{.rows = row_range(0, images.count()), .batch = options.batch};
    job.progress = [&](int64_t done) {
      progress.at(done);
    };
    return gma_analyze(trained.model, images, sizes, attack_of(options, norm), options.tries, job);
  };
  report(options, make_config(flags, trained.facts), trained.data.info.name, norms, analyze, console);
}

void replay_and_analyze(AnalyzeCommand& options, const Flags& flags, std::vector<Norm> norms,
                        Console& console) {
  // The set brings its images and sizes.
  Unused crafting = data_flags();
  for (const char* flag : {"gma-attack", "gma-base", "gma-grid", "scale", "steps", "decay", "step-size",
                           "random-start", "restarts", "ce-grad", "tries"})
    crafting.emplace_back(flag);
  for (const std::string& flag : crafting) {
    if (flags.on_command_line(flag))
      usage_error("--{} is for crafting images: with --set they are crafted already", flag);
  }
  options.set = std::filesystem::absolute(options.set).lexically_normal().string();
  const std::vector<std::string> stored = norms_of_set(options.set);
  std::erase_if(norms, [&](Norm norm) { return std::ranges::count(stored, to_string(norm)) == 0; });
  if (norms.empty()) fail("{} holds no parts of a GMA set for --norm {}", options.set, options.gma.norm);
  const std::vector<std::filesystem::path> parts = find_parts(options.set, to_string(norms[0]));
  const AttackedSet first = read_part(parts[0]);
  Backend& backend = open_backend(options.common, console);
  const OpenedNetwork network = open_network(options.model, first.shape, first.classes(), backend);
  // An estimate: all parts but the last are as large as the first.
  const int64_t images = static_cast<int64_t>(parts.size()) * first.images();
  // All of it before the first table: a damaged part leaves no half of an analysis.
  std::map<Norm, GmaAnalysis> analyses;
  for (const Norm norm : norms) {
    ProgressLine progress(console, to_string(norm), images, "images");
    GmaReplay replay(network.model, norm);
    for_each_part(options.set, to_string(norm), [&](const auto& path, const AttackedSet& part) {
      expect_outputs(network.model, options.model.weights, path.string(), part);
      replay.show({path.string(), part.shape, part.index, part.label, part.x, part.eps, part.v, part.exponent,
                   part.ten, part.delta, part.zero_gradients, part.nan_gradients},
                  [&](int64_t done) { progress.at(done); });
    });
    analyses[norm] = replay.analysis();
  }
  report(
      options, make_config(flags, network.facts, crafting),
      std::filesystem::path(options.set).filename().string(), norms,
      [&](Norm norm) { return analyses.at(norm); }, console);
}

void run(AnalyzeCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  const std::vector<Norm> norms = gma_norms(options.gma.norm);
  (options.set.empty() ? craft_and_analyze : replay_and_analyze)(options, flags, norms, console);
}

}  // namespace

Run gma_analyze_command(Flags& flags) {
  return make_command<AnalyzeCommand>(flags, declare, run);
}

}  // namespace caltrop
