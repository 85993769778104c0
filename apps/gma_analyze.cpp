// caltrop gma analyze: the paper's Algorithm 2, on a stored set or on images crafted now.
#include <memory>

#include "apps/attack_report.h"
#include "apps/commands.h"
#include "apps/console.h"
#include "apps/gma_flags.h"
#include "apps/gma_set.h"
#include "apps/options.h"
#include "apps/run_folder.h"
#include "apps/setup.h"
#include "apps/text_layout.h"
#include "engine/autograd.h"

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
      "Analyses what each miniature size does to a network (Algorithm 2): accuracy per size, fooled below 50 "
      "%, robust "
      "above 80 %, and the paper's flag. Up to three tries: a repeated deterministic attack gives the same "
      "answer, so the "
      "second and third begin at random points; a size is left alone once it fooled the network. With --set "
      "the stored "
      "images of 'caltrop gma generate' are shown to the network instead, once: it may be another network "
      "than the one "
      "they were crafted on.");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "attack the first N images");
  add_subset_flag(flags, options.subset);
  add_gma_flags(flags, options.gma);
  flags.integer("tries", options.tries, 1, 3, "N", "most tries for each size");
  flags.text("set", options.set, "DIR", "a folder of 'caltrop gma generate'", "craft the images");
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images crafted together, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, Folder::plain, true,
                   "runs/gma-analysis-DATASET, the first that is free");
  flags.section("Files",
                " DIR/config.json               every flag as used\n"
                " DIR/gma-NORM.csv and .json    one row per size\n"
                " DIR/analysis.json             as --json\n"
                " DIR/accuracy-by-size.png      with its gnuplot script and data");
  flags.section("JSON",
                "norms: for each its norm, n, clean_accuracy, sizes (the table), pooled_accuracy and "
                "worst_accuracy over the "
                "sizes, passes");
  flags.example("caltrop gma analyze --weights runs/target/model.safetensors --limit 1000",
                "30 sizes under both norms on the first 1,000 test images.");
}

// Shows the images of a stored set to the network.
GmaAnalysis analyze_set(const Model& model, const std::string& set, Norm norm, Console& console) {
  const std::vector<std::filesystem::path> paths = find_parts(set, norm);
  std::vector<GmaPart> parts;
  int64_t images = 0;
  for (const auto& path : paths) {
    parts.push_back(read_part(path));
    const GmaPart& part = parts.back();
    if (!(part.shape == model.input()) || part.sizes.size() != parts[0].sizes.size()) {
      fail("{} does not fit the network or the other parts of its set", path.string());
    }
    images += part.count();
  }
  GmaTally tally(parts.at(0).sizes, norm, images);
  ProgressLine progress(console, to_string(norm), images, "images");
  int64_t first = 0;
  const int64_t pixels = parts[0].shape.height * parts[0].shape.width * parts[0].shape.channels;
  const auto sizes = static_cast<int64_t>(parts[0].sizes.size());
  for (GmaPart& part : parts) {
    for (const int32_t label : part.label) {
      if (label < 0 || label >= model.outputs())
        fail("{} holds the label {}, but the network has {} outputs", set, label, model.outputs());
    }
    const NoGrad values_only;
    for (int64_t i = 0; i < part.count(); ++i) {
      // Row 0 is the clean image, then one row for each size.
      std::vector<float> rows;
      for (int64_t p = 0; p < pixels; ++p)
        rows.push_back(static_cast<float>(part.x[static_cast<size_t>(i * pixels + p)]) / 255.0f);
      for (int64_t at = 0; at < sizes * pixels; ++at) {
        const float x =
            rows[static_cast<size_t>(at % pixels)] + part.delta[static_cast<size_t>(i * sizes * pixels + at)];
        rows.push_back(std::min(1.0f, std::max(0.0f, x)));
      }
      const Tensor x = Tensor::from(
          model.backend(), {sizes + 1, part.shape.height, part.shape.width, part.shape.channels}, rows);
      const std::vector<int32_t> said = argmax(model.forward(x)).to_host();
      const auto at = static_cast<size_t>(i);
      const AttackedImage clean{part.index[at], part.label[at], -1, said[0]};
      for (int64_t s = 0; s < sizes; ++s) {
        const auto row_at = static_cast<size_t>(i * sizes + s);
        AttackRow row;
        row.prediction = said[static_cast<size_t>(s + 1)];
        row.success = row.prediction != part.label[at];
        row.linf = part.linf[row_at];
        row.l2 = part.l2[row_at];
        tally.add(first + i, s, 0, clean, row);
      }
      progress.at(first + i + 1);
    }
    first += part.count();
    part = {};
  }
  GmaAnalysis done = tally.analysis();
  done.forward_passes = images * (sizes + 1);
  return done;
}

void run(AnalyzeCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, Resume::impossible);
  const std::vector<GmaSize> sizes = gma_sizes_of(options.gma);
  std::vector<Norm> norms = gma_norms(options.gma);
  if (!options.set.empty()) {
    std::erase_if(norms, [&](Norm norm) { return find_parts(options.set, norm).empty(); });
    if (norms.empty()) fail("{} holds no parts of a GMA set for --norm {}", options.set, options.gma.norm);
  }
  for (const Norm norm : norms) attack_options(options.gma.attack, norm, options.common.seed);
  Backend& backend = open_backend(options.common);
  const Trained trained = open_trained(options.model, options.data, options.subset, flags, backend, console);
  const Images& images = trained.data.images;
  const std::string out = folder_or_free(options.common.out, "gma-analysis-" + trained.data.info.name);
  const RunFolder folder(out, make_config(flags, trained.facts), Resume::impossible);

  std::vector<GmaAnalysis> analyses;
  Json results = Json::array();
  for (const Norm norm : norms) {
    GmaAnalysis analysis;
    if (options.set.empty()) {
      const AttackOptions attack = attack_options(options.gma.attack, norm, options.common.seed);
      ProgressLine progress(console, to_string(norm), images.count() * options.tries, "images");
      AttackJob job{.rows = row_range(0, images.count()), .batch = options.batch};
      job.progress = [&](int64_t done) {
        progress.at(done);
      };
      analysis = gma_analyze(trained.model, images, sizes, attack, options.tries, job);
    } else {
      analysis = analyze_set(trained.model, options.set, norm, console);
    }
    const Table table = gma_table(analysis);
    console.say("{}: {} images, clean accuracy {:.2f} %", norm == Norm::linf ? "L-inf" : "L2",
                grouped(analysis.images), 100 * analysis.baseline);
    console.blank();
    console.say(table);
    console.blank();
    say_gma(console, analysis);
    console.blank();
    folder.write_table("gma-" + to_string(norm), table);
    results.push_back(to_json(analysis));
    analyses.push_back(std::move(analysis));
  }
  const std::string figure =
      write_figure(folder, "accuracy-by-size", gma_figure(analyses, network_name(options.model)));
  const Json result = {{"norms", results}};
  folder.write_json("analysis.json", result);
  console.say("tables and {}", folder.file(figure).string());
  console.result(result);
}

}  // namespace

Run gma_analyze_command(Flags& flags) {
  auto options = std::make_shared<AnalyzeCommand>();
  declare(flags, *options);
  return [options, &flags] {
    run(*options, flags);
  };
}

}  // namespace caltrop
