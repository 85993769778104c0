// caltrop gma visual: the paper's visual analysis (3.3, 6.1, Figures 6 and 10), with figures beside the eye.

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/gma/flags.h"
#include "apps/gma/visual_report.h"

namespace caltrop {
namespace {

struct VisualCommand {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string subset = "test", norm = "both";
  int64_t images = 200;
};

void declare(Flags& flags, VisualCommand& options) {
  flags.usage("--weights FILE [flags]");
  flags.about(
      "Shows what GMA and bigger attacks do to one image of each class, with the predicted class and its "
      "confidence under each, red where the network is fooled, and the perturbations magnified. The paper "
      "judged similarity by eye; the table measures it for each size: L2, L-inf, PSNR, SSIM, pixels that "
      "change when images are rounded to 8 bits, and how many attacks survive that.");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "look at the first N images");
  add_subset_flag(flags, options.subset);
  flags.group("Visual analysis");
  flags.choice("norm", options.norm, {"both", "linf", "l2"}, "how GMA's sizes are measured");
  flags.integer("images", options.images, 1, int64_t{1} << 40, "N", "images behind the table");
  add_common_flags(flags, options.common, true, "runs/gma-visual-DATASET, the first that is free");
  flags.section(
      "Files",
      " DIR/visual.png                  rows of attacks, columns of classes\n"
      " DIR/visual-perturbation.png     blue to red, each perturbation magnified to its largest value\n"
      " DIR/visual*-images.png, *.gp    the images alone, and the gnuplot script that sets the words\n"
      " DIR/visual-similarity.csv       one row per attack and size, and .json");
  flags.section("JSON", "out, similarity (the table), sheet, perturbations (files)");
  flags.example("caltrop gma visual --weights runs/target/model.safetensors", "Ten digits, thirteen rows.");
}

void run(VisualCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  const Trained trained = open_trained(options.model, options.data, options.subset, flags, backend, console);
  const DataInfo& info = trained.data.info;
  const std::string out = folder_or_free(options.common.out, "gma-visual-" + info.name);
  const RunFolder folder(out, make_config(flags, trained.facts), options.common.resume);
  const VisualInput input{.model = trained.model,
                          .images = trained.data.images,
                          .class_names = info.class_names,
                          .title = info.name + ": predictions under attack",
                          .measured = options.images};
  const VisualReport report = write_visual(
      folder, "visual", input,
      visual_attacks(gma_norms(options.norm), info.name, static_cast<uint64_t>(options.common.seed)),
      console);
  console.say(report.similarity);
  console.blank();
  console.say("{} and {}", folder.file(report.sheet).string(), report.perturbations);
  console.result({{"schema", "gma-visual/1"},
                  {"out", out},
                  {"similarity", report.similarity.json()},
                  {"sheet", report.sheet},
                  {"perturbations", report.perturbations}});
}

}  // namespace

Run gma_visual_command(Flags& flags) {
  return make_command<VisualCommand>(flags, declare, run);
}

}  // namespace caltrop
