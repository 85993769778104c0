#include "apps/paper/attack_study.h"

#include <algorithm>
#include <array>

#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/attack_report.h"
#include "apps/report/figure.h"
#include "apps/report/table.h"
#include "apps/study/report.h"
#include "apps/study/run.h"
#include "defense/pool/recipe.h"

namespace caltrop {
namespace {

constexpr double kCloseEnough = 0.02;  // to the paper's success rate
constexpr std::array kNorms = {Norm::linf, Norm::l2};
const std::array<std::string, 3> kBig = {"pgd", "fgsm", "cw"};

std::string gma_name(Norm norm) {
  return "GMA " + to_string(norm);
}

std::string by_size(const GmaAnalysis& gma) {
  const std::string every = fmt::format("; {:.2f} % stay right under every size", 100 * gma.worst_accuracy);
  const auto fooling = gma.fooling();
  if (!fooling) return "no size does" + every;
  return fmt::format("{} of {} sizes do, from {:.3g} on", fooling->sizes, gma.sizes.size(), fooling->least) +
         every;
}

std::string verdict(bool holds) {
  return holds ? "holds" : "does not hold";
}

}  // namespace

std::optional<StudyArm> study_arm(std::string_view scale, const std::string& model) {
  const bool target = model == "target";
  if (scale == "paper") return StudyArm{.name = model, .epochs = target ? 10 : 30};
  if (scale == "quick" && model == "resnet32")
    return StudyArm{.name = model, .train_images = 6000, .epochs = 2, .attacked = 20};
  if (!target) return std::nullopt;
  if (scale == "quick") return StudyArm{.name = model, .epochs = 3, .attacked = 500};
  return StudyArm{.name = model, .train_images = 6000, .attacked = 50};
}

int64_t images_measured(std::string_view scale, const std::string& model) {
  if (scale == "smoke") return 10;
  if (scale == "quick") return model == "target" ? 100 : 5;
  return 1000;
}

std::vector<StudyAttack> study_attacks(std::string_view scale, const std::string& dataset) {
  const bool whole = scale == "paper";
  std::vector<StudyAttack> attacks;
  for (const Norm norm : kNorms)
    attacks.push_back({gma_name(norm), gma_attack(AttackKind::pgd, norm), gma_sizes(), whole ? 3 : 1});
  for (const BigAttack& big : big_attacks(dataset)) {
    StudyAttack attack{to_string(big.options.kind), big.options, plain_sizes(big.sizes)};
    if (attack.name == "cw" && !whole) {  // instead of 9 rounds of 1,000 steps
      attack.options.steps = kQuickCw.steps;
      attack.options.cw = {.rounds = kQuickCw.rounds,
                           .first_constant = static_cast<float>(kQuickCw.constant),
                           .learning_rate = static_cast<float>(kQuickCw.rate)};
    }
    attacks.push_back(std::move(attack));
  }
  return attacks;
}

StudyCell target_cell(const std::string& dataset, const std::string& data_dir, const std::string& scale,
                      int64_t seed) {
  return cells_of({dataset, data_dir, {*study_arm(scale, "target")}, {seed}, {}}).front();
}

namespace {

// Each network under each attack and size.
Table accuracy_table(const std::vector<CellResult>& results) {
  using K = Column::Kind;
  Table table({{"dataset", "data"},
               {"model", "network"},
               {"attack", "attack"},
               {"norm", "norm"},
               {"size", "size", K::general, 3},
               {"n", "images", K::count},
               {"accuracy", "accuracy", K::percent, 2},
               {"paper", "paper", K::percent, 2}});
  for (const CellResult& r : results) {
    const PaperNumbers paper = paper_numbers(r.cell.dataset, r.cell.arm.name);
    const auto row = [&](std::string attack, Cell norm, Cell size, double accuracy, Cell printed) {
      table.row({r.cell.dataset, r.cell.arm.name, std::move(attack), std::move(norm), std::move(size),
                 r.attacked(), accuracy, std::move(printed)});
    };
    row("clean", {}, {}, r.clean(), cell_of(paper.clean));
    for (const Norm norm : kNorms) {
      const GmaAnalysis& gma = r.under(gma_name(norm));
      row("GMA, mean of sizes", to_string(norm), {}, gma.pooled_accuracy, paper.gma);
      row("GMA, worst of sizes", to_string(norm), {}, gma.worst_accuracy, paper.gma);
    }
    for (const std::string& name : kBig) {
      for (const GmaSizeResult& size : r.under(name).sizes)
        row(name, "l2", static_cast<double>(size.size.eps), size.accuracy(), cell_of(paper.under(name)));
    }
  }
  return table;
}

// A claim about GMA is one about its sizes together; how far it holds for single ones is in the last column.
Table attack_claims(const std::vector<CellResult>& results) {
  using K = Column::Kind;
  Table table({{"claim", "claim"},
               {"norm", "norm"},
               {"paper", "paper", K::percent, 2},
               {"ours", "ours", K::percent, 2},
               {"verdict", "verdict"},
               {"detail", "by size"}});
  for (const CellResult& r : results) {
    double strongest = 1;
    for (const std::string& name : kBig) strongest = std::min(strongest, r.under(name).pooled_accuracy);
    for (const Norm norm : kNorms) {
      const GmaAnalysis& gma = r.under(gma_name(norm));
      const double ours = gma.pooled_accuracy;
      table.row({fmt::format("GMA takes {} below 50 %", r.cell.title()), to_string(norm),
                 paper_numbers(r.cell.dataset, r.cell.arm.name).gma, ours,
                 verdict(gma_verdict(ours) == GmaVerdict::fooled), by_size(gma)});
      table.row({fmt::format("GMA is stronger than the others on {}", r.cell.title()),
                 to_string(norm),
                 {},
                 ours,
                 verdict(ours < strongest),
                 fmt::format("the others reach {:.2f} %, GMA {:.2f} %", 100 * strongest, 100 * ours)});
    }
  }
  for (const std::string& dataset : kPaperDatasets) {
    for (const Norm norm : kNorms) {
      double rate = 0;
      int64_t networks = 0;
      for (const CellResult& r : results) {
        if (r.cell.dataset != dataset) continue;
        rate += 1 - r.under(gma_name(norm)).pooled_accuracy;
        ++networks;
      }
      if (networks == 0) continue;
      rate /= static_cast<double>(networks);
      const double printed = paper_success_rate(dataset);
      table.row({fmt::format("GMA's mean success rate on {}", dataset), to_string(norm), printed, rate,
                 verdict(rate >= printed - kCloseEnough), fmt::format("mean of {} of 5 networks", networks)});
    }
  }
  return table;
}

// STEM-gma-NORM.csv and .json, and the curves STEM-sizes.
void write_by_size(const RunFolder& folder, const CellResult& result) {
  std::vector<GmaAnalysis> analyses;
  for (const Norm norm : kNorms) {
    analyses.push_back(result.under(gma_name(norm)));
    folder.write_table(result.cell.stem + "-gma-" + to_string(norm), gma_table(analyses.back()));
  }
  write_figure(folder, result.cell.stem + "-sizes", gma_figure(analyses, result.cell.title()));
}

// Figures 7, 8: accuracy before and after each attack, one group of bars for each network. Figure 9: success rates, one
// picture for each data set. The files to open; none where no result is about the figure.
std::vector<std::string> write_attack_figure(const RunFolder& folder, const PaperItem& item,
                                             const std::vector<CellResult>& results,
                                             const std::string& scale) {
  const bool success = item.number == 9;
  std::vector<std::string> files;
  for (const std::string& dataset : item.datasets) {
    Figure figure{
        .title = success ? fmt::format("Attack success on {} ({})", dataset, scale)
                         : fmt::format("Accuracy on {} before and after attacks ({})", dataset, scale),
        .x_label = "",
        .y_label = success ? "images misclassified" : "accuracy",
        .note =
            "n: attacked images; lines: 95 % intervals. The paper prints one number for GMA, of no norm."};
    if (!success) figure.series = {{"clean"}};
    for (const char* norm : {"L-inf", "L2"})
      figure.series.push_back({fmt::format("GMA {}, mean of 30 sizes", norm)});
    for (const std::string& name : kBig)
      figure.series.push_back({fmt::format("{} L2, mean over Table 2's sizes", upper(name))});
    for (const CellResult& result : results) {
      if (result.cell.dataset != dataset) continue;
      const PaperNumbers paper = paper_numbers(dataset, result.cell.arm.name);
      std::vector<Measured> bars;
      const auto add = [&](double accuracy, std::optional<double> printed) {
        Measured& bar =
            bars.emplace_back(measured_share(success ? 1 - accuracy : accuracy, result.attacked()));
        if (printed) bar.printed = success ? 1 - *printed : *printed;
      };
      if (!success) add(result.clean(), paper.clean);
      for (const Norm norm : kNorms) add(result.under(gma_name(norm)).pooled_accuracy, paper.gma);
      for (const std::string& name : kBig) add(result.under(name).pooled_accuracy, paper.under(name));
      figure.add_group(fmt::format("{}, n = {}", result.cell.arm.name, grouped(result.attacked())), bars);
    }
    const std::string stem = fmt::format("figure-{}{}", item.number, success ? "-" + dataset : "");
    if (!figure.groups.empty()) files.push_back(write_figure(folder, stem, figure));
  }
  return files;
}

}  // namespace

void show_attacks(const std::vector<CellResult>& results, const std::vector<PaperItem>& figures,
                  const std::string& scale, const StudyPlace& place, StudyReport& report) {
  for (const CellResult& one : results) write_by_size(place.folder, one);
  for (const PaperItem& figure : figures)
    report.figures(write_attack_figure(place.folder, figure, results, scale));
  const Table accuracy = accuracy_table(results), claims = attack_claims(results);
  report.show("accuracy", accuracy, "", accuracy);
  report.show("claims", claims, "", claims);
}

}  // namespace caltrop
