#include "apps/demo/charts.h"

#include <algorithm>

#include "apps/core/text_layout.h"
#include "apps/report/attack_report.h"
#include "apps/report/page.h"

namespace caltrop {
namespace {

// The y axis from somewhat below the lowest point to 100 %.
void fit_to_lowest(Figure& figure) {
  double low = 1;
  for (const Series& series : figure.series) {
    for (const Measured& y : series.y) low = std::min(low, y.low);
  }
  for (const double floor : {0.95, 0.9, 0.8, 0.5, 0.0}) {
    figure.y_low = floor;
    if (low >= floor + 0.1 * (1 - floor)) return;
  }
}

Json accuracy_chart(const DemoResult& run) {
  if (run.training.size() < 2) return false;  // one point is no curve
  Figure figure{.title = "Accuracy of Target after each pass over the training images",
                .x_label = "pass",
                .y_label = "accuracy",
                .note = fmt::format("{} training and {} test images, with 95 % intervals",
                                    grouped(run.train_images), grouped(run.clean.n)),
                .whole_x = true,
                .series = {{"training images"}, {"test images"}}};
  for (const Json& line : run.training) {
    const auto pass = line.at("epoch").get<double>();
    figure.series[0].add(pass, measured_share(line.at("train_accuracy").get<double>(), run.train_images));
    figure.series[1].add(pass, measured_share(line.at("test_accuracy").get<double>(), run.clean.n));
  }
  fit_to_lowest(figure);
  return page_chart("training", figure,
                    "Accuracy on training and test images after each pass over the training images.");
}

Json defence_chart(const DemoResult& run) {
  const JudgedTest& vote = DefenceResult::vote(run.defence.exact);
  const int64_t images = vote.clean.images + vote.attacked.all.images;
  Figure figure{
      .title = "The three networks while they learn",
      .x_label = "pass",
      .y_label = "right answers",
      .note = fmt::format("to {} clean and attacked test images, with 95 % intervals", grouped(images)),
      .whole_x = true};
  for (const Json& line : run.defence_training) {
    const std::string title = upper(line.at("model").get<std::string>());
    if (figure.series.empty() || figure.series.back().title != title) figure.series.push_back({title});
    Series& series = figure.series.back();
    series.add(static_cast<double>(series.x.size() + 1),
               measured_share(line.at("test_accuracy").get<double>(), images));
  }
  fit_to_lowest(figure);
  return page_chart("defence", figure,
                    "Share of right answers of each network after each pass over its training images.");
}

Json attack_chart(const JudgedTest& vote) {
  Figure figure{.title = "Attacked images that the vote flags, by attack, in percent",
                .x_label = "",
                .y_label = "flagged",
                .note = fmt::format("{} attacked images, {} of them fooling; with 95 % intervals",
                                    grouped(vote.attacked.all.images), grouped(vote.attacked.fooling.images)),
                .series = {{"all"}, {"those that fool Target"}}};
  const auto flagged = [](const Fates& fates) {
    return measured_share(fates.flagged, fates.images);
  };
  for (const JudgedTest::Attack& row : vote.attacks)
    figure.add_group(upper(row.name), {flagged(row.fates.all), flagged(row.fates.fooling)});
  return page_chart("attacks", figure, "Share of attacked images that the vote flags, for each attack.");
}

Json size_chart(const DefenceResult& defence, Norm norm) {
  Figure figure{.title = fmt::format("GMA under {}, by size", norm_words(norm)),
                .x_label = "size of the perturbation",
                .y_label = "share of test images",
                .log_x = true,
                .series = {{"fools Target alone"}, {"flagged by the vote"}, {"gets past the vote"}}};
  int64_t images = 0;
  for (const TransferRow& row : defence.by_size) {
    if (row.norm != norm) continue;
    images = row.defended.images;
    const auto size = static_cast<double>(row.size);
    figure.series[0].add(size, measured_share(row.undefended.wrong, images));
    figure.series[1].add(size, measured_share(row.defended.flagged, images));
    figure.series[2].add(size, measured_share(row.defended.wrong, images));
  }
  figure.note =
      fmt::format("the same {} at every size, with 95 % intervals", counted(images, "image", "images"));
  return page_chart(
      "sizes-" + to_string(norm), figure,
      fmt::format("By size under {}: the shares of images that fool Target alone, that the vote "
                  "flags, and that get past it.",
                  norm_words(norm)));
}

}  // namespace

std::string norm_words(Norm norm) {
  return norm == Norm::linf ? "L∞" : norm == Norm::l2 ? "L2" : "L1";
}

Json demo_charts(const DemoResult& run, bool drawn) {
  if (!drawn)
    return {{"training", false}, {"gma", false}, {"defence", false}, {"attacks", false}, {"sizes", false}};
  Figure gma = gma_figure(run.gma, "Target");
  for (size_t k = 0; k < run.gma.size(); ++k) gma.series[k].title = norm_words(run.gma[k].norm);
  return {
      {"training", accuracy_chart(run)},
      {"gma", page_chart("gma", gma, "Accuracy of Target under attacks of growing size, by both measures.")},
      {"defence", defence_chart(run)},
      {"attacks", attack_chart(DefenceResult::vote(run.defence.exact))},
      {"sizes", {size_chart(run.defence, Norm::linf), size_chart(run.defence, Norm::l2)}}};
}

}  // namespace caltrop
