// caltrop paper gma-mia: the attack study of "GMA/MIA 2025" (section 6.1, 6.2), each figure with the paper's
// numbers, and the way to the study of its defence (section 6.3).
#include <algorithm>
#include <cmath>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/text_layout.h"
#include "apps/gma/visual_report.h"
#include "apps/paper/attack_study.h"
#include "apps/paper/defence_report.h"
#include "apps/paper/gma_mia_flags.h"
#include "apps/report/figure.h"
#include "apps/report/table.h"

namespace caltrop {
namespace {

Cell optional_cell(const std::optional<double>& value) {
  return value ? Cell{*value} : Cell{};
}

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
    Json result = {{"out", out}};
    if (wanted.attacks()) attack(wanted.datasets, folder, backend, result);
    const DefencePaper defence = defence_of(options_, wanted);
    if (!defence.needed_datasets().empty()) {
      result["defence"] = run_defence_paper(defence, folder, options_.common, backend, flags_, console_);
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
  // Figures 6 to 10.
  void attack(const std::vector<std::string>& datasets, const RunFolder& folder, Backend& backend,
              Json& result) {
    for (const std::string& dataset : datasets) study(dataset, folder, backend);
    if (shown_networks_ == 0) {
      fail("nothing to show: {}",
           skipped_.empty() ? "none of --models belongs to this --scale" : skipped_.back());
    }
    if (wants({"7"})) write_bars("mnist", "figure-7", false, folder);
    if (wants({"8"})) write_bars("fashion-mnist", "figure-8", false, folder);
    for (const std::string& dataset : kPaperDatasets)
      if (wants({"9"})) write_bars(dataset, "figure-9-" + dataset, true, folder);
    if (!results_.empty()) {
      const Table accuracy = accuracy_table(), claims = claims_table();
      console_.blank();
      console_.say(accuracy);
      console_.blank();
      console_.say(claims);
      folder.write_table("accuracy", accuracy);
      folder.write_table("claims", claims);
      result["accuracy"] = accuracy.json();
      result["claims"] = claims.json();
    }
  }

  bool wants(const std::vector<std::string>& figures) const {
    return options_.figure == "all" || options_.figure == "attacks" ||
           std::find(figures.begin(), figures.end(), options_.figure) != figures.end();
  }

  void study(const std::string& dataset, const RunFolder& folder, Backend& backend) {
    for (const std::string& model : kPaperModels) {
      const bool chosen = options_.models.empty() || std::find(options_.models.begin(), options_.models.end(),
                                                               model) != options_.models.end();
      const std::optional<StudySize> size = study_size(options_.scale, model);
      if (!chosen || (options_.figure == "6" && model != "target")) continue;
      if (!size) {
        console_.note("{} {} is left out at --scale {}", dataset, model, options_.scale);
        continue;
      }
      std::optional<StudiedNetwork> network;
      try {
        network.emplace(study_network(folder, dataset, options_.data_dir, model, *size, options_.common,
                                      backend, console_));
      } catch (const DatasetNotFound& problem) {
        // Left out for all to see; anything else ends the study.
        console_.warn("{} is left out: {}", dataset, problem.what());
        skipped_.push_back(problem.what());
        return;
      }
      ++shown_networks_;
      const auto seed = static_cast<uint64_t>(options_.common.seed);
      if (wants({"7", "8", "9"})) {
        results_.push_back(attack_network(folder, *network, dataset, model, *size, seed, console_));
      }
      if (wants({"6"}) && model == "target") draw(folder, *network, dataset, model, *size, "figure-6", true);
      if (wants({"10"})) draw(folder, *network, dataset, model, *size, "figure-10", false);
    }
  }

  // Figure 6: all attacks. Figure 10: what the network says before and after GMA.
  void draw(const RunFolder& folder, const StudiedNetwork& network, const std::string& dataset,
            const std::string& model, const StudySize& size, const std::string& figure, bool all_attacks) {
    std::vector<VisualAttack> attacks =
        visual_attacks({Norm::linf, Norm::l2}, dataset, static_cast<uint64_t>(options_.common.seed));
    if (!all_attacks) std::erase_if(attacks, [](const VisualAttack& attack) { return attack.name != "GMA"; });
    const VisualInput input{.model = network.model,
                            .images = network.test,
                            .class_names = network.data.class_names,
                            .title = fmt::format("{} on {}: what it says", model, dataset),
                            .measured = size.measured};
    const VisualReport report =
        write_visual(folder, fmt::format("{}-{}-{}", figure, dataset, model), input, attacks, console_);
    figures_.insert(figures_.end(), {report.sheet, report.perturbations});
  }

  // One group of bars for each network. Figures 7 and 8: accuracy before and after each attack; Figure 9 (`success`):
  // how many images each attack gets misclassified.
  void write_bars(const std::string& dataset, const std::string& stem, bool success,
                  const RunFolder& folder) {
    BarFigure figure{
        .title = success
                     ? fmt::format("Attack success on {} ({})", dataset, options_.scale)
                     : fmt::format("Accuracy on {} before and after attacks ({})", dataset, options_.scale),
        .y_label = success ? "images misclassified" : "accuracy",
        .note =
            "n: attacked images; lines: 95 % intervals. The paper prints one number for GMA, of no norm."};
    if (!success) figure.series = {"clean"};
    for (const char* norm : {"L-inf", "L2"})
      figure.series.push_back(fmt::format("GMA {}, mean of 30 sizes", norm));
    for (const std::string& name : big_attacks())
      figure.series.push_back(fmt::format("{} L2, mean over Table 2's sizes", upper(name)));
    for (const StudyResult& result : results_) {
      if (result.dataset != dataset) continue;
      const PaperNumbers paper = paper_numbers(dataset, result.model);
      std::vector<Measured> bars;
      const auto add = [&](double accuracy, std::optional<double> printed) {
        Measured& bar = bars.emplace_back(measured_share(success ? 1 - accuracy : accuracy, result.attacked));
        if (printed) bar.printed = success ? 1 - *printed : *printed;
      };
      if (!success) add(result.clean, paper.clean);
      for (const StudyResult::Gma& gma : result.gma) add(gma.pooled, paper.gma);
      for (const StudyResult::Big& attack : result.big) {
        const auto printed = paper.others.find(attack.name);
        add(attack.accuracy(), printed == paper.others.end() ? std::nullopt : std::optional(printed->second));
      }
      figure.groups.emplace_back(fmt::format("{}, n = {}", result.model, grouped(result.attacked)),
                                 std::move(bars));
    }
    if (!figure.groups.empty()) figures_.push_back(write_figure(folder, stem, figure));
  }

  Table accuracy_table() const {
    using K = Column::Kind;
    Table table({{"dataset", "data"},
                 {"model", "network"},
                 {"attack", "attack"},
                 {"norm", "norm"},
                 {"size", "size", K::general, 3},
                 {"n", "images", K::count},
                 {"accuracy", "accuracy", K::percent, 2},
                 {"paper", "paper", K::percent, 2}});
    for (const StudyResult& r : results_) {
      const PaperNumbers paper = paper_numbers(r.dataset, r.model);
      const auto row = [&](std::string attack, Cell norm, Cell size, double accuracy, Cell printed) {
        table.row({r.dataset, r.model, std::move(attack), std::move(norm), std::move(size), r.attacked,
                   accuracy, std::move(printed)});
      };
      row("clean", {}, {}, r.clean, optional_cell(paper.clean));
      for (const StudyResult::Gma& gma : r.gma) {
        row("GMA, mean of sizes", to_string(gma.norm), {}, gma.pooled, paper.gma);
        row("GMA, worst of sizes", to_string(gma.norm), {}, gma.worst, paper.gma);
      }
      for (const StudyResult::Big& attack : r.big) {
        const auto printed = paper.others.find(attack.name);
        for (const AccuracyAt& size : attack.sizes) {
          row(attack.name, std::string("l2"), size.eps, size.accuracy,
              printed == paper.others.end() ? Cell{} : Cell{printed->second});
        }
      }
    }
    return table;
  }

  // A claim about GMA is one about its sizes together; how far it holds for single ones is in the last
  // column.
  Table claims_table() const {
    using K = Column::Kind;
    Table table({{"claim", "claim"},
                 {"norm", "norm"},
                 {"paper", "paper", K::percent, 2},
                 {"ours", "ours", K::percent, 2},
                 {"verdict", "verdict"},
                 {"detail", "by size"}});
    const auto verdict = [](bool holds) {
      return std::string(holds ? "holds" : "does not hold");
    };
    for (const StudyResult& r : results_) {
      const PaperNumbers paper = paper_numbers(r.dataset, r.model);
      for (const StudyResult::Gma& gma : r.gma) {
        const std::string norm = to_string(gma.norm), where = r.model + " on " + r.dataset;
        table.row({fmt::format("GMA takes {} below 50 %", where), norm, paper.gma, gma.pooled,
                   verdict(gma_verdict(gma.pooled) == GmaVerdict::fooled), by_size(gma)});
        double strongest = 1;
        for (const StudyResult::Big& attack : r.big) strongest = std::min(strongest, attack.accuracy());
        table.row(
            {fmt::format("GMA is stronger than the others on {}", where),
             norm,
             {},
             gma.pooled,
             verdict(gma.pooled < strongest),
             fmt::format("the others reach {:.2f} %, GMA {:.2f} %", 100 * strongest, 100 * gma.pooled)});
      }
    }
    for (const std::string& dataset : kPaperDatasets) {
      for (size_t norm = 0; norm < 2; ++norm) {
        double rate = 0;
        int64_t networks = 0;
        for (const StudyResult& r : results_) {
          if (r.dataset != dataset) continue;
          rate += 1 - r.gma[norm].pooled;
          ++networks;
        }
        if (networks == 0) continue;
        rate /= static_cast<double>(networks);
        table.row({fmt::format("GMA's mean success rate on {}", dataset),
                   std::string(norm == 0 ? "linf" : "l2"), paper_success_rate(dataset), rate,
                   verdict(rate >= paper_success_rate(dataset) - kCloseEnough),
                   fmt::format("mean of {} of 5 networks", networks)});
      }
    }
    return table;
  }

  static std::string by_size(const StudyResult::Gma& gma) {
    double least = HUGE_VAL;
    int64_t fooled = 0;
    for (const AccuracyAt& size : gma.sizes) {
      if (gma_verdict(size.accuracy) != GmaVerdict::fooled) continue;
      ++fooled;
      least = std::min(least, size.eps);
    }
    const std::string every = fmt::format("; {:.2f} % stay right under every size", 100 * gma.worst);
    if (fooled == 0) return "no size does" + every;
    return fmt::format("{} of {} sizes do, from {:.3g} on", fooled, gma.sizes.size(), least) + every;
  }

  static constexpr double kCloseEnough = 0.02;

  PaperCommand& options_;
  const Flags& flags_;
  Console console_;
  std::vector<StudyResult> results_;
  std::vector<std::string> figures_, skipped_;
  int64_t shown_networks_ = 0;
};

}  // namespace

Run paper_gma_mia_command(Flags& flags) {
  return make_command<PaperCommand>(flags, declare_paper, [](PaperCommand& options, const Flags& given) {
    PaperStudy(options, given).run();
  });
}

}  // namespace caltrop
