#include "apps/paper/defence_figures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/paper/attack_study.h"
#include "apps/paper/printed.h"
#include "apps/report/figure.h"
#include "apps/report/table.h"

namespace caltrop {
namespace {

// Values of one curve: epoch -> one for each seed.
using Curve = std::map<int64_t, std::vector<double>>;
using Curves = std::vector<std::pair<std::string, Curve>>;

struct LearningFigure {
  std::string dataset;
  bool loss;
  std::string stage;  // of the networks; kBootstrap: the vote

  double of(const EpochScores& scores) const { return loss ? scores.loss : scores.accuracy; }
};
// Figures 12 to 23: of each stage accuracy and loss on MNIST, then on Fashion-MNIST.
constexpr int kFirst = 11, kLast = 23;

LearningFigure learning_figure(int number) {
  const auto place = static_cast<size_t>(number - kFirst - 1);
  const std::array<std::string, 3> stages = {kBootstrap, kFirstCycle, kThirdCycle};
  return {kPaperDatasets.at(place / 2 % 2), place % 2 == 1, stages.at(place / 4)};
}

// In training, on the test set in all, and attack by attack. `model` empty: the mean of all networks.
Curves curves_of(const DefenceStudy& study, const std::string& model, const LearningFigure& figure) {
  Curve training, all;
  std::map<std::string, Curve> attacks;
  for (const DefenceRun& run : study.runs) {
    for (const TrainedEpoch& line : run.epochs) {
      if (line.stage != figure.stage || (!model.empty() && line.model != model)) continue;
      training[line.epoch].push_back(figure.of(line.training));
      all[line.epoch].push_back(figure.of(line.test));
      for (const std::string& attack : kPaperAttacks)
        attacks[attack][line.epoch].push_back(figure.of(line.attacks.at(attack)));
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
    for (const DefenceRun& run : study.runs) {
      for (const VotedEpoch& row : run.vote_curve) {
        if (row.attack == name) curve[row.epoch].push_back(figure.of(row.scores));
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

// What a curve is over. Each of the test curves holds all clean images, so that the one over all attacks, in which
// they weigh less, may lie below each of the others.
struct TestImages {
  int64_t clean = 0, attacked = 0;
  std::map<std::string, int64_t> attacks = {};

  explicit TestImages(const DefenceRun& run) {
    for (const Detection& row : run.summary) {
      if (row.who.test == kExact) clean = row.clean, attacked = row.attacked;
    }
    for (const UnderAttack& row : run.attacks) {
      if (row.who.test == kExact) attacks[row.attack] = row.images;
    }
  }
  // Of the curve "WHO, all" or "WHO, ATTACK"; 0 of one in training.
  int64_t of(const std::string& curve) const {
    if (curve.starts_with("training")) return 0;
    const std::string what = curve.substr(curve.find(", ") + 2);
    return clean + (what == "all" ? attacked : attacks.at(what));
  }
  std::string title(const std::string& curve) const {
    if (of(curve) == 0) return curve;
    const size_t comma = curve.find(", ");
    const std::string what = curve.substr(comma + 2);
    return fmt::format("{}: clean + {} ({})", curve.substr(0, comma), what == "all" ? "all attacks" : what,
                       grouped(of(curve)));
  }
};

std::string interval_words(const DefenceStudy& study) {
  return study.runs.size() > 1 ? fmt::format("lines: the lowest and highest of {} seeds", study.runs.size())
                               : "one seed, with 95 % intervals of shares";
}

// Over seeds their range; of one seed the interval of a share of `images` (0: it is none).
Measured measured_over(const std::vector<double>& values, int64_t images) {
  if (values.size() < 2) return images > 0 ? measured_share(values.at(0), images) : values.at(0);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {over_seeds(values).mean, {*low, *high}};
}

Figure learning_curves(const std::string& title, const DefenceStudy& study, const Curves& curves, bool loss) {
  const TestImages images(study.runs[0]);
  Figure figure{.title = title,
                .x_label = "epoch",
                .y_label = loss ? "cross-entropy" : "accuracy over eleven classes",
                .note = fmt::format("in brackets: images. All test curves share the same {} clean ones; {}",
                                    grouped(images.clean), interval_words(study)),
                .whole_x = true,
                .y_high = loss ? 0.0 : 1.0,
                .percent = !loss};
  for (const auto& [name, curve] : curves) {
    Series& series = figure.series.emplace_back();
    series.title = images.title(name);
    for (const auto& [epoch, values] : curve) {
      series.add(static_cast<double>(epoch), measured_over(values, loss ? 0 : images.of(name)));
      if (loss) figure.y_high = std::max(figure.y_high, 1.1 * series.y.back().high);
    }
  }
  return figure;
}

std::vector<std::string> draw_learning(const RunFolder& folder, int number, const DefenceStudy& study) {
  const LearningFigure figure = learning_figure(number);
  if (study.dataset != figure.dataset) return {};
  const bool vote = needs_vote(number);
  const std::string seeds = study.runs.size() > 1 ? fmt::format(", mean of {} seeds", study.runs.size()) : "";
  Table table({{"model", "model"},
               {"curve", "curve"},
               {"epoch", "epoch", Column::Kind::count},
               {figure.loss ? "loss" : "accuracy", "mean", Column::Kind::number, 4},
               {"sd", "±", Column::Kind::deviation}});
  std::vector<Figure> figures;
  const std::vector<std::string> models = vote ? std::vector<std::string>{"vote"} : kPaperMembers;
  for (const std::string& model : models) {
    const Curves curves = vote ? vote_curves(study, figure) : curves_of(study, model, figure);
    add_rows(table, model, curves);
    figures.push_back(
        learning_curves(fmt::format("{} on {}, {}{}", model, study.dataset, figure.stage, seeds), study,
                        curves, figure.loss));
  }
  folder.write_table(fmt::format("figure-{}", number), table);
  // Side by side in the paper: one axis for all.
  double high = 0;
  for (const Figure& one : figures) high = std::max(high, one.y_high);
  std::vector<std::string> files;
  for (size_t k = 0; k < figures.size(); ++k) {
    figures[k].y_high = high;
    files.push_back(write_figure(folder, fmt::format("figure-{}-{}", number, models[k]), figures[k]));
  }
  return files;
}

std::string draw_scores(const RunFolder& folder, const DefenceStudy& study) {
  BarFigure figure{.title = fmt::format("The vote on {}, attack by attack", study.dataset),
                   .y_label = "score"};
  figure.note = "n: attacked images; " + interval_words(study);
  figure.series = {"F1 over eleven classes", "recall: attacked images detected",
                   "recall of those that fool Target"};
  Table table({{"attack", "attack"},
               {"f1", "F1", Column::Kind::percent},
               {"recall", "detected", Column::Kind::percent},
               {"fooling_recall", "of fooling", Column::Kind::percent},
               {"f1_paper", "F1, the paper's", Column::Kind::percent}});
  for (const std::string& attack : kPaperAttacks) {
    const int64_t n = TestImages(study.runs[0]).attacks[attack];
    std::vector<Measured> bars;
    std::vector<Cell> row = {attack};
    for (const auto number : {&UnderAttack::f1, &UnderAttack::recall, &UnderAttack::fooling_recall}) {
      std::vector<double> values;
      for (const DefenceRun& run : study.runs) {
        const std::optional<double> value = run.under({kVote, kBootstrap, kExact}, attack).*number;
        if (value) values.push_back(*value);
      }
      // F1 is no share of images, and of how many the fooling ones are a share is not known here.
      bars.push_back(values.empty() ? Measured(NAN)
                                    : measured_over(values, number == &UnderAttack::recall ? n : 0));
      row.push_back(cell_of(values.size() == study.runs.size() ? std::optional(over_seeds(values).mean)
                                                               : std::nullopt));
    }
    bars[0].printed = printed_vote(study.dataset, attack).f1;
    row.emplace_back(bars[0].printed);
    table.row(row);
    figure.groups.emplace_back(fmt::format("{}, n = {}", attack, grouped(n)), std::move(bars));
  }
  folder.write_table("figure-11-" + study.dataset, table);
  return write_figure(folder, "figure-11-" + study.dataset, figure);
}

// Each attacked image has one size: a point is a few dozen images that no other point shares, so that no line joins
// them. Networks of several seeds answer to the same images, which are counted once.
std::string draw_sizes(const RunFolder& folder, const std::string& stem, const std::vector<SizeScore>& scores,
                       Mean SizeScore::*value, const std::string& title) {
  Figure figure{.title = title,
                .x_label = "size of the perturbation",
                .y_label = "share of the attacked images",
                .log_x = true,
                .joined = false};
  std::map<std::pair<std::string, std::string>, Series> series;
  int64_t fewest = std::numeric_limits<int64_t>::max(), most = 0;
  for (const SizeScore& score : scores) {
    const AtSize& place = score.place;
    if (place.who.test != kExact || !place.size || !(score.*value)) continue;
    fewest = std::min(fewest, place.images), most = std::max(most, place.images);
    Series& curve = series[{place.attack, place.norm}];
    curve.title = fmt::format("{}, {}", place.attack, place.norm);
    curve.add(*place.size, measured_share((score.*value)->mean, place.images));
  }
  figure.note = fmt::format("each point: {} to {} images of its own; lines: 95 % intervals",
                            std::min(fewest, most), most);
  for (auto& [key, curve] : series) figure.series.push_back(std::move(curve));
  return write_figure(folder, stem, figure);
}

}  // namespace

std::vector<std::string> write_size_figures(const RunFolder& folder, const DefenceStudy& study,
                                            const std::vector<SizeScore>& scores) {
  const std::string stem = study.dataset + "-sizes-";
  return {
      draw_sizes(folder, stem + "fooled", scores, &SizeScore::fooled,
                 fmt::format("Attacked images that the undefended network gets wrong, {}", study.dataset)),
      draw_sizes(folder, stem + "recall", scores, &SizeScore::recall,
                 fmt::format("Detected by the {}, {}", subject_of(study).model, study.dataset))};
}

bool is_defence_figure(int number) {
  return number >= kFirst && number <= kLast;
}

bool needs_vote(int number) {
  return number == kFirst || learning_figure(number).stage == kBootstrap;
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
