#include "apps/paper/gma_mia_flags.h"

#include "apps/core/flags.h"
#include "apps/paper/attack_study.h"

namespace caltrop {
namespace {

constexpr int kFirstFigure = 6, kFirstOfDefence = 11, kLastFigure = 23;

std::vector<std::string> chosen_datasets(const PaperCommand& options) {
  return options.dataset == "all" ? kPaperDatasets : std::vector<std::string>{options.dataset};
}

std::vector<std::string> datasets_of_attacks(const PaperCommand& options) {
  std::vector<std::string> datasets = chosen_datasets(options);
  const std::string only = options.figure == "7" ? "mnist" : options.figure == "8" ? "fashion-mnist" : "";
  if (!only.empty()) std::erase_if(datasets, [&](const std::string& dataset) { return dataset != only; });
  return datasets;
}

}  // namespace

void declare_paper(Flags& flags, PaperCommand& options) {
  flags.usage("[--table 3|5|6|all] [--figure 6-23|attacks|defence|all] [--scale smoke|quick|paper]");
  flags.about(
      "Reproduces the attack study of GMA/MIA 2025: networks are trained, GMA's 30 sizes are tried on them "
      "under both "
      "norms, PGD, FGSM and CW at the sizes of Table 2 under L2, and each claim is set beside what was "
      "measured. "
      "The "
      "paper's VGG and ResNet had been trained on attacks; here all networks are undefended. A claim that "
      "does not "
      "hold is said not to hold, with the curve over the sizes that shows it. Tables 3, 5, 6 and Figures 11 "
      "to 23 "
      "are about its defence, networks with a class for attacked images (see 'caltrop defend mia'): each "
      "number is a "
      "mean over seeds, beside the paper's, and report.md says which claims survive the controls.");
  flags.group("Study");
  std::vector<std::string> figures;
  for (int number = kFirstFigure; number <= kLastFigure; ++number) figures.push_back(std::to_string(number));
  figures.insert(figures.end(), {"attacks", "defence", "all", "none", "auto"});
  flags.choice("figure", options.figure, figures,
               "6 attacked images, 7 accuracy on MNIST, 8 on Fashion-MNIST, 9 success rates, 10 "
               "classifications; 11 scores of "
               "the vote, 12 to 15 its curves, 16 to 23 those of its networks. attacks: 6 to 10, defence: 11 "
               "to 23. auto: 7, with --table none");
  flags.choice("table", options.table, {"none", "3", "5", "6", "all"},
               "3 the vote under each attack, 5 the networks after each cycle on MNIST, 6 on Fashion-MNIST");
  flags.choice("dataset", options.dataset, {"all", "mnist", "fashion-mnist"}, "only what is about this one");
  flags.choice(
      "scale", options.scale, {"smoke", "quick", "paper"},
      "smoke: under a minute, Target on a few images. quick: under 20 minutes on 2 cores, Target and a "
      "little of ResNet32; the defence as 'defend --scale quick', about 5 minutes for a seed and data set. "
      "paper: all "
      "networks on all images, for a GPU");
  flags.list("models", options.models, kPaperModels, "NAME,...", "only these of the scale's networks",
             "all of the scale's");
  flags.text("data-dir", options.data_dir, "DIR", "the folder that holds mnist/ and fashion-mnist/",
             "searched: see 'caltrop info'");
  add_common_flags(flags, options.common, true, "runs/paper-gma-mia, the first that is free");
  // No part of the recipe: a folder is resumed with more seeds than it was begun with.
  flags.integer("seeds", options.seeds, 1, 1000, "N",
                "seeds of the defence: --seed, --seed + 1, ...; with --resume more can be added",
                "by --scale: 1, 3, 3");
  flags.text("cache", options.cache, "DIR", "folder of the defence's attacked images; made if missing");
  flags.section("Files",
                " DIR/report.md                the defence: what survives, all tables\n"
                " DIR/table-N.csv              a table of the defence with the paper's numbers; and .json\n"
                " DIR/DATA-detection.csv, DATA-controls.csv, DATA-sizes.csv   what stands beside it\n"
                " DIR/DATA-sizes-recall.png, DATA-sizes-fooled.png            the curves over the sizes\n"
                " DIR/DATA-seed-N/             the run of one seed, as of 'caltrop defend mia'\n"
                " DIR/figure-N.png             the figure, with its gnuplot script and data\n"
                " DIR/claims.csv               claim, the paper's number, ours, holds or not; and .json\n"
                " DIR/accuracy.csv             each network under each attack; and .json\n"
                " DIR/DATA-NET-gma-NORM.csv    one row per size; DATA-NET-sizes.png the curves\n"
                " DIR/DATA-NET.safetensors     the networks, and DATA-NET-attacks.json what attacks did: "
                "--resume takes both "
                "up again");
  flags.section("JSON",
                "out, accuracy, claims (the tables), figures (files), skipped (data sets that were not "
                "found); defence: "
                "table-3, table-5, table-6, defence-claims, DATA-detection, DATA-controls, DATA-sizes");
  flags.example("caltrop paper gma-mia --table all --figure defence --scale quick",
                "The defence and its controls, three seeds.");
  flags.example("caltrop paper gma-mia --figure 7 --scale quick", "MNIST, in minutes.");
  flags.example("caltrop paper gma-mia --figure all --scale paper --device cuda", "Everything, unattended.");
}

WantedOfPaper wanted_of(PaperCommand& options) {
  WantedOfPaper wanted;
  for (const int table : {3, 5, 6}) {
    if (options.table == "all" || options.table == std::to_string(table)) wanted.tables.push_back(table);
  }
  if (options.figure == "auto") options.figure = wanted.tables.empty() ? "7" : "none";
  for (int number = kFirstFigure; number <= kLastFigure; ++number) {
    const std::string part = number < kFirstOfDefence ? "attacks" : "defence";
    if (options.figure != "all" && options.figure != part && options.figure != std::to_string(number))
      continue;
    if (number < kFirstOfDefence) wanted.datasets = datasets_of_attacks(options);
    if (number >= kFirstOfDefence) wanted.figures.push_back(number);
  }
  if (wanted.datasets.empty() && defence_of(options, wanted).needed_datasets().empty())
    usage_error("--dataset {} has none of the figures and tables that are asked for", options.dataset);
  return wanted;
}

DefencePaper defence_of(const PaperCommand& options, const WantedOfPaper& wanted) {
  const DefenceStudyOptions study{.scale = options.scale,
                                  .seeds = options.seeds.value_or(options.scale == "smoke" ? 1 : 3),
                                  .cache = options.cache,
                                  .data_dir = options.data_dir};
  return {wanted.tables, wanted.figures, chosen_datasets(options), study};
}

}  // namespace caltrop
