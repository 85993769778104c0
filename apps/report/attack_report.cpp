#include "apps/report/attack_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "attacks/attack_info.h"
#include "attacks/option_fields.h"
#include "data/image_grid.h"
#include "engine/metrics.h"

namespace caltrop {
namespace {

std::string with_interval(int64_t part, int64_t whole) {
  const Interval interval = wilson_interval(part, whole);
  const double share = whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  return fmt::format("{} (95 % interval {:.2f} to {:.2f} %)", percent_text(share), 100 * interval.low,
                     100 * interval.high);
}

}  // namespace

Json to_json(const AttackSummary& s) {
  const Interval interval = wilson_interval(s.robust, s.images);
  return {{"size", fp32_json(s.size)},
          {"n", s.images},
          {"clean_accuracy", s.clean_accuracy()},
          {"accuracy", s.accuracy()},
          {"robust_accuracy", s.robust_accuracy()},
          {"interval", {interval.low, interval.high}},
          {"clean_correct", s.clean_correct},
          {"successes", s.successes},
          {"successes_of_correct", s.successes_of_correct},
          {"success_rate", s.success_rate()},
          {"success_rate_of_correct", s.success_rate_of_correct()},
          {"mean_loss", s.mean_loss()},
          {"mean_linf", s.mean_linf()},
          {"max_linf", s.max_linf},
          {"mean_l2", s.mean_l2()},
          {"max_l2", s.max_l2},
          {"box_violations", s.box_violations},
          {"ball_violations", s.ball_violations},
          {"zero_gradients", s.zero_gradients},
          {"nan_gradients", s.nan_gradients},
          {"clean_calibration_error", s.clean_calibration.error()},
          {"calibration_error", s.calibration.error()},
          {"by_class", robust_class_table(s, {}).json()},
          {"confusion", s.confusion()}};
}

Json to_json(const AttackOptions& options, float eps) {
  const AttackInfo& info = info_of(options.kind);
  Json json = {{"attack", to_string(options.kind)}, {"source", info.source}};
  for_each_option(options, [&]<typename Option>(const char* name, const Option& value) {
    constexpr std::array kOfAll = {"norm", "targeted", "predicted_labels", "seed", "low", "high"};
    const bool of_runner =
        !info.stages && (std::string_view(name) == "steps" || std::string_view(name) == "restarts");
    if (!of_runner && std::ranges::count(kOfAll, std::string_view(name)) == 0 && !info.reads_option(name))
      return;
    if constexpr (std::is_same_v<Option, float>) {
      json[name] = fp32_json(value);
    } else if constexpr (std::is_same_v<Option, CrossEntropyGrad>) {
      json[name] = value == CrossEntropyGrad::stable ? "stable" : "torch";
    } else if constexpr (std::is_enum_v<Option>) {
      json[name] = to_string(value);
    } else {
      json[name] = value;
    }
  });
  if (options.step_share > 0) json["step_share"] = fp32_json(options.step_share);
  if (info.reads_option("step_size")) json["step_size"] = fp32_json(step_size_of(options, eps));
  if (info.stages) {
    for (const AttackOptions& stage : info.stages(options)) json["stages"].push_back(to_json(stage, eps));
  }
  return json;
}

Table robust_class_table(const AttackSummary& summary, const std::vector<std::string>& class_names) {
  using Kind = Column::Kind;
  Table table({{"class", "class"},
               {"images", "images", Kind::count},
               {"clean_accuracy", "clean", Kind::percent},
               {"robust_accuracy", "robust", Kind::percent},
               {"taken_for", "most often taken for"},
               {"taken", "images", Kind::count}});
  const auto name = [&](size_t k) {
    return k < class_names.size() ? class_names[k] : std::to_string(k);
  };
  for (size_t k = 0; k < summary.classes.size(); ++k) {
    const ClassCount& one = summary.classes[k];
    if (one.images == 0) continue;
    std::vector<int64_t> others = one.after;
    if (k < others.size()) others[k] = 0;
    const auto most = std::ranges::max_element(others);
    const bool any = most != others.end() && *most > 0;
    table.row({name(k), one.images, quotient(one.clean_correct, one.images), quotient(one.robust, one.images),
               any ? Cell(name(static_cast<size_t>(most - others.begin()))) : Cell(),
               any ? Cell(*most) : Cell()});
  }
  return table;
}

Table norms_table(const FooledImages& fooled) {
  using Kind = Column::Kind;
  Table table({{"norm", "norm"},
               {"mean", "mean", Kind::general, 4},
               {"median", "median", Kind::general, 4},
               {"max", "max", Kind::general, 4}});
  const auto spreads = fooled.spreads();
  for (size_t k = 0; k < spreads.size(); ++k) {
    const std::string title = std::array{"L0", "L1", "L2", "L-inf"}[k];
    table.row({title, spreads[k].mean, spreads[k].median, spreads[k].max});
  }
  return table;
}

Json to_json(const FooledImages& fooled) {
  Json json = {{"n", fooled.count()}};
  const auto spreads = fooled.spreads();
  for (size_t k = 0; k < spreads.size(); ++k) {
    const char* key = std::array{"l0", "l1", "l2", "linf"}[k];
    json[key] = {{"mean", spreads[k].mean}, {"median", spreads[k].median}, {"max", spreads[k].max}};
  }
  return json;
}

void say_summary(Console& console, const AttackSummary& s, const AttackReport& report,
                 const AttackOptions& options, const std::optional<Size>& asked) {
  console.say("clean accuracy    {}", with_interval(s.clean_correct, s.images));
  console.say("robust accuracy   {}: right when clean and under the attack",
              with_interval(s.robust, s.images));
  console.say("success           {} of all {} images, {} of the {} that were right",
              percent_text(s.success_rate()), grouped(s.images), percent_text(s.success_rate_of_correct()),
              grouped(s.clean_correct));
  if (options.targeted) console.say("{}", kOfTargets);
  const std::string norm = norm_title(options.norm),
                    bound = asked ? fmt::format("{} of {}", norm, in_words(*asked))
                                  : fmt::format("none: the smallest {} is sought", norm);
  console.say("budget            {}; used L-inf mean {:.4g}, max {:.4g}; L2 mean {:.4g}, max {:.4g}", bound,
              s.mean_linf(), s.max_linf, s.mean_l2(), s.max_l2);
  console.say("gradients         {} zero, {} with NaN; {} pixels outside the box, {} images outside the ball",
              grouped(s.zero_gradients), grouped(s.nan_gradients), grouped(s.box_violations),
              grouped(s.ball_violations));
  console.say("passes            {} forward, {} backward", grouped(report.forward_passes),
              grouped(report.backward_passes));
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
  std::ranges::stable_sort(by_size, {}, [](const GmaSizeResult& result) { return result.size.eps; });
  for (const GmaSizeResult& size : by_size) {
    const auto least = std::ranges::min_element(size.tries, {}, &AttackSummary::accuracy);
    if (least == size.tries.end()) continue;
    table.row({size.size.name(), static_cast<double>(size.size.eps), size.accuracy(), least->success_rate(),
               least->success_rate_of_correct(), to_string(size.verdict()), int64_t{size.flag()},
               static_cast<int64_t>(size.tries.size()), least->mean_linf(), least->mean_l2(),
               least->zero_gradients, least->nan_gradients, least->box_violations + least->ball_violations});
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
  const auto fooled = std::ranges::count(analysis.sizes, GmaVerdict::fooled, &GmaSizeResult::verdict);
  const auto robust = std::ranges::count(analysis.sizes, GmaVerdict::robust, &GmaSizeResult::verdict);
  console.say(
      "of all, of right: images fooled; L-inf, L2: mean budget used; zero, NaN: gradients; outside: "
      "violations");
  console.say("{} of {} sizes fool the network (accuracy below 50 %), {} leave it robust (above 80 %)",
              fooled, analysis.sizes.size(), robust);
  console.say(
      "pooled over the sizes {}, under the worst of all sizes {}: neither says what a miniature size does",
      percent_text(analysis.pooled_accuracy), percent_text(analysis.worst_accuracy));
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
    series.title = norm_title(analysis.norm);
    for (const auto& [eps, accuracy] : points) series.add(eps, accuracy);
  }
  return figure;
}

void keep(const AttackResult& chunk, const Images& images, AttackedSet& set, int64_t most) {
  const size_t n = static_cast<size_t>(std::min(most, static_cast<int64_t>(chunk.images.size()))),
               sizes = static_cast<size_t>(chunk.sizes), pixels = static_cast<size_t>(images.image_size());
  std::vector<int64_t> rows;
  for (const AttackedImage& image : std::span(chunk.images).first(n)) {
    rows.push_back(image.index);
    set.index.push_back(image.index);
    set.label.push_back(image.label);
    set.clean_prediction.push_back(image.clean_prediction);
    if (image.target >= 0) set.target.push_back(image.target);
  }
  if (rows.empty()) return;
  std::ranges::transform(images.pixels(rows).to_host(), std::back_inserter(set.x), to_byte);
  const std::vector<float> delta = chunk.delta.to_host();
  std::ranges::copy(std::span(delta).first(n * sizes * pixels), std::back_inserter(set.delta));
  for (const AttackRow& row : std::span(chunk.rows).first(n * sizes)) {
    set.prediction.push_back(row.prediction);
    set.success.push_back(row.success);
    if (set.eps.empty()) continue;
    set.linf.push_back(row.linf);
    set.l2.push_back(row.l2);
    set.zero_gradients.push_back(row.zero_gradients);
    set.nan_gradients.push_back(row.nan_gradients);
  }
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

void write_attack_grid(const RunFolder& folder, const std::string& name, const AttackedSet& set) {
  std::vector<Shown> images;
  for (int64_t i = 0; i < set.images(); ++i) {
    Shown& shown = images.emplace_back();
    const auto x = std::span(set.x).subspan(static_cast<size_t>(i * set.image_size()),
                                            static_cast<size_t>(set.image_size()));
    for (const uint8_t pixel : x) shown.clean.push_back(static_cast<float>(pixel) / 255.0f);
    shown.delta.assign(set.delta_of(i).begin(), set.delta_of(i).end());
    shown.fooled = set.success[static_cast<size_t>(i)] != 0;
  }
  write_attack_grid(folder, name, images, set.shape.height, set.shape.width);
}

}  // namespace caltrop
