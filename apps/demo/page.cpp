#include "apps/demo/page.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "apps/core/text_layout.h"
#include "apps/demo/charts.h"
#include "apps/report/page.h"
#include "data/image_grid.h"

namespace caltrop {
namespace {

// The thresholds of words such as "most" lie here and nowhere else.
constexpr double kNearlyAll = 0.95, kMost = 0.80, kHalf = 0.50, kOften = 0.10, kFew = 0.05;
constexpr double kSurePrediction = 0.90;
constexpr double kSmallChange = 0.005;  // half a percentage point
constexpr int64_t kFewImages = 30;
constexpr double kPaperAccuracy = 0.997;  // of the paper's vote in detection, on MNIST

// The words of the first threshold that `share` reaches.
const char* graded(double share, std::initializer_list<std::pair<double, const char*>> words) {
  return std::ranges::find_if(words, [&](const auto& grade) { return share >= grade.first; })->second;
}

std::string size_words(float size) {
  return fmt::format("{:.3g}", static_cast<double>(size));
}
std::string data_words(const std::string& dataset) {
  if (dataset == "mnist") return "MNIST";
  if (dataset == "fashion-mnist") return "Fashion-MNIST";
  if (dataset == "digits") return "digits, which the program drew itself";
  return dataset;
}
std::string percent_of(double share, int64_t whole) {
  return percent_words(std::llround(share * static_cast<double>(whole)), whole);
}

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

Json values_of(const Fates& fates) {
  return {{"any", fates.images > 0},
          {"images", grouped(fates.images)},
          {"flagged", percent_words(fates.flagged, fates.images)},
          {"right", percent_words(fates.right, fates.images)},
          {"wrong", percent_words(fates.wrong, fates.images)},
          {"any_flagged", fates.flagged > 0},
          {"flagged_images", grouped(fates.flagged)},
          {"wrong_images", grouped(fates.wrong)}};
}
Json values_of(const JudgedTest& judged) {
  return {{"name", judged.model},
          {"chief", judged.model == "vote"},
          {"clean", values_of(judged.clean)},
          {"attacked", values_of(judged.attacked.all)},
          {"fooling", values_of(judged.attacked.fooling)}};
}

Json clean_values(const DemoResult& run) {
  const Metrics& clean = run.clean;
  const double guess = 1.0 / static_cast<double>(std::max<size_t>(1, run.class_names.size()));
  return {{"images", grouped(clean.n)},
          {"share", percent_of(clean.accuracy, clean.n)},
          {"accuracy", fmt::format("{:.2f}", 100 * clean.accuracy)},
          {"low", fmt::format("{:.2f}", 100 * clean.interval.low)},
          {"high", fmt::format("{:.2f}", 100 * clean.interval.high)},
          {"guesses", clean.interval.low <= guess},
          {"poor", clean.interval.low > guess && clean.accuracy < kMost}};
}

Json attack_values(const DemoResult& run) {
  const AttackSummary& s = run.pictured_attack();
  Json rows = Json::array();
  for (const AttackOutcome& attack : run.attacks) {
    const AttackSummary& one = attack.summary;
    rows.push_back({{"attack", attack.name},
                    {"norm", norm_words(attack.norm)},
                    {"size", size_words(one.size)},
                    {"right", percent_words(one.correct, one.images)},
                    {"turned", percent_words(one.successes_of_correct, one.clean_correct)}});
  }
  return {
      {"any_right", s.clean_correct > 0},
      {"right", grouped(s.clean_correct)},
      {"images", grouped(s.images)},
      {"still_right", percent_words(s.correct, s.images)},
      {"turned", grouped(s.successes_of_correct)},
      {"turned_share", percent_words(s.successes_of_correct, s.clean_correct)},
      {"verdict", graded(s.success_rate_of_correct(),
                         {{kHalf, "More often than not, this network can be talked out of a right answer."},
                          {kFew, "Most right answers survive changes of this size, but not all."},
                          {0, "Changes of this size hardly matter to this network."}})},
      {"rows", rows}};
}

Json example_values(const DemoResult& run) {
  Json cards = Json::array();
  int64_t wrong = 0, sure = 0;
  for (const auto& [image, vote, norm, size] : run.examples) {
    wrong += image.fooled();
    sure += image.fooled() && image.after.sure >= kSurePrediction;
    const std::string name = class_name(run, image.label);
    cards.push_back(
        {{"pictures",
          {{{"src", picture(run, image.clean)}, {"alt", name + ", as it is"}},
           {{"src", picture(run, image.attacked)}, {"alt", name + ", attacked"}},
           {{"src", picture(run, image.difference(), size)}, {"alt", "the difference, magnified"}}}},
         {"before", opinion(run, image.before, image.label)},
         {"after", opinion(run, image.after, image.label)},
         {"vote", answer(run, vote, image.label)}});
  }
  const auto n = static_cast<int64_t>(run.examples.size());
  const auto all_or = [](int64_t part, int64_t whole) {
    return part == whole ? "all" : grouped(part);
  };
  return {{"some_classes", run.examples.size() < run.class_names.size()},
          {"cards", cards},
          {"these", n == 1 ? "this one image" : "these " + counted(n, "image", "images")},
          {"wrong", n > 1 ? all_or(wrong, n) : grouped(wrong)},
          {"any_wrong", wrong > 0},
          {"sure", sure > 0 ? all_or(sure, wrong) : ""}};
}

// How many of GMA's sizes matter, under one norm.
Json gma_values(const GmaAnalysis& analysis) {
  const auto with = [&](GmaVerdict verdict) {
    return std::ranges::count(analysis.sizes, verdict, &GmaSizeResult::verdict);
  };
  const int64_t fooled = with(GmaVerdict::fooled), robust = with(GmaVerdict::robust);
  float smallest = INFINITY;
  for (const GmaSizeResult& size : analysis.sizes) {
    if (size.flag()) smallest = std::min(smallest, size.size.eps);
  }
  const std::string steps = fmt::format("{:.1f}", 255 * static_cast<double>(smallest));
  return {
      {"norm", norm_words(analysis.norm)},
      {"sizes", analysis.sizes.size()},
      {"none", fooled == 0},
      {"one", fooled == 1},
      {"several", fooled > 1},
      {"fooled", fooled},
      {"smallest", size_words(smallest)},
      {"steps", fooled > 0 && analysis.norm == Norm::linf ? steps : ""},
      {"robust", robust == 0 ? "none leaves" : fmt::format("{} leave{}", robust, robust == 1 ? "s" : "")}};
}

// The paper's number for GMA beside this run's; only for data that it uses.
Json gma_paper_values(const DemoResult& run) {
  if (run.dataset != "mnist" || run.gma.empty()) return false;
  const GmaAnalysis& analysis = run.gma.front();
  const auto [least, most] = std::ranges::minmax(analysis.sizes, {}, &GmaSizeResult::accuracy);
  return {{"norm", norm_words(analysis.norm)},
          {"most", percent_of(most.accuracy(), analysis.images)},
          {"least", percent_of(least.accuracy(), analysis.images)},
          {"apart", most.accuracy() - least.accuracy() >= 0.1}};
}

Json strip(const DemoResult& run, Norm norm) {
  Json images = Json::array();
  for (const auto& [image, vote, under, size] : run.sizes) {
    if (under != norm) continue;
    const std::string words = size_words(size);
    images.push_back({{"src", picture(run, image.attacked)},
                      {"alt", fmt::format("{} attacked with size {}", class_name(run, image.label), words)},
                      {"size", words},
                      {"target", answer(run, image.after.says, image.label)},
                      {"vote", answer(run, vote, image.label)}});
  }
  return {{"norm", norm_words(norm)}, {"images", images}};
}

std::string price_words(const Fates& with, const Fates& without) {
  const double lost = without.share(without.right) - with.share(with.right);
  const std::string points = fmt::format("{:.1f} percentage points", 100 * std::fabs(lost));
  return lost > kSmallChange    ? fmt::format("To honest users the defence costs {}.", points)
         : lost < -kSmallChange ? fmt::format("On honest images it gains {}.", points)
                                : "To honest users it costs next to nothing.";
}

// The vote beside the best of its members.
Json member_values(const DefenceResult& defence) {
  const auto share = [](const JudgedTest& judged) {
    return percent_words(judged.sound(), judged.clean.images + judged.attacked.all.images);
  };
  const auto members = std::span(defence.exact).subspan(1, defence.exact.size() - 3);
  if (members.empty()) return false;
  const JudgedTest& vote = DefenceResult::vote(defence.exact);
  const JudgedTest& best = *std::ranges::max_element(members, {}, &JudgedTest::sound);
  const int64_t ahead = vote.sound() - best.sound();
  return {{"together", share(vote)},
          {"best", best.model},
          {"alone", share(best)},
          {"verdict", ahead > 0    ? "Here the vote is ahead."
                      : ahead == 0 ? "Here it gains nothing."
                                   : "Here it is not: one network alone does better."}};
}

// Only for data that the paper uses.
Json paper_values(const DemoResult& run) {
  if (run.dataset != "mnist") return false;
  const JudgedTest& vote = DefenceResult::vote(run.defence.exact);
  const Fates &attacked = vote.attacked.all, &clean = vote.clean;
  const int64_t right = attacked.flagged + clean.images - clean.flagged, all = attacked.images + clean.images;
  const bool reached = static_cast<double>(right) >= kPaperAccuracy * static_cast<double>(all);
  return {{"accuracy", percent_words(right, all)}, {"reaches", reached ? "reaches" : "does not reach"}};
}

Json check_values(const DefenceResult& defence) {
  const JudgedTest &check = DefenceResult::pixel_check(defence.exact),
                   &vote = DefenceResult::vote(defence.exact);
  const Fates& rounded = DefenceResult::pixel_check(defence.rounded).attacked.all;
  const bool ahead = check.no_worse_than(vote), behind = vote.no_worse_than(check);
  Json values = values_of(check);
  values["wins"] = ahead;
  values["defeated"] = rounded.images > 0 && rounded.flagged == 0;  // it finds nothing any more
  values["verdict"] =
      ahead && behind ? "On these images the trained defence is no better than one comparison per pixel."
      : ahead  ? "On these images one comparison per pixel, with nothing learned, beats the trained defence."
      : behind ? "On these images the trained defence beats it."
               : "Neither is better in both.";
  return values;
}

std::string rounding_words(const Fates& exact, const Fates& rounded) {
  if (rounded.images == 0) return "";
  // Rounding undoes the smallest changes, which are the hardest to find: the vote should gain by that.
  return rounded.share(rounded.flagged) >= exact.share(exact.flagged) - kFew
             ? "The two shares are not of the same images: what rounding undoes are the smallest changes, "
               "which the "
               "vote finds least often."
             : "The vote, too, loses by it: part of what it had learned was the rounding.";
}

// Attacks that know the defence: the one that gets most past it.
Json adaptive_values(const DefenceResult& defence) {
  const auto most =
      std::ranges::max_element(defence.adaptive, {}, [](const AdaptiveRow& row) { return row.exact.wrong; });
  if (most == defence.adaptive.end() || most->exact.images == 0) return false;
  const Fates& fates = most->exact;
  const Interval past = wilson_interval(fates.wrong, fates.images);
  const auto budget = [](const AdaptiveRow& row) {
    return fmt::format("{} {}", norm_words(*row.norm), size_words(row.size));
  };
  Json rows = Json::array();
  for (const AdaptiveRow& row : defence.adaptive) {
    rows.push_back(
        {{"budget", budget(row)}, {"exact", values_of(row.exact)}, {"rounded", values_of(row.rounded)}});
  }
  return {
      {"any_past", fates.wrong > 0},
      {"counted", counted(fates.images, "image", "images")},
      {"images", grouped(fates.images)},
      {"budgets", defence.adaptive.size()},
      {"norm", norm_words(*most->norm)},
      {"size", size_words(most->size)},
      {"past", grouped(fates.wrong)},
      {"share", percent_words(fates.wrong, fates.images)},
      {"low", fmt::format("{:.1f}", 100 * past.low)},
      {"high", fmt::format("{:.1f}", 100 * past.high)},
      {"rounded", grouped(most->rounded.wrong)},
      {"verdict",
       fates.images < kFewImages
           ? "So few images say little."
           : graded(
                 fates.share(fates.wrong),
                 {{kHalf, "An attacker who knows this defence defeats it."},
                  {kOften, "An attacker who knows this defence gets past it often enough to rely on."},
                  {0,
                   "That is few, but it is one attack with one loss: a lower bound on what an attacker can "
                   "do, and no proof of safety."}})},
      {"rows", rows}};
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

}  // namespace

std::string percent_words(int64_t part, int64_t whole) {
  if (whole <= 0) return "–";
  if (part <= 0) return "0 %";
  if (part >= whole) return "100 %";
  const double share = 100 * static_cast<double>(part) / static_cast<double>(whole);
  if (share < 0.05) return "< 0.1 %";
  if (share >= 99.95) return "> 99.9 %";
  return fmt::format("{:.1f} %", share);
}

std::string demo_page(const DemoResult& run, bool drawn) {
  const DefenceResult& defence = run.defence;
  const JudgedTest &target = DefenceResult::undefended(defence.exact),
                   &vote = DefenceResult::vote(defence.exact),
                   &rounded = DefenceResult::vote(defence.rounded);
  const Fates& fooling = vote.attacked.fooling;
  const Interval half = wilson_interval(vote.clean.images / 2, vote.clean.images);
  Json values = {
      {"data", data_words(run.dataset)},
      {"parameters", grouped(run.parameters)},
      {"train_images", grouped(run.train_images)},
      {"class_count", run.class_names.size()},
      {"passes", run.training.size() == 1 ? "each once" : fmt::format("each {} times", run.training.size())},
      {"clean", clean_values(run)},
      {"network", run.network},
      {"size", size_words(run.pictured_attack().size)},
      {"grey", run.shape.channels == 1},
      {"width", run.shape.width},
      {"height", run.shape.height},
      {"examples", example_values(run)},
      {"attack", attack_values(run)},
      {"gma", Json::array()},
      {"strips", {strip(run, Norm::linf), strip(run, Norm::l2)}},
      {"gma_paper", gma_paper_values(run)},
      {"clean_train", grouped(defence.clean_train)},
      {"attacked_train", grouped(defence.attacked_train)},
      {"judges", Json::array()},
      {"target", values_of(target)},
      {"vote", values_of(vote)},
      {"found", graded(fooling.share(fooling.flagged), {{1, ", all of them."},
                                                        {kNearlyAll, ", nearly all."},
                                                        {kMost, ", most of them."},
                                                        {kHalf, ", more than half, and far from all."},
                                                        {0, ": it misses more than it finds."}})},
      {"price", price_words(vote.clean, target.clean)},
      {"members", member_values(defence)},
      {"paper", paper_values(run)},
      {"galleries", galleries(run)},
      {"check", check_values(defence)},
      {"vanished", grouped(defence.vanished)},
      {"rounded_vote", values_of(rounded)},
      {"rounded_check", values_of(DefenceResult::pixel_check(defence.rounded))},
      {"rounding", rounding_words(vote.attacked.all, rounded.attacked.all)},
      {"adaptive", adaptive_values(defence)},
      {"uncertain", fmt::format("{:.1f}", 50 * (half.high - half.low))},
      {"seed", run.seed},
      {"command", run.command},
      {"version", run.version},
      {"commit", run.commit},
      {"device", run.device == "cpu" ? "the CPU" : "a GPU"}};
  for (const JudgedTest& judged : defence.exact) values["judges"].push_back(values_of(judged));
  for (const GmaAnalysis& analysis : run.gma) values["gma"].push_back(gma_values(analysis));
  values["charts"] = demo_charts(run, drawn);
  return fill_page(demo_template(), values);
}

}  // namespace caltrop
