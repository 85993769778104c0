// caltrop gma analyze: the paper's Algorithm 2, on a stored set or on images crafted now.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "apps/commands/attack_report.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/gma/flags.h"
#include "apps/gma/set.h"
#include "apps/report/table.h"

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

class Analysis {
 public:
  Analysis(AnalyzeCommand& options, const Flags& flags)
      : options_(options), flags_(flags), console_(options.common.json, options.common.quiet) {}

  void run() {
    RunFolder::check(options_.common.out, options_.common.resume);
    norms_ = gma_norms(options_.gma);
    if (options_.set.empty()) {
      craft_and_analyze();
    } else {
      replay_and_analyze();
    }
  }

 private:
  void craft_and_analyze() {
    expect_read(flags_, parse_attack(options_.gma.attack.kind));
    const std::vector<GmaSize> sizes = gma_sizes_of(options_.gma);
    for (const Norm norm : norms_) attack_of(norm);
    Backend& backend = open_backend(options_.common, console_);
    const Trained trained =
        open_trained(options_.model, options_.data, options_.subset, flags_, backend, console_);
    const Images& images = trained.data.images;
    report(trained.data.info.name, trained.facts, [&](Norm norm) {
      ProgressLine progress(console_, to_string(norm), images.count() * options_.tries, "images");
      AttackJob job{.rows = row_range(0, images.count()), .batch = options_.batch};
      job.progress = [&](int64_t done) {
        progress.at(done);
      };
      return gma_analyze(trained.model, images, sizes, attack_of(norm), options_.tries, job);
    });
  }

  // The set brings its images and sizes.
  void expect_no_crafting_flags() const {
    for (const char* flag : {"dataset", "data-dir", "split", "split-seed", "image-size", "limit", "subset",
                             "gma-attack", "gma-base", "gma-grid", "scale", "steps", "step-size",
                             "random-start", "restarts", "decay", "ce-grad", "tries"}) {
      if (flags_.on_command_line(flag))
        usage_error("--{} is for crafting images: with --set they are crafted already", flag);
    }
  }

  void replay_and_analyze() {
    expect_no_crafting_flags();
    options_.set = std::filesystem::absolute(options_.set).lexically_normal().string();
    const std::vector<Norm> stored = norms_of_set(options_.set);
    std::erase_if(norms_,
                  [&](Norm norm) { return std::find(stored.begin(), stored.end(), norm) == stored.end(); });
    if (norms_.empty()) fail("{} holds no parts of a GMA set for --norm {}", options_.set, options_.gma.norm);
    const std::vector<std::filesystem::path> parts = find_parts(options_.set, norms_[0]);
    const AttackedSet first = read_part(parts[0]);
    Backend& backend = open_backend(options_.common, console_);
    const OpenedNetwork network = open_network(options_.model, first.shape, first.classes(), backend);
    // An estimate: all parts but the last are as large as the first.
    const int64_t images = static_cast<int64_t>(parts.size()) * first.images();
    // All of it before the first table: a damaged part leaves no half of an analysis.
    std::map<Norm, GmaAnalysis> analyses;
    for (const Norm norm : norms_) {
      ProgressLine progress(console_, to_string(norm), images, "images");
      analyses[norm] =
          replay_set(network.model, options_.set, norm, [&](int64_t done) { progress.at(done); });
    }
    report(std::filesystem::path(options_.set).filename().string(), network.facts,
           [&](Norm norm) { return analyses.at(norm); });
  }

  AttackOptions attack_of(Norm norm) const {
    return attack_options(options_.gma.attack, norm, options_.common.seed);
  }

  // The tables and the figure of what `analyze` finds for each norm.
  void report(const std::string& name, const Json& facts, const std::function<GmaAnalysis(Norm)>& analyze) {
    const std::string out = folder_or_free(options_.common.out, "gma-analysis-" + name);
    const RunFolder folder(out, make_config(flags_, facts), options_.common.resume);
    std::vector<GmaAnalysis> analyses;
    Json results = Json::array();
    for (const Norm norm : norms_) {
      const GmaAnalysis analysis = analyze(norm);
      const Table table = gma_table(analysis);
      console_.say("{}: {} images, clean accuracy {:.2f} %", norm == Norm::linf ? "L-inf" : "L2",
                   grouped(analysis.images), 100 * analysis.baseline);
      console_.blank();
      console_.say(table);
      console_.blank();
      say_gma(console_, analysis);
      const GmaVerdict pooled = gma_verdict(analysis.pooled_accuracy);
      console_.say("Algorithm 2 over all sizes together: {}, flag {}", to_string(pooled),
                   pooled == GmaVerdict::fooled ? 1 : 0);
      console_.blank();
      folder.write_table("gma-" + to_string(norm), table);
      Json found = to_json(analysis);
      found["pooled_verdict"] = to_string(pooled);
      found["pooled_flag"] = pooled == GmaVerdict::fooled ? 1 : 0;
      results.push_back(std::move(found));
      analyses.push_back(analysis);
    }
    const std::string figure = write_figure(
        folder, "accuracy-by-size",
        gma_figure(analyses, options_.model.model.empty() ? "the network" : options_.model.model));
    const Json result = {{"norms", results}};
    folder.write_json("analysis.json", result);
    console_.say("tables and {}", folder.file(figure).string());
    console_.result(result);
  }

  AnalyzeCommand& options_;
  const Flags& flags_;
  Console console_;
  std::vector<Norm> norms_;
};

}  // namespace

Run gma_analyze_command(Flags& flags) {
  return make_command<AnalyzeCommand>(
      flags, declare, [](AnalyzeCommand& options, const Flags& given) { Analysis(options, given).run(); });
}

}  // namespace caltrop
