#include "apps/commands/attack_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "data/image_grid.h"
#include "engine/metrics.h"

namespace caltrop {
namespace {

std::string percent(double share) {
  return fmt::format("{:.2f} %", 100 * share);
}

std::string with_interval(int64_t part, int64_t whole) {
  const Interval interval = wilson_interval(part, whole);
  const double share = whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  return fmt::format("{} (95 % interval {:.2f} to {:.2f} %)", percent(share), 100 * interval.low,
                     100 * interval.high);
}

double mean_of(double sum, int64_t images) {
  return images > 0 ? sum / static_cast<double>(images) : 0.0;
}

Json interval_json(int64_t part, int64_t whole) {
  const Interval interval = wilson_interval(part, whole);
  return {interval.low, interval.high};
}

}  // namespace

Json to_json(const AttackSummary& s) {
  return {{"size", s.size},
          {"n", s.images},
          {"clean_accuracy", s.clean_accuracy()},
          {"accuracy", s.accuracy()},
          {"robust_accuracy", s.robust_accuracy()},
          {"interval", interval_json(s.robust, s.images)},
          {"success_rate", s.success_rate()},
          {"success_rate_of_correct", s.success_rate_of_correct()},
          {"mean_loss", s.mean_loss()},
          {"mean_linf", mean_of(s.sum_linf, s.images)},
          {"max_linf", s.max_linf},
          {"mean_l2", mean_of(s.sum_l2, s.images)},
          {"max_l2", s.max_l2},
          {"box_violations", s.box_violations},
          {"ball_violations", s.ball_violations},
          {"zero_gradients", s.zero_gradients},
          {"nan_gradients", s.nan_gradients}};
}

namespace {

constexpr const char* kNormKeys[] = {"l0", "l1", "l2", "linf"};
constexpr const char* kNormTitles[] = {"L0", "L1", "L2", "L-inf"};

struct Spread {
  double mean = 0, median = 0, max = 0;
};
Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += value;
  const size_t half = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
  return {sum / static_cast<double>(values.size()), median, values.back()};
}

}  // namespace

void NormsUsed::add(const AttackRow& row) {
  values_[0].push_back(row.l0);
  values_[1].push_back(static_cast<double>(row.l1));
  values_[2].push_back(static_cast<double>(row.l2));
  values_[3].push_back(static_cast<double>(row.linf));
}

Json NormsUsed::json() const {
  Json json = {{"n", values_[0].size()}};
  for (size_t k = 0; k < 4; ++k) {
    const Spread spread = spread_of(values_[k]);
    json[kNormKeys[k]] = {{"mean", spread.mean}, {"median", spread.median}, {"max", spread.max}};
  }
  return json;
}

Table NormsUsed::table() const {
  using Kind = Column::Kind;
  Table table({{"norm", "norm"},
               {"mean", "mean", Kind::general, 4},
               {"median", "median", Kind::general, 4},
               {"max", "max", Kind::general, 4}});
  for (size_t k = 0; k < 4; ++k) {
    const Spread spread = spread_of(values_[k]);
    table.row({std::string(kNormTitles[k]), spread.mean, spread.median, spread.max});
  }
  return table;
}

void say_summary(Console& console, const AttackSummary& s, const AttackReport& report, Norm norm) {
  console.say("clean accuracy    {}", with_interval(s.clean_correct, s.images));
  console.say("robust accuracy   {}: right when clean and under the attack",
              with_interval(s.robust, s.images));
  console.say("success           {} of all {} images, {} of the {} that were right",
              percent(s.success_rate()), grouped(s.images), percent(s.success_rate_of_correct()),
              grouped(s.clean_correct));
  const char* name = norm == Norm::linf ? "L-inf" : norm == Norm::l2 ? "L2" : "L1";
  const std::string bound = std::isinf(s.size) ? fmt::format("none: the smallest {} is sought", name)
                                               : fmt::format("{} of {:g}", name, s.size);
  console.say("budget            {}; used L-inf mean {:.4g}, max {:.4g}; L2 mean {:.4g}, max {:.4g}", bound,
              mean_of(s.sum_linf, s.images), s.max_linf, mean_of(s.sum_l2, s.images), s.max_l2);
  console.say("gradients         {} zero, {} with NaN; {} pixels outside the box, {} images outside the ball",
              grouped(s.zero_gradients), grouped(s.nan_gradients), grouped(s.box_violations),
              grouped(s.ball_violations));
  console.say("passes            {} forward, {} backward", grouped(report.forward_passes),
              grouped(report.backward_passes));
}

void add_anomalies(const AttackSummary& s, const std::map<std::string, int64_t>& fooled_by,
                   std::vector<std::string>& warnings) {
  // Croce & Hein's threshold: a fifth of a percent more than the white-box attacks.
  constexpr double kBlackBoxShare = 0.002;
  const auto square = fooled_by.find("square");
  if (square != fooled_by.end() &&
      static_cast<double>(square->second) > kBlackBoxShare * static_cast<double>(s.images)) {
    warnings.push_back(fmt::format(
        "square, which sees no gradient, fooled {} images that all attacks by gradient left: gradients are "
        "masked, and an adaptive attack would find more",
        grouped(square->second)));
  }
  if (s.zero_gradients > 0) {
    warnings.push_back(fmt::format(
        "{} gradients were zero everywhere: those images cannot be attacked this way, and what survives may "
        "be masked rather than robust",
        grouped(s.zero_gradients)));
  }
  if (s.nan_gradients > 0)
    warnings.push_back(fmt::format("{} gradients held a NaN", grouped(s.nan_gradients)));
  if (s.ball_violations > 0)
    warnings.push_back(fmt::format("{} images left their bound", grouped(s.ball_violations)));
  if (s.box_violations > 0)
    warnings.push_back(fmt::format("{} pixels left the box", grouped(s.box_violations)));
}

