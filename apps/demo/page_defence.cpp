// The second half of the page: the defence, and the three questions.
#include <algorithm>
#include <cmath>

#include "apps/core/text_layout.h"
#include "apps/demo/pieces.h"
#include "apps/demo/words.h"
#include "apps/report/svg_chart.h"

namespace caltrop {
namespace {

std::string upper(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return name;
}

Html recipe(const DefenceResult& defence) {
  std::string shares;
  for (size_t k = 0; k < defence.cycles.size(); ++k) {
    const char* const before = k == 0 ? "" : k + 1 == defence.cycles.size() ? " and " : ", ";
    shares += fmt::format("{}{:g}", before, 100 * defence.cycles[k]);
  }
  return element(
      "ol", {},
      element(
          "li", {},
          fmt::format(
              "{} training images were put together with {} attacked ones: GMA, PGD, FGSM and CW on Target, "
              "in about equal shares. Test images had been set apart before anything was attacked.",
              grouped(defence.clean_train), grouped(defence.attacked_train))),
      element(
          "li", {},
          fmt::format("Three networks, EAT-1, EAT-2 and EAT-3, learned in cycles with about {} % of attacked "
                      "images, each cycle going on where the last had ended.",
                      shares)),
      element("li", {}, "Each then went on with a random draw of its own from the last set."),
      element("li", {},
              "They vote. The answer with most votes counts; of tied ones the one that they are surest of."));
}

Html training_chart(const DemoResult& run) {
  Figure figure{.title = "The three networks while they learn",
                .x_label = "pass",
                .y_label = "right answers to clean and attacked test images",
                .series = {},
                .thresholds = {}};
  for (const TrainingEpoch& epoch : run.epochs) {
    if (epoch.stage.empty()) continue;
    const std::string title = upper(epoch.model);
    if (figure.series.empty() || figure.series.back().title != title)
      figure.series.push_back({title, {}, {}});
    figure.series.back().x.push_back(static_cast<double>(epoch.epoch));
    figure.series.back().y.push_back(epoch.test_accuracy);
  }
  fit_to_lowest(figure);
  return svg_chart(figure,
                   "Share of right answers of each network after each pass over its training images.");
}

Html verdict_table(const DefenceResult& defence) {
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

Html attack_chart(const DefenceResult& defence) {
  BarFigure figure{.title = "Attacked images that the vote flags, by attack, in percent",
                   .y_label = "",
                   .series = {"all", "those that fool Target"}};
  const auto share = [](const Fates& fates) {
    return fates.images > 0 ? fates.share(fates.flagged) : NAN;
  };
  for (const AttackVerdicts& row : defence.by_attack) {
    figure.groups.push_back({upper(row.attack), {share(row.attacked), share(row.fooling)}});
  }
  return svg_chart(figure, "Share of attacked images that the vote flags, for each attack.");
}

Html size_chart(const DefenceResult& defence, Norm norm) {
  Figure figure{.title = fmt::format("GMA under {}, by size", norm_words(norm)),
                .x_label = "size of the perturbation",
                .y_label = "share of test images",
                .log_x = true,
                .series = {{"fools Target alone", {}, {}},
                           {"flagged by the vote", {}, {}},
                           {"gets past the vote", {}, {}}},
                .thresholds = {}};
  for (const SizeVerdicts& row : defence.by_size) {
    if (row.norm != norm) continue;
    for (Series& series : figure.series) series.x.push_back(static_cast<double>(row.size));
    figure.series[0].y.push_back(row.undefended.share(row.undefended.wrong));
    figure.series[1].y.push_back(row.vote.share(row.vote.flagged));
    figure.series[2].y.push_back(row.vote.share(row.vote.wrong));
  }
  return svg_chart(figure,
                   fmt::format("By size under {}: the shares of images that fool Target alone, that the vote "
                               "flags, and that get past it.",
                               norm_words(norm)));
}

Html gallery(const DemoResult& run, const std::string& title, const std::vector<Picture>& pictures) {
  if (pictures.empty()) return {};
  Html cells;
  for (const Picture& one : pictures) {
    const std::string label = class_name(run, one.label);
    cells += element("div", {}, picture(run, one.pixels, label), "is ", element("b", {}, label),
                     element("br", {}), "Target: ", class_name(run, one.undefended), element("br", {}),
                     "vote: ", element("b", {{"class", "bad"}}, class_name(run, one.vote)));
  }
  Html html = question(title);
  html += element("div", {{"class", "strip"}}, cells);
  return html;
}

}  // namespace

Html defence_part(const DemoResult& run) {
  const DefenceResult& defence = run.defence;
  Html html = heading("The defence, and what it did");
  html += paragraph(
      "The paper’s answer is MIA, the model integration approach: give networks one answer more, “attacked”, "
      "and teach them when to say so.");
  html += recipe(defence);
  html += training_chart(run);
  html += paragraph(found_words(defence));
  html += paragraph(missed_words(defence));
  html += paragraph(price_words(defence));
  html += verdict_table(defence);
  html += said(members_words(defence));
  html += said(paper_words(run));
  html += attack_chart(defence);
  html += size_chart(defence, Norm::linf);
  html += size_chart(defence, Norm::l2);
  html += note(
      "Images attacked with the smallest sizes are all but their clean ones. Where few are flagged and few "
      "get past, the vote gives most of them their own class, which does no harm.");
  html += gallery(run, "Attacked images that got past", defence.missed);
  html += gallery(run, "Clean images called attacked", defence.alarms);
  if (!defence.missed.empty() || !defence.alarms.empty()) {
    html += note("The first of each kind, in the order of the test images.");
  }
  return html;
}

Html controls_part(const DemoResult& run) {
  const DefenceResult& defence = run.defence;
  Html html = heading("Three questions to ask of any defence");
  html += question("Is it better than something trivial?");
  html += paragraph(
      "Pixels of an ordinary image file are whole steps of 1/255. Those of an attacked image need not be. So "
      "here is a check that learns nothing: does some pixel lie between two steps? ",
      off_grid_words(defence));
  html += question("Does it see the attack, or how the image was stored?");
  html += paragraph("Saving an image in a file rounds its pixels to whole steps. ", rounding_words(defence));
  html += question("Does it hold against someone who knows it?");
  const int64_t tried = defence.adaptive.empty() ? 0 : defence.adaptive.front().exact.images;
  html += paragraph(
      fmt::format(
          "The attacks above were made on Target, which knows no defence. This one (APGD, 100 steps) follows "
          "the gradients of the three networks together, away from the right class and from “attacked”, on "
          "{} test images. ",
          grouped(tried)),
      adaptive_words(defence));
  std::vector<std::vector<std::string>> rows = {
      {"size", "right class", "flagged", "gets past", "gets past when rounded"}};
  for (const AdaptiveVerdicts& row : defence.adaptive) {
    const Fates& fates = row.exact;
    rows.push_back({fmt::format("{} {}", norm_words(row.norm), size_words(static_cast<double>(row.size))),
                    percent_words(fates.right, fates.images), percent_words(fates.flagged, fates.images),
                    percent_words(fates.wrong, fates.images),
                    percent_words(row.rounded.wrong, row.rounded.images)});
  }
  html += page_table("The vote under an attack that knows it", rows);
  return html;
}

}  // namespace caltrop
