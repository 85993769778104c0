#include "apps/paper/defence_figures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "apps/paper/attack_study.h"
#include "apps/paper/defence_numbers.h"
#include "apps/paper/defence_tables.h"
#include "apps/report/figure.h"

namespace caltrop {
namespace {

// Values of one curve: epoch -> one for each seed.
using Curve = std::map<int64_t, std::vector<double>>;
using Curves = std::vector<std::pair<std::string, Curve>>;

struct LearningFigure {
  const char* dataset;
  bool loss;
  const char* stage;  // of the networks; "bootstrap": the vote
};
// Figures 12 to 23.
constexpr std::array<LearningFigure, 12> kLearning = {{{"mnist", false, "bootstrap"},
                                                       {"mnist", true, "bootstrap"},
                                                       {"fashion-mnist", false, "bootstrap"},
                                                       {"fashion-mnist", true, "bootstrap"},
                                                       {"mnist", false, "cycle 15 %"},
                                                       {"mnist", true, "cycle 15 %"},
                                                       {"fashion-mnist", false, "cycle 15 %"},
                                                       {"fashion-mnist", true, "cycle 15 %"},
                                                       {"mnist", false, "cycle 40 %"},
                                                       {"mnist", true, "cycle 40 %"},
                                                       {"fashion-mnist", false, "cycle 40 %"},
                                                       {"fashion-mnist", true, "cycle 40 %"}}};
constexpr int kFirst = 11, kLast = 23;

const LearningFigure& learning_figure(int number) {
  return kLearning.at(static_cast<size_t>(number - kFirst - 1));
}

// In training, on the test set in all, and attack by attack. `model` empty: the mean of all networks.
Curves curves_of(const DefenceStudy& study, const std::string& model, const LearningFigure& figure) {
  Curve training, all;
  std::map<std::string, Curve> attacks;
  const char* const field = figure.loss ? "test_loss" : "test_accuracy";
  for (const Json& run : study.runs) {
    for (const Json& line : run.at("metrics")) {
      if (line.at("stage") != figure.stage || (!model.empty() && line.at("model") != model)) continue;
      const auto epoch = line.at("stage_epoch").get<int64_t>();
      training[epoch].push_back(line.at(figure.loss ? "loss" : "train_accuracy"));
      all[epoch].push_back(line.at(field));
      for (const std::string& attack : kPaperAttacks)
        attacks[attack][epoch].push_back(line.at("attacks").at(attack).at(field));
    }
  }
  Curves curves = {{"training", training}, {"test, all", all}};
  for (const std::string& attack : kPaperAttacks) curves.emplace_back("test, " + attack, attacks[attack]);
  return curves;
}

// The training of the networks that vote, and the vote's answers.
Curves vote_curves(const DefenceStudy& study, const LearningFigure& figure) {
  Curves curves = {{"training, mean of the networks", curves_of(study, "", figure)[0].second}};
  for (const std::string& name :
       {std::string("all"), kPaperAttacks[0], kPaperAttacks[1], kPaperAttacks[2], kPaperAttacks[3]}) {
    Curve curve;
    for (const Json& run : study.runs) {
      for (const Json& row : run.at("vote_curve")) {
        if (row.at("attack") == name)
          curve[row.at("epoch").get<int64_t>()].push_back(row.at(figure.loss ? "loss" : "accuracy"));
      }
    }
    curves.emplace_back("vote, " + name, std::move(curve));
  }
  return curves;
}

void add_rows(Table& table, const std::string& model, const Curves& curves) {
  for (const auto& [name, curve] : curves) {
    for (const auto& [epoch, values] : curve) {
      const MeanAndDeviation value = over_seeds(values);
      table.row({model, name, epoch, value.mean, cell_of(value.deviation)});
    }
  }
}

std::string draw(const RunFolder& folder, const std::string& stem, const std::string& title,
                 const Curves& curves, bool loss) {
  Figure figure{.title = title,
                .x_label = "epoch",
                .y_label = loss ? "cross-entropy" : "accuracy over eleven classes",
                .whole_x = true,
                .percent = !loss};
  double highest = 0;
  for (const auto& [name, curve] : curves) {
    Series series{name, {}, {}};
    for (const auto& [epoch, values] : curve) {
      series.x.push_back(static_cast<double>(epoch));
      series.y.push_back(over_seeds(values).mean);
      highest = std::max(highest, series.y.back());
    }
    figure.series.push_back(std::move(series));
  }
  if (loss) figure.y_high = 1.1 * highest;
  return write_figure(folder, stem, figure);
}

std::vector<std::string> draw_learning(const RunFolder& folder, int number, const DefenceStudy& study) {
  const LearningFigure& figure = learning_figure(number);
  if (study.dataset != figure.dataset) return {};
  const bool vote = needs_vote(number);
  const std::string seeds = study.runs.size() > 1 ? fmt::format(", mean of {} seeds", study.runs.size()) : "";
  Table table({{"model", "model"},
               {"curve", "curve"},
               {"epoch", "epoch", Column::Kind::count},
               {figure.loss ? "loss" : "accuracy", "mean", Column::Kind::number, 4},
               {"sd", "±", Column::Kind::deviation}});
  std::vector<std::string> files;
  const std::vector<std::string> models = vote ? std::vector<std::string>{"vote"} : kPaperMembers;
  for (const std::string& model : models) {
    const Curves curves = vote ? vote_curves(study, figure) : curves_of(study, model, figure);
    add_rows(table, model, curves);
    files.push_back(draw(folder, fmt::format("figure-{}-{}", number, model),
                         fmt::format("{} on {}, {}{}", model, study.dataset, figure.stage, seeds), curves,
                         figure.loss));
  }
  folder.write_table(fmt::format("figure-{}", number), table);
  return files;
}

std::string draw_scores(const RunFolder& folder, const DefenceStudy& study) {
  BarFigure figure{.title = fmt::format("The vote on {}, attack by attack", study.dataset),
                   .y_label = "score"};
  figure.series = {"F1 over eleven classes", "recall: attacked images detected",
                   "... of those that fool Target", "F1 as the paper prints it"};
  Table table({{"attack", "attack"},
               {"f1", "F1", Column::Kind::percent},
               {"recall", "detected", Column::Kind::percent},
               {"fooling_recall", "of fooling", Column::Kind::percent},
               {"f1_paper", "F1, the paper's", Column::Kind::percent}});
  for (const std::string& attack : kPaperAttacks) {
    const Match match = {{"model", "vote"}, {"stage", "bootstrap"}, {"test", "exact"}, {"attack", attack}};
    std::vector<double> bars;
    std::vector<Cell> row = {attack};
    for (const char* field : {"f1", "recall", "fooling_recall"}) {
      const auto value = over_runs(study.runs, "attacks", match, field);
      bars.push_back(value ? value->mean : std::nan(""));
      row.push_back(value ? Cell(value->mean) : Cell());
    }
    bars.push_back(printed_vote(study.dataset, attack).f1);
    row.emplace_back(bars.back());
    table.row(row);
    figure.groups.emplace_back(attack, std::move(bars));
  }
  folder.write_table("figure-11-" + study.dataset, table);
  return write_bar_figure(folder, "figure-11-" + study.dataset, figure);
}

std::string draw_sizes(const RunFolder& folder, const std::string& stem, const Json& sizes,
                       const std::string& field, const std::string& title) {
  Figure figure{.title = title,
                .x_label = "size of the perturbation",
                .y_label = "share of the attacked images",
                .log_x = true};
  std::map<std::pair<std::string, std::string>, Series> series;
  for (const Json& row : sizes) {
    if (row.at("test") != "exact" || !row.at("size").is_number() || !row.at(field).is_number()) continue;
    const std::string attack = row.at("attack"), norm = row.at("norm");
    Series& curve = series[{attack, norm}];
    curve.title = fmt::format("{}, {}", attack, norm);
    curve.x.push_back(row.at("size"));
    curve.y.push_back(row.at(field));
  }
  for (auto& [key, curve] : series) figure.series.push_back(std::move(curve));
  return write_figure(folder, stem + field, figure);
}

}  // namespace

std::vector<std::string> write_size_figures(const RunFolder& folder, const DefenceStudy& study,
                                            const Json& sizes) {
  const Subject subject = subject_of(study);
  const std::string stem = study.dataset + "-sizes-";
  return {
      draw_sizes(folder, stem, sizes, "fooled",
                 fmt::format("Attacked images that the undefended network gets wrong, {}", study.dataset)),
      draw_sizes(folder, stem, sizes, "recall",
                 fmt::format("Detected by the {}, {}", subject.model, study.dataset))};
}

bool is_defence_figure(int number) {
  return number >= kFirst && number <= kLast;
}

bool needs_vote(int number) {
  return number == kFirst || std::string_view(learning_figure(number).stage) == "bootstrap";
}

std::vector<std::string> datasets_of_figure(int number) {
  if (number == kFirst) return kPaperDatasets;
  return {learning_figure(number).dataset};
}

std::vector<std::string> write_defence_figure(const RunFolder& folder, int number,
                                              const DefenceStudy& study) {
  if (number == kFirst) return {draw_scores(folder, study)};
  return draw_learning(folder, number, study);
}

}  // namespace caltrop
