#include "apps/demo/page.h"

#include <algorithm>
#include <cmath>

#include "apps/commands/attack_report.h"
#include "apps/core/text_layout.h"
#include "apps/demo/examples.h"
#include "apps/demo/words.h"
#include "apps/report/page.h"
#include "apps/report/page_parts.h"
#include "data/image_grid.h"

namespace caltrop {
namespace {

std::string class_name(const DemoResult& run, int32_t label) {
  if (label == run.defence.attacked) return "attacked";
  const auto k = static_cast<size_t>(label);
  return k < run.class_names.size() ? run.class_names[k] : std::to_string(label);
}

// One image, or with `limit` a perturbation magnified so that +-limit fills the scale, as an address.
std::string picture(const DemoResult& run, const std::vector<float>& pixels, float limit = 0) {
  ImageGrid grid(1, 1, run.shape.height, run.shape.width, {.scale = 1, .margin = 0, .border = 0});
  if (limit > 0) {
    grid.set_perturbation(0, 0, pixels, limit);
  } else {
    grid.set(0, 0, pixels);
  }
  return png_address(encode_png(grid.image()));
}

Json coloured(bool bad, const std::string& words) {
  return {{"kind", bad ? "bad" : "good"}, {"words", words}};
}
// A class, coloured by whether it is the right one or the alarm.
Json answer(const DemoResult& run, int32_t says, int32_t label) {
  return coloured(says != label && says != run.defence.attacked, class_name(run, says));
}
// "3 (98 %), wrong"
Json opinion(const DemoResult& run, const Opinion& said, int32_t label) {
  const bool wrong = said.says != label;
  return coloured(wrong, fmt::format("{} ({:.0f} %){}", class_name(run, said.says), 100 * said.sure,
                                     wrong ? ", wrong" : ""));
}

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
  Figure figure{.title = "Accuracy of Target after each pass over the training images",
                .x_label = "pass",
                .y_label = "accuracy",
                .note = fmt::format("{} training and {} test images, with 95 % intervals",
                                    grouped(run.train_images), grouped(run.clean.n)),
                .whole_x = true,
                .series = {{"training images", {}, {}}, {"test images", {}, {}}}};
  for (const TrainingEpoch& epoch : run.epochs) {
    if (!epoch.stage.empty()) continue;
    const auto pass = static_cast<double>(epoch.epoch);
    figure.series[0].add(pass, measured_share(epoch.train_accuracy, run.train_images));
    figure.series[1].add(pass, measured_share(epoch.test_accuracy, run.clean.n));
  }
  if (figure.series[0].x.size() < 2) return false;  // one point is no curve
  fit_to_lowest(figure);
  return page_chart("training", figure,
                    "Accuracy on training and test images after each pass over the training images.");
}

Json defence_chart(const DemoResult& run) {
  const Verdicts& vote = run.defence.vote();
  const int64_t images = vote.clean.images + vote.attacked.images;
  Figure figure{
      .title = "The three networks while they learn",
      .x_label = "pass",
      .y_label = "right answers",
      .note = fmt::format("to {} clean and attacked test images, with 95 % intervals", grouped(images)),
      .whole_x = true};
  for (const TrainingEpoch& epoch : run.epochs) {
    if (epoch.stage.empty()) continue;
    const std::string title = upper(epoch.model);
    if (figure.series.empty() || figure.series.back().title != title)
      figure.series.push_back({title, {}, {}});
    figure.series.back().add(static_cast<double>(epoch.epoch), measured_share(epoch.test_accuracy, images));
  }
  fit_to_lowest(figure);
  return page_chart("defence", figure,
                    "Share of right answers of each network after each pass over its training images.");
}

Json attack_chart(const DefenceResult& defence) {
  BarFigure figure{
      .title = "Attacked images that the vote flags, by attack, in percent",
      .y_label = "flagged",
      .note = fmt::format("{} attacked images, {} of them fooling; with 95 % intervals",
                          grouped(defence.vote().attacked.images), grouped(defence.vote().fooling.images)),
      .series = {"all", "those that fool Target"}};
  const auto flagged = [](const Fates& fates) {
    return measured_share(fates.flagged, fates.images);
  };
  for (const AttackVerdicts& row : defence.by_attack)
    figure.groups.push_back({upper(row.attack), {flagged(row.attacked), flagged(row.fooling)}});
  return page_chart("attacks", figure, "Share of attacked images that the vote flags, for each attack.");
}

Json size_chart(const DefenceResult& defence, Norm norm) {
  Figure figure{
      .title = fmt::format("GMA under {}, by size", norm_words(norm)),
      .x_label = "size of the perturbation",
      .y_label = "share of test images",
      .log_x = true,
      .series = {
          {"fools Target alone", {}, {}}, {"flagged by the vote", {}, {}}, {"gets past the vote", {}, {}}}};
  int64_t images = 0;
  for (const SizeVerdicts& row : defence.by_size) {
    if (row.norm != norm) continue;
    images = row.vote.images;
    const auto size = static_cast<double>(row.size);
    figure.series[0].add(size, measured_share(row.undefended.wrong, row.undefended.images));
    figure.series[1].add(size, measured_share(row.vote.flagged, images));
    figure.series[2].add(size, measured_share(row.vote.wrong, images));
  }
  figure.note =
      fmt::format("the same {} at every size, with 95 % intervals", counted(images, "image", "images"));
  return page_chart(
      "sizes-" + to_string(norm), figure,
      fmt::format("By size under {}: the shares of images that fool Target alone, that the vote "
                  "flags, and that get past it.",
                  norm_words(norm)));
}

Json opening(const DemoResult& run) {
  const AttackSummary& s = run.pictured_attack();
  const Verdicts& vote = run.defence.vote();
  const auto tile = [](const std::string& number, const std::string& words) {
    return Json{{"number", number}, {"words", words}};
  };
  return {
      tile(percent_words(std::llround(run.clean.accuracy * static_cast<double>(run.clean.n)), run.clean.n),
           "of new images recognised, unattacked"),
      tile(percent_words(s.correct, s.images), fmt::format("recognised when each pixel may change by {}",
                                                           size_words(static_cast<double>(s.size)))),
      tile(percent_words(vote.fooling.flagged, vote.fooling.images),
           "of attacked images that fool it flagged by the defence"),
      tile(percent_words(vote.clean.flagged, vote.clean.images), "of honest images flagged as well")};
}

Json card(const DemoResult& run, const Example& example) {
  const std::string name = class_name(run, example.label);
  const float limit = run.pictured_attack().size;
  return {{"pictures",
           {{{"src", picture(run, example.clean)}, {"alt", name + ", as it is"}},
            {{"src", picture(run, example.attacked)}, {"alt", name + ", attacked"}},
            {{"src", picture(run, difference(example), limit)}, {"alt", "the difference, magnified"}}}},
          {"before", opinion(run, example.before, example.label)},
          {"after", opinion(run, example.after, example.label)},
          {"vote", answer(run, example.vote, example.label)}};
}

Json attacks_table(const DemoResult& run) {
  std::vector<std::vector<std::string>> rows = {
      {"attack", "measure", "size", "still right", "right answers turned"}};
  for (const AttackOutcome& attack : run.attacks) {
    const AttackSummary& s = attack.summary;
    rows.push_back({attack.name, norm_words(attack.norm), size_words(static_cast<double>(s.size)),
                    percent_words(s.correct, s.images),
                    percent_words(s.successes_of_correct, s.clean_correct)});
  }
  return page_table(fmt::format("Target under attack, {} test images", grouped(run.pictured_attack().images)),
                    rows);
}

Json strip(const DemoResult& run, Norm norm) {
  Json images = Json::array();
  for (const SizeExample& example : run.sizes) {
    if (example.norm != norm) continue;
    const Example& image = example.image;
    const std::string size = size_words(static_cast<double>(example.size));
    images.push_back({{"src", picture(run, image.attacked)},
                      {"alt", fmt::format("{} attacked with size {}", class_name(run, image.label), size)},
                      {"size", size},
                      {"target", answer(run, image.after.says, image.label)},
                      {"vote", answer(run, image.vote, image.label)}});
  }
  return {{"norm", norm_words(norm)}, {"images", images}};
}

Json verdict_table(const DefenceResult& defence) {
  std::vector<std::vector<std::string>> rows = {{"", "clean: right", "clean: false alarm",
                                                 "attacked: flagged", "fooling: flagged",
                                                 "attacked: gets past"}};
  for (const Verdicts& v : defence.exact) {
    rows.push_back({v.name, percent_words(v.clean.right, v.clean.images),
                    percent_words(v.clean.flagged, v.clean.images),
                    percent_words(v.attacked.flagged, v.attacked.images),
                    percent_words(v.fooling.flagged, v.fooling.images),
                    percent_words(v.attacked.wrong, v.attacked.images)});
  }
  const Verdicts& vote = defence.vote();
  return page_table(
      fmt::format("{} clean (not attacked) and {} attacked test images. Fooling: the {} attacked ones to "
                  "which Target gives a wrong answer. The pixel check, which is explained below, stands in "
                  "front of Target.",
                  grouped(vote.clean.images), grouped(vote.attacked.images), grouped(vote.fooling.images)),
      rows, vote.name);
}

Json past_vote_table(const DefenceResult& defence) {
  std::vector<std::vector<std::string>> rows = {
      {"size", "right class", "flagged", "gets past", "gets past when rounded"}};
  for (const AdaptiveVerdicts& row : defence.adaptive) {
    const Fates& fates = row.exact;
    rows.push_back({fmt::format("{} {}", norm_words(row.norm), size_words(static_cast<double>(row.size))),
                    percent_words(fates.right, fates.images), percent_words(fates.flagged, fates.images),
                    percent_words(fates.wrong, fates.images),
                    percent_words(row.rounded.wrong, row.rounded.images)});
  }
  return page_table("The vote under an attack that knows it", rows);
}

Json galleries(const DemoResult& run) {
  Json shown = Json::array();
  const auto add = [&](const char* title, const std::vector<Picture>& pictures) {
    if (pictures.empty()) return;
    Json images = Json::array();
    for (const Picture& one : pictures) {
      images.push_back({{"src", picture(run, one.pixels)},
                        {"label", class_name(run, one.label)},
                        {"target", class_name(run, one.undefended)},
                        {"vote", class_name(run, one.vote)}});
    }
    shown.push_back({{"title", title}, {"images", images}});
  };
  add("Attacked images that got past", run.defence.missed);
  add("Clean images called attacked", run.defence.alarms);
  return shown;
}

std::string cycles_words(const std::vector<double>& cycles) {
  std::string shares;
  for (size_t k = 0; k < cycles.size(); ++k)
    shares += fmt::format("{}{:g}", k == 0 ? "" : k + 1 == cycles.size() ? " and " : ", ", 100 * cycles[k]);
  return shares;
}

}  // namespace