Table gma_table(const GmaAnalysis& analysis) {
  using Kind = Column::Kind;
  Table table({{"size", "size"},
               {"eps", "epsilon", Kind::general, 4},
               {"accuracy", "accuracy", Kind::percent, 2},
               {"success_rate", "of all", Kind::percent, 2},
               {"success_rate_of_correct", "of right", Kind::percent, 2},
               {"verdict", "verdict"},
               {"flag", "flag", Kind::count},
               {"tries", "tries", Kind::count},
               {"mean_linf", "L-inf", Kind::general, 3},
               {"mean_l2", "L2", Kind::general, 3},
               {"zero_gradients", "zero", Kind::count},
               {"nan_gradients", "NaN", Kind::count},
               {"violations", "outside", Kind::count}});
  std::vector<GmaSizeResult> by_size = analysis.sizes;
  std::stable_sort(by_size.begin(), by_size.end(),
                   [](const GmaSizeResult& a, const GmaSizeResult& b) { return a.size.eps < b.size.eps; });
  for (const GmaSizeResult& size : by_size) {
    const auto least = std::min_element(
        size.tries.begin(), size.tries.end(),
        [](const AttackSummary& a, const AttackSummary& b) { return a.accuracy() < b.accuracy(); });
    if (least == size.tries.end()) continue;
    table.row({size.size.name(), static_cast<double>(size.size.eps), size.accuracy(), least->success_rate(),
               least->success_rate_of_correct(), to_string(size.verdict()), int64_t{size.flag()},
               static_cast<int64_t>(size.tries.size()), mean_of(least->sum_linf, least->images),
               mean_of(least->sum_l2, least->images), least->zero_gradients, least->nan_gradients,
               least->box_violations + least->ball_violations});
  }
  return table;
}

Json to_json(const GmaAnalysis& analysis) {
  return {{"norm", to_string(analysis.norm)},
          {"n", analysis.images},
          {"clean_accuracy", analysis.baseline},
          {"sizes", gma_table(analysis).json()},
          {"pooled_accuracy", analysis.pooled_accuracy},
          {"worst_accuracy", analysis.worst_accuracy},
          {"forward_passes", analysis.forward_passes},
          {"backward_passes", analysis.backward_passes}};
}

void say_gma(Console& console, const GmaAnalysis& analysis) {
  const auto fooled = std::count_if(analysis.sizes.begin(), analysis.sizes.end(),
                                    [](const GmaSizeResult& s) { return s.flag(); });
  const auto robust = std::count_if(analysis.sizes.begin(), analysis.sizes.end(),
                                    [](const GmaSizeResult& s) { return s.verdict() == GmaVerdict::robust; });
  console.say(
      "of all, of right: images fooled; L-inf, L2: mean budget used; zero, NaN: gradients; outside: "
      "violations");
  console.say("{} of {} sizes fool the network (accuracy below 50 %), {} leave it robust (above 80 %)",
              fooled, analysis.sizes.size(), robust);
  console.say(
      "pooled over the sizes {}, under the worst of all sizes {}: neither says what a miniature size does",
      percent(analysis.pooled_accuracy), percent(analysis.worst_accuracy));
}

Figure gma_figure(const std::vector<GmaAnalysis>& analyses, const std::string& what) {
  Figure figure{.title = fmt::format("Accuracy of {} under GMA, by size", what),
                .x_label = "size of the perturbation (pixels from 0 to 1)",
                .y_label = "accuracy",
                .note = fmt::format("the same {} at every size, with 95 % intervals",
                                    counted(analyses.empty() ? 0 : analyses[0].images, "image", "images")),
                .log_x = true,
                .thresholds = {{kGmaRobust, "robust above"}, {kGmaFooled, "fooled below"}}};
  for (const GmaAnalysis& analysis : analyses) {
    std::map<double, Measured> points;
    for (const GmaSizeResult& size : analysis.sizes)
      points.emplace(size.size.eps, measured_share(size.accuracy(), analysis.images));
    Series& series = figure.series.emplace_back();
    series.title = analysis.norm == Norm::linf ? "L-inf" : "L2";
    for (const auto& [eps, accuracy] : points) series.add(eps, accuracy);
  }
  return figure;
}

void write_attack_grid(const RunFolder& folder, const std::string& name, const std::vector<Shown>& images,
                       int64_t height, int64_t width) {
  if (images.empty()) return;
  constexpr Colour kFooled{213, 94, 0}, kHeld{0, 158, 115};
  ImageGrid grid(3, static_cast<int64_t>(images.size()), height, width);
  for (size_t i = 0; i < images.size(); ++i) {
    const auto column = static_cast<int64_t>(i);
    const Shown& shown = images[i];
    std::vector<float> attacked(shown.clean.size());
    for (size_t p = 0; p < attacked.size(); ++p) attacked[p] = shown.clean[p] + shown.delta[p];
    grid.set(0, column, shown.clean);
    grid.set(1, column, attacked, shown.fooled ? kFooled : kHeld);
    grid.set_perturbation(2, column, shown.delta);
  }
  grid.write(folder.file(name));
}

}  // namespace caltrop
