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

struct ShownCurve {
  std::string name, title;
  int64_t images = 0;  // whose share each value is; 0: it is none
  Curve curve;
};

// In training, then on the test set with all attacks and with each: of `model`, or of the vote, which is not trained
// itself. Each of the test curves holds all clean images, so that the one over all attacks, in which they weigh less, may
// lie below each of the others.
std::vector<ShownCurve> curves_of(const DefenceStudy& study, const PaperItem& item, const Judged& all) {
  const std::string &model = all.who.model, &stage = item.stage;
  const bool vote = model == kVote;
  const std::string training = vote ? "training, mean of the networks" : "training";
  const auto score = item.loss ? &Score::loss : &Score::accuracy;
  std::vector<ShownCurve> curves = {
      {training, training, 0, training_curve(study.runs, stage, vote ? "" : model, score)}};
  const auto add = [&](const std::string& attack, const std::string& attacks, int64_t attacked) {
    const std::string who = vote ? "vote" : "test";
    curves.push_back({fmt::format("{}, {}", who, attack),
                      fmt::format("{}: clean + {} ({})", who, attacks, grouped(all.clean + attacked)),
                      item.loss ? 0 : all.clean + attacked,
                      test_curve(study.runs, stage, model, attack, score)});
  };
  add("all", "all attacks", all.attacked);
  for (const std::string& attack : kPaperAttacks)
    add(attack, attack, study.runs[0].judged(all.who, attack).attacked);
  return curves;
}

std::vector<std::string> draw_learning(const RunFolder& folder, const PaperItem& item,
                                       const DefenceStudy& study) {
  const size_t seeds = study.runs.size();
  Table table({{"model", "model"},
               {"curve", "curve"},
               {"epoch", "epoch", Column::Kind::count},
               {item.loss ? "loss" : "accuracy", "mean", Column::Kind::number, 4},
               {"sd", "±", Column::Kind::deviation}});
  std::vector<Figure> figures;
  const std::vector<std::string> models = item.vote ? std::vector<std::string>{kVote} : kPaperMembers;
  double high = item.loss ? 0 : 1;  // side by side in the paper: one axis for all
  for (const std::string& model : models) {
    const Judged& all = study.runs[0].judged({model, item.stage, kExact});
    Figure& figure = figures.emplace_back(
        Figure{.title = fmt::format("{} on {}, {}{}", model, study.dataset, item.stage,
                                    seeds > 1 ? fmt::format(", mean of {} seeds", seeds) : ""),
               .x_label = "epoch",
               .y_label = item.loss ? "cross-entropy" : "accuracy over eleven classes",
               .note = fmt::format("in brackets: images. All test curves share the same {} clean ones; {}",
                                   grouped(all.clean), interval_words(seeds)),
               .whole_x = true,
               .percent = !item.loss});
    for (const auto& [name, title, images, curve] : curves_of(study, item, all)) {
      Series& series = figure.series.emplace_back();
      series.title = title;
      for (const auto& [epoch, value] : curve) {
        table.row({model, name, epoch, value.mean, cell_of(value.deviation)});
        series.add(static_cast<double>(epoch), measured(value, images));
        if (item.loss) high = std::max(high, 1.1 * series.y.back().high);
      }
    }
  }
  folder.write_table(fmt::format("figure-{}", item.number), table);
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

Detector subject_of(const DefenceStudy& study) {
  if (!study.votes()) return {kPaperMembers.back(), kThirdCycle, ""};
  return {kVote, kBootstrap, ""};
}

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