std::string demo_page(const DemoResult& run) {
  const DefenceResult& defence = run.defence;
  const auto passes = std::count_if(run.epochs.begin(), run.epochs.end(),
                                    [](const TrainingEpoch& epoch) { return epoch.stage.empty(); });
  const int64_t tested = defence.vote().clean.images;
  const Interval half = wilson_interval(tested / 2, tested);
  Json values = {
      {"data", data_words(run)},
      {"tiles", opening(run)},
      {"short", short_words(run)},
      {"parameters", grouped(run.parameters)},
      {"train_images", grouped(run.train_images)},
      {"class_count", run.class_names.size()},
      {"passes", passes == 1 ? "each once" : fmt::format("each {} times", passes)},
      {"clean", clean_words(run)},
      {"accuracy_chart", accuracy_chart(run)},
      {"network", run.network},
      {"some_classes", run.examples.size() < run.class_names.size()},
      {"size", size_words(static_cast<double>(run.pictured_attack().size))},
      {"grey", run.shape.channels == 1},
      {"width", run.shape.width},
      {"height", run.shape.height},
      {"cards", Json::array()},
      {"examples", examples_words(run)},
      {"attack", attack_words(run)},
      {"attacks_table", attacks_table(run)},
      {"gma", Json::array()},
      {"strips", {strip(run, Norm::linf), strip(run, Norm::l2)}},
      {"gma_paper", gma_paper_words(run)},
      {"clean_train", grouped(defence.clean_train)},
      {"attacked_train", grouped(defence.attacked_train)},
      {"cycles", cycles_words(defence.cycles)},
      {"defence_chart", defence_chart(run)},
      {"found", found_words(defence)},
      {"missed", missed_words(defence)},
      {"price", price_words(defence)},
      {"verdict_table", verdict_table(defence)},
      {"members", members_words(defence)},
      {"paper", paper_words(run)},
      {"attack_chart", attack_chart(defence)},
      {"size_charts", {size_chart(defence, Norm::linf), size_chart(defence, Norm::l2)}},
      {"galleries", galleries(run)},
      {"off_grid", off_grid_words(defence)},
      {"rounding", rounding_words(defence)},
      {"adaptive_images", grouped(defence.adaptive.empty() ? 0 : defence.adaptive[0].exact.images)},
      {"adaptive", adaptive_words(defence)},
      {"adaptive_table", past_vote_table(defence)},
      {"tested", grouped(tested)},
      {"uncertain", fmt::format("{:.1f}", 50 * (half.high - half.low))},
      {"seed", run.seed},
      {"command", run.command},
      {"version", run.version},
      {"commit", run.commit},
      {"device", run.device == "cpu" ? "the CPU" : "a GPU"}};
  for (const Example& example : run.examples) values["cards"].push_back(card(run, example));
  for (const GmaAnalysis& analysis : run.gma) values["gma"].push_back(gma_words(analysis));
  Figure by_size = gma_figure(run.gma, "Target");
  for (size_t k = 0; k < run.gma.size(); ++k) by_size.series[k].title = norm_words(run.gma[k].norm);
  values["gma_chart"] =
      page_chart("gma", by_size, "Accuracy of Target under attacks of growing size, by both measures.");
  return fill_page(demo_template(), values);
}

}  // namespace caltrop
