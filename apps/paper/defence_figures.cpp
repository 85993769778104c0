#include "apps/paper/defence_shown.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/figure.h"
#include "apps/report/table.h"

namespace caltrop {
namespace {

struct Curve {
  std::string name, title;
  int64_t images = 0;                                  // whose share each value is; 0: it is none
  std::map<int64_t, std::vector<double>> epochs = {};  // one value for each seed
};

// In training, then on the test set with all attacks and with each: of `model`, or of the vote, which is not trained
// itself. Each of the test curves holds all clean images, so that the one over all attacks, in which they weigh less, may
// lie below each of the others.
std::vector<Curve> curves_of(const DefenceStudy& study, const PaperItem& figure, const std::string& model) {
  const auto score = [&](const Score& scores) {
    return figure.loss ? scores.loss : scores.accuracy;
  };
  const bool vote = model == kVote;
  const std::string training = vote ? "training, mean of the networks" : "training",
                    who = vote ? "vote" : "test";
  std::vector<Curve> curves = {{training, training}};
  std::vector<std::string> tests = {"all"};
  tests.insert(tests.end(), kPaperAttacks.begin(), kPaperAttacks.end());
  const Judged& all = study.runs[0].judged({model, figure.stage, kExact});
  for (const std::string& test : tests) {
    const int64_t attacked = test == "all" ? all.attacked : study.runs[0].judged(all.who, test).attacked;
    curves.push_back({fmt::format("{}, {}", who, test),
                      fmt::format("{}: clean + {} ({})", who, test == "all" ? "all attacks" : test,
                                  grouped(all.clean + attacked)),
                      all.clean + attacked});
  }
  for (const DefenceRun& run : study.runs) {
    for (const TrainedEpoch& line : run.epochs) {
      if (line.stage != figure.stage) continue;
      if (line.training && (vote || line.model == model))
        curves[0].epochs[line.epoch].push_back(score(*line.training));
      if (line.model != model) continue;
      for (size_t k = 0; k < tests.size(); ++k)
        curves[k + 1].epochs[line.epoch].push_back(score(line.tests.at(tests[k])));
    }
  }
  return curves;
}

Figure learning_curves(const std::string& title, const DefenceStudy& study, const std::vector<Curve>& curves,
                       int64_t clean, bool loss) {
  Figure figure{.title = title,
                .x_label = "epoch",
                .y_label = loss ? "cross-entropy" : "accuracy over eleven classes",
                .note = fmt::format("in brackets: images. All test curves share the same {} clean ones; {}",
                                    grouped(clean), interval_words(study.runs.size())),
                .whole_x = true,
                .y_high = loss ? 0.0 : 1.0,
                .percent = !loss};
  for (const Curve& curve : curves) {
    Series& series = figure.series.emplace_back();
    series.title = curve.title;
    for (const auto& [epoch, values] : curve.epochs) {
      series.add(static_cast<double>(epoch), measured(over_seeds(values), loss ? 0 : curve.images));
      if (loss) figure.y_high = std::max(figure.y_high, 1.1 * series.y.back().high);
    }
  }
  return figure;
}

std::vector<std::string> draw_learning(const RunFolder& folder, const PaperItem& item,
                                       const DefenceStudy& study) {
  const std::string seeds = study.runs.size() > 1 ? fmt::format(", mean of {} seeds", study.runs.size()) : "";
  Table table({{"model", "model"},
               {"curve", "curve"},
               {"epoch", "epoch", Column::Kind::count},
               {item.loss ? "loss" : "accuracy", "mean", Column::Kind::number, 4},
               {"sd", "±", Column::Kind::deviation}});
  std::vector<Figure> figures;
  const std::vector<std::string> models = item.vote ? std::vector<std::string>{kVote} : kPaperMembers;
  for (const std::string& model : models) {
    const std::vector<Curve> curves = curves_of(study, item, model);
    for (const Curve& curve : curves) {
      for (const auto& [epoch, values] : curve.epochs) {
        const MeanAndDeviation value = over_seeds(values);
        table.row({model, curve.name, epoch, value.mean, cell_of(value.deviation)});
      }
    }
    figures.push_back(learning_curves(fmt::format("{} on {}, {}{}", model, study.dataset, item.stage, seeds),
                                      study, curves, study.runs[0].judged({model, item.stage, kExact}).clean,
                                      item.loss));
  }
  folder.write_table(fmt::format("figure-{}", item.number), table);
  // Side by side in the paper: one axis for all.
  double high = 0;
  for (const Figure& one : figures) high = std::max(high, one.y_high);
  std::vector<std::string> files;
  for (size_t k = 0; k < figures.size(); ++k) {
    figures[k].y_high = high;
    files.push_back(write_figure(folder, fmt::format("figure-{}-{}", item.number, models[k]), figures[k]));
  }
  return files;
}

std::string draw_scores(const RunFolder& folder, const DefenceStudy& study) {
  Figure figure{.title = fmt::format("The vote on {}, attack by attack", study.dataset),
                .x_label = "",
                .y_label = "score",
                .note = "n: attacked images; " + interval_words(study.runs.size()),
                .series = {{"F1 over eleven classes"},
                           {"recall: attacked images detected"},
                           {"recall of those that fool Target"}}};
  Table table({{"attack", "attack"},
               {"f1", "F1", Column::Kind::percent},
               {"recall", "detected", Column::Kind::percent},
               {"fooling_recall", "of fooling", Column::Kind::percent},
               {"f1_paper", "F1, the paper's", Column::Kind::percent}});
  const Detector vote{kVote, kBootstrap, kExact};
  for (const std::string& attack : kPaperAttacks) {
    const int64_t n = study.runs[0].judged(vote, attack).attacked;
    std::vector<Measured> bars;
    std::vector<Cell> row = {attack};
    for (const Share number : {&Judged::f1, &Judged::detected, &Judged::fooling_detected}) {
      const Mean value =
          over_runs(study.runs, [&](const DefenceRun& run) { return run.judged(vote, attack).*number; });
      // F1 is no share of images, and of how many the fooling ones are a share is not known here.
      bars.push_back(value ? measured(*value, number == &Judged::detected ? n : 0) : Measured(NAN));
      row.push_back(mean_cell(value));
    }
    bars[0].printed = printed_vote(study.dataset).at(attack).f1;
    row.emplace_back(bars[0].printed);
    table.row(row);
    figure.add_group(fmt::format("{}, n = {}", attack, grouped(n)), bars);
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
    const Judged& place = score.place;
    if (place.who.test != kExact || !place.size || !(score.*value)) continue;
    fewest = std::min(fewest, place.attacked), most = std::max(most, place.attacked);
    Series& curve = series[{place.attack, place.norm}];
    curve.title = fmt::format("{}, {}", place.attack, place.norm);
    curve.add(*place.size, measured_share((score.*value)->mean, place.attacked));
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
      draw_sizes(folder, stem + "recall", scores, &SizeScore::detected,
                 fmt::format("Detected by the {}, {}", subject_of(study).model, study.dataset))};
}

std::vector<std::string> write_defence_figure(const RunFolder& folder, const PaperItem& figure,
                                              const DefenceStudy& study) {
  if (!std::ranges::count(figure.datasets, study.dataset)) return {};
  if (figure.stage.empty()) return {draw_scores(folder, study)};
  return draw_learning(folder, figure, study);
}

}  // namespace caltrop
