// caltrop paper gma-mia: the attack study of "GMA/MIA 2025" (section 6.1, 6.2), each figure with the paper's
// numbers, and the way to the study of its defence (section 6.3).
#include <algorithm>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/gma/visual_report.h"
#include "apps/paper/attack_study.h"
#include "apps/paper/defence_shown.h"
#include "apps/paper/printed.h"
#include "apps/report/table.h"
#include "apps/study/report.h"
#include "apps/study/run.h"

namespace caltrop {
namespace {

struct PaperCommand {
  CommonOptions common;
  std::string figure = "auto", table = "none", dataset = "all", scale = "quick";
  std::vector<std::string> models;
  std::optional<int64_t> seeds;
  std::string cache = "runs/crafted", data_dir;
};

void declare(Flags& flags, PaperCommand& options) {
  flags.usage("[--table 3|5|6|all] [--figure 6-23|attacks|defence|all] [--scale smoke|quick|paper]");
  flags.about(
      "Reproduces the attack study of GMA/MIA 2025: networks are trained, GMA's 30 sizes are tried on them "
      "under both norms, PGD, FGSM and CW at the sizes of Table 2 under L2, and each claim is set beside "
      "what "
      "was measured. The paper's VGG and ResNet had been trained on attacks; here all networks are "
      "undefended. "
      "A claim that does not hold is said not to hold, with the curve over the sizes that shows it. Tables "
      "3, 5, "
      "6 and Figures 11 to 23 are about its defence, networks with a class for attacked images (see 'caltrop "
      "defend mia'): each number is a mean over seeds, beside the paper's, and report.md says which claims "
      "survive the controls.");
  flags.group("Study");
  std::vector<std::string> figures;
  for (const PaperItem& item : paper_items()) {
    if (item.kind == "figure") figures.push_back(std::to_string(item.number));
  }
  figures.insert(figures.end(), {"attacks", "defence", "all", "none", "auto"});
  flags.choice("figure", options.figure, figures,
               "6 attacked images, 7 accuracy on MNIST, 8 on Fashion-MNIST, 9 success rates, 10 "
               "classifications; 11 scores of the vote, 12 to 15 its curves, 16 to 23 those of its networks. "
               "attacks: 6 to 10, defence: 11 to 23. auto: 7, with --table none");
  flags.choice("table", options.table, {"none", "3", "5", "6", "all"},
               "3 the vote under each attack, 5 the networks after each cycle on MNIST, 6 on Fashion-MNIST");
  flags.choice("dataset", options.dataset, {"all", "mnist", "fashion-mnist"}, "only what is about this one");
  flags.choice(
      "scale", options.scale, {"smoke", "quick", "paper"},
      "smoke: under a minute, Target on a few images. quick: under 20 minutes on 2 cores, Target and a "
      "little of ResNet32; the defence as 'defend --scale quick', about 5 minutes for a seed and data set. "
      "paper: all networks on all images, for a GPU");
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
                "--resume takes both up again");
  flags.section(
      "JSON",
      "out, accuracy, claims (the tables), figures (files), skipped (data sets that were not found); "
      "defence: table-3, table-5, table-6, defence-claims, DATA-detection, DATA-controls, DATA-sizes");
  flags.example("caltrop paper gma-mia --table all --figure defence --scale quick",
                "The defence and its controls, three seeds.");
  flags.example("caltrop paper gma-mia --figure 7 --scale quick", "MNIST, in minutes.");
  flags.example("caltrop paper gma-mia --figure all --scale paper --device cuda", "Everything, unattended.");
}

// Tables and figures that were asked for, with the data sets that were; `auto` becomes Figure 7, or none where a table
// is. A UsageError where --dataset leaves nothing of them.
std::vector<PaperItem> wanted_of(PaperCommand& options) {
  if (options.figure == "auto") options.figure = options.table == "none" ? "7" : "none";
  std::vector<PaperItem> wanted;
  for (PaperItem item : paper_items()) {
    const bool table = item.kind == "table";
    const std::string& asked = table ? options.table : options.figure;
    const bool by_part = !table && asked == (item.defence ? "defence" : "attacks");
    if (asked != "all" && !by_part && asked != std::to_string(item.number)) continue;
    std::erase_if(item.datasets, [&](const std::string& dataset) {
      return options.dataset != "all" && options.dataset != dataset;
    });
    if (!item.datasets.empty()) wanted.push_back(std::move(item));
  }
  if (wanted.empty())
    usage_error("--dataset {} has none of the figures and tables that are asked for", options.dataset);
  return wanted;
}

// The networks of the scale that were asked for.
std::vector<StudyArm> arms_of(const PaperCommand& options, const std::string& dataset, Console& console) {
  std::vector<StudyArm> arms;
  for (const std::string& model : kPaperModels) {
    const bool chosen = options.models.empty() || std::ranges::count(options.models, model) > 0;
    if (!chosen || (options.figure == "6" && model != "target")) continue;
    if (const std::optional<StudyArm> arm = study_arm(options.scale, model)) {
      arms.push_back(*arm);
    } else {
      console.note("{} {} is left out at --scale {}", dataset, model, options.scale);
    }
  }
  return arms;
}

// Figure 6: Target under all attacks. Figure 10: what each network says before and after GMA.
void draw(const PaperItem& figure, const std::string& scale, const StudyCell& cell, const StudyPlace& place,
          StudyReport& report) {
  if (figure.number == 6 && cell.arm.name != "target") return;
  const StudiedNetwork network = study_network(cell, place);
  std::vector<StudyAttack> attacks =
      visual_attacks({Norm::linf, Norm::l2}, cell.dataset, static_cast<uint64_t>(cell.seed));
  if (figure.number == 10)
    std::erase_if(attacks, [](const StudyAttack& attack) { return attack.name != "GMA"; });
  const VisualInput input{.model = network.model(),
                          .images = network.data.test,
                          .class_names = network.data.info.class_names,
                          .title = fmt::format("{}: what it says", cell.title()),
                          .measured = images_measured(scale, cell.arm.name)};
  const VisualReport drawn = write_visual(place.folder, fmt::format("figure-{}-{}", figure.number, cell.stem),
                                          input, attacks, place.console);
  report.figures({drawn.sheet, drawn.perturbations});
}

// Figures 6 to 10; {"accuracy", "claims", "figures", "skipped"}.
Json run_attack_paper(std::vector<PaperItem> figures, const PaperCommand& options, const StudyPlace& place) {
  const auto drawn = std::ranges::stable_partition(
      figures, [](const PaperItem& figure) { return figure.number == 6 || figure.number == 10; });
  const std::vector<PaperItem> measured(drawn.begin(), drawn.end());
  std::vector<StudyCell> cells;
  for (const std::string& dataset : datasets_of(figures)) {
    const Study study{
        .dataset = dataset,
        .data_dir = options.data_dir,
        .arms = arms_of(options, dataset, place.console),
        .seeds = {options.common.seed},
        .attacks = measured.empty() ? std::vector<StudyAttack>() : study_attacks(options.scale, dataset)};
    for (StudyCell& cell : cells_of(study)) cells.push_back(std::move(cell));
  }
  const StudyResults results = run_study(cells, place);
  if (results.cells.empty()) {
    fail("nothing to show: {}",
         results.skipped.empty() ? "none of --models belongs to this --scale" : results.skipped.back());
  }
  figures.erase(drawn.begin(), drawn.end());
  StudyReport report(place);
  for (const CellResult& one : results.cells) {
    for (const PaperItem& figure : figures) draw(figure, options.scale, one.cell, place, report);
  }
  if (!measured.empty()) show_attacks(results.cells, measured, options.scale, place, report);
  Json result = report.result();
  result["skipped"] = results.skipped;
  return result;
}

void run(PaperCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  std::vector<PaperItem> attacks = wanted_of(options), defence;
  std::ranges::copy_if(attacks, std::back_inserter(defence), &PaperItem::defence);
  std::erase_if(attacks, [](const PaperItem& item) { return item.defence; });
  Backend& backend = open_backend(options.common, console);
  const std::string out = folder_or_free(options.common.out, "paper-gma-mia");
  const RunConfig config = make_config(flags, Json::object());
  const RunFolder folder(out, config, options.common.resume);
  const StudyPlace place{folder, backend, console};
  Json result = {{"out", out}, {"figures", Json::array()}, {"skipped", Json::array()}};
  if (!attacks.empty()) result.update(run_attack_paper(attacks, options, place));
  if (!defence.empty()) {
    const DefenceStudyOptions study{.scale = options.scale,
                                    .seeds = options.seeds.value_or(options.scale == "smoke" ? 1 : 3),
                                    .cache = options.cache,
                                    .data_dir = options.data_dir,
                                    .vote = std::ranges::any_of(defence, &PaperItem::vote)};
    result["defence"] = run_defence_paper(defence, study, options.common, place, flags);
    for (const Json& figure : result["defence"]["figures"]) result["figures"].push_back(figure);
    console.blank();
    console.say("{}", folder.file("report.md").string());
  }
  console.blank();
  for (const Json& figure : result["figures"]) console.say("{}", folder.file(figure).string());
  console.result(result_of(config, "paper-gma-mia/1", std::move(result)));
}

}  // namespace

Run paper_gma_mia_command(Flags& flags) {
  return make_command<PaperCommand>(flags, declare, run);
}

}  // namespace caltrop
