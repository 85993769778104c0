// caltrop paper gma-mia: the attack study of "GMA/MIA 2025" (section 6.1, 6.2), each figure with the paper's
// numbers, and the way to the study of its defence (section 6.3).
#include <algorithm>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/gma/visual_report.h"
#include "apps/paper/attack_study.h"
#include "apps/paper/defence_report.h"
#include "apps/paper/gma_mia_flags.h"
#include "apps/report/table.h"
#include "apps/study/run.h"

namespace caltrop {
namespace {

class PaperStudy {
 public:
  PaperStudy(PaperCommand& options, const Flags& flags)
      : options_(options), flags_(flags), console_(options.common.json, options.common.quiet) {}

  void run() {
    RunFolder::check(options_.common.out, options_.common.resume);
    const WantedOfPaper wanted = wanted_of(options_);
    Backend& backend = open_backend(options_.common, console_);
    const std::string out = folder_or_free(options_.common.out, "paper-gma-mia");
    const RunFolder folder(out, make_config(flags_, Json::object()), options_.common.resume);
    const StudyPlace place{folder, backend, console_};
    Json result = {{"out", out}};
    if (wanted.attacks()) attack(wanted.datasets, place, result);
    const DefencePaper defence = defence_of(options_, wanted);
    if (!defence.needed_datasets().empty()) {
      result["defence"] = run_defence_paper(defence, options_.common, place, flags_);
      for (const Json& figure : result["defence"]["figures"]) figures_.push_back(figure);
      console_.blank();
      console_.say("{}", folder.file("report.md").string());
    }
    result["figures"] = figures_;
    result["skipped"] = skipped_;
    console_.blank();
    for (const std::string& figure : figures_) console_.say("{}", folder.file(figure).string());
    console_.result(result);
  }

 private:
  bool wants(int figure) const {
    return options_.figure == "all" || options_.figure == "attacks" ||
           options_.figure == std::to_string(figure);
  }

  // The networks of the scale that were asked for.
  std::vector<StudyArm> arms_of(const std::string& dataset) {
    std::vector<StudyArm> arms;
    for (const std::string& model : kPaperModels) {
      const bool chosen = options_.models.empty() || std::find(options_.models.begin(), options_.models.end(),
                                                               model) != options_.models.end();
      if (!chosen || (options_.figure == "6" && model != "target")) continue;
      if (const std::optional<StudyArm> arm = study_arm(options_.scale, model)) {
        arms.push_back(*arm);
      } else {
        console_.note("{} {} is left out at --scale {}", dataset, model, options_.scale);
      }
    }
    return arms;
  }

  // Figures 6 to 10.
  void attack(const std::vector<std::string>& datasets, const StudyPlace& place, Json& result) {
    const bool attacked = wants(7) || wants(8) || wants(9);
    std::vector<StudyCell> cells;
    for (const std::string& dataset : datasets) {
      const Study study{
          .dataset = dataset,
          .data_dir = options_.data_dir,
          .arms = arms_of(dataset),
          .seeds = {options_.common.seed},
          .attacks = attacked ? study_attacks(options_.scale, dataset) : std::vector<StudyAttack>()};
      for (StudyCell& cell : cells_of(study)) cells.push_back(std::move(cell));
    }
    const StudyResults results = run_study(cells, place);
    skipped_ = results.skipped;
    if (results.cells.empty()) {
      fail("nothing to show: {}",
           skipped_.empty() ? "none of --models belongs to this --scale" : skipped_.back());
    }
    if (wants(6) || wants(10)) {
      for (const CellResult& one : results.cells) draw(one.cell, place);
    }
    if (!attacked) return;
    for (const CellResult& one : results.cells) write_by_size(place.folder, one);
    for (const int figure : {7, 8, 9}) {
      if (!wants(figure)) continue;
      for (std::string& file : write_attack_figure(place.folder, figure, results.cells, options_.scale))
        figures_.push_back(std::move(file));
    }
    show("accuracy", accuracy_table(results.cells), place.folder, result);
    show("claims", attack_claims(results.cells), place.folder, result);
  }

  void show(const std::string& name, const Table& table, const RunFolder& folder, Json& result) {
    console_.blank();
    console_.say(table);
    folder.write_table(name, table);
    result[name] = table.json();
  }

  // Figure 6: Target under all attacks. Figure 10: what each network says before and after GMA.
  void draw(const StudyCell& cell, const StudyPlace& place) {
    const StudiedNetwork network = study_network(cell, place);
    for (const int figure : {6, 10}) {
      if (!wants(figure) || (figure == 6 && cell.arm.name != "target")) continue;
      std::vector<VisualAttack> attacks =
          visual_attacks({Norm::linf, Norm::l2}, cell.dataset, static_cast<uint64_t>(cell.seed));
      if (figure == 10)
        std::erase_if(attacks, [](const VisualAttack& attack) { return attack.name != "GMA"; });
      const VisualInput input{.model = network.model,
                              .images = network.data.test,
                              .class_names = network.data.info.class_names,
                              .title = fmt::format("{}: what it says", cell.title()),
                              .measured = images_measured(options_.scale, cell.arm.name)};
      const VisualReport report = write_visual(place.folder, fmt::format("figure-{}-{}", figure, cell.stem),
                                               input, attacks, console_);
      figures_.insert(figures_.end(), {report.sheet, report.perturbations});
    }
  }

  PaperCommand& options_;
  const Flags& flags_;
  Console console_;
  std::vector<std::string> figures_, skipped_;
};

}  // namespace

Run paper_gma_mia_command(Flags& flags) {
  return make_command<PaperCommand>(flags, declare_paper, [](PaperCommand& options, const Flags& given) {
    PaperStudy(options, given).run();
  });
}

}  // namespace caltrop
