#include "apps/demo/words.h"

#include <algorithm>
#include <cmath>

#include "apps/core/text_layout.h"

namespace caltrop {
namespace {

// The thresholds of words such as "most" lie here and nowhere else.
constexpr double kNearlyAll = 0.95, kMost = 0.80, kHalf = 0.50, kFew = 0.05;
constexpr double kSurePrediction = 0.90;
constexpr double kSmallChange = 0.005;  // half a percentage point

// Shares of different wholes are compared as the products that they stand for, so that equal ones are equal.
bool at_least(int64_t a, int64_t of_a, int64_t b, int64_t of_b) {
  return a * of_b >= b * of_a;
}

std::string points(double difference) {
  return fmt::format("{:.1f} percentage points", 100 * std::fabs(difference));
}

// Right answers of a detector to both kinds of images: the own class of clean ones, the alarm for attacked.
int64_t sound(const Verdicts& verdicts) {
  return verdicts.clean.right + verdicts.attacked.flagged;
}
int64_t shown_to(const Verdicts& verdicts) {
  return verdicts.clean.images + verdicts.attacked.images;
}

const AdaptiveVerdicts* strongest(const DefenceResult& result) {
  const auto most = std::max_element(
      result.adaptive.begin(), result.adaptive.end(),
      [](const AdaptiveVerdicts& a, const AdaptiveVerdicts& b) { return a.exact.wrong < b.exact.wrong; });
  return most == result.adaptive.end() || most->exact.images == 0 ? nullptr : &*most;
}

// Whether the pixel check finds nothing any more once images are rounded.
bool defeated_by_rounding(const DefenceResult& result) {
  return !result.rounded.empty() && result.rounded.back().attacked.images > 0 &&
         result.rounded.back().attacked.flagged == 0;
}

// Whether `a` finds at least as much as `b` with no more false alarms.
bool no_worse(const Verdicts& a, const Verdicts& b) {
  return at_least(a.attacked.flagged, a.attacked.images, b.attacked.flagged, b.attacked.images) &&
         at_least(b.clean.flagged, b.clean.images, a.clean.flagged, a.clean.images);
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

std::string data_words(const DemoResult& result) {
  if (result.dataset == "mnist") return "MNIST";
  if (result.dataset == "fashion-mnist") return "Fashion-MNIST";
  if (result.dataset == "digits") return "digits, which the program drew itself";
  return result.dataset;
}

std::string norm_words(Norm norm) {
  return norm == Norm::linf ? "L∞" : norm == Norm::l2 ? "L2" : "L1";
}

std::string size_words(double size) {
  return fmt::format("{:.3g}", size);
}

std::string clean_words(const DemoResult& result) {
  const Metrics& clean = result.clean;
  std::string words = fmt::format(
      "On {} test images, which played no part in training, it names the right class for {:.2f} % (95 % "
      "interval {:.2f} to {:.2f} %).",
      grouped(clean.n), 100 * clean.accuracy, 100 * clean.interval.low, 100 * clean.interval.high);
  const double guess = 1.0 / static_cast<double>(std::max<size_t>(1, result.class_names.size()));
  if (clean.interval.low <= guess) {
    words +=
        " That cannot be told from guessing: the rest of this page shows the machinery at work, and nothing "
        "about attacks.";
  } else if (clean.accuracy < kMost) {
    words +=
        " That is not much. More images or more passes may help; as it stands, what follows says "
        "more about a small run than about attacks.";
  }
  return words;
}

std::string attack_words(const DemoResult& result) {
  const AttackSummary& s = result.pictured_attack();
  if (s.clean_correct == 0) return "The network had no image right, so there was nothing to attack.";
  std::string words = fmt::format(
      "Of the {} among {} test images that the network had right, the attack turned {} wrong ({}).",
      grouped(s.clean_correct), grouped(s.images), grouped(s.successes_of_correct),
      percent_words(s.successes_of_correct, s.clean_correct));
  const double turned = s.success_rate_of_correct();
  if (turned >= kHalf)
    return words + " More often than not, this network can be talked out of a right answer.";
  if (turned >= kFew) return words + " Most right answers survive changes of this size, but not all.";
  return words + " Changes of this size hardly matter to this network.";
}

std::string examples_words(const DemoResult& result) {
  int64_t fooled = 0, sure = 0;
  for (const Example& example : result.examples) {
    if (example.after.says == example.label) continue;
    ++fooled;
    sure += example.after.sure >= kSurePrediction;
  }
  const auto n = static_cast<int64_t>(result.examples.size());
  std::string words = fmt::format("Of {}, the network gets {} wrong after the attack",
                                  n == 1 ? "this one image" : "these " + counted(n, "image", "images"),
                                  fooled == n && n > 1 ? "all" : grouped(fooled));
  if (fooled > 0) {
    words += sure == 0 ? ", in no case at least 90 % sure of its wrong answer"
                       : fmt::format(", and is at least 90 % sure of its wrong answer in {} of them",
                                     sure == fooled ? "all" : grouped(sure));
  }
  return words + ".";
}

std::string gma_words(const GmaAnalysis& analysis) {
  std::vector<GmaSizeResult> sizes = analysis.sizes;
  std::sort(sizes.begin(), sizes.end(),
            [](const GmaSizeResult& a, const GmaSizeResult& b) { return a.size.eps < b.size.eps; });
  const auto with = [&](GmaVerdict verdict) {
    return std::count_if(sizes.begin(), sizes.end(),
                         [&](const GmaSizeResult& size) { return size.verdict() == verdict; });
  };
  const int64_t fooled = with(GmaVerdict::fooled), robust = with(GmaVerdict::robust);
  std::string words = fmt::format("Under {}, ", norm_words(analysis.norm));
  if (fooled > 0) {
    const auto first =
        std::find_if(sizes.begin(), sizes.end(), [](const GmaSizeResult& size) { return size.flag(); });
    const std::string smallest = size_words(static_cast<double>(first->size.eps));
    words +=
        fooled == 1
            ? fmt::format("one of the {} sizes, {}, brings the accuracy below 50 %", sizes.size(), smallest)
            : fmt::format("{} of the {} sizes bring the accuracy below 50 %, the smallest of them {}", fooled,
                          sizes.size(), smallest);
    if (analysis.norm == Norm::linf) {
      words += fmt::format(" ({:.1f} of the 255 steps from black to white)",
                           255 * static_cast<double>(first->size.eps));
    }
  } else {
    words += fmt::format("none of the {} sizes brings the accuracy below 50 %", sizes.size());
  }
  return words + fmt::format("; {} leave{} it above 80 %.", robust == 0 ? "none" : std::to_string(robust),
                             robust <= 1 ? "s" : "");
}

std::string gma_paper_words(const DemoResult& result) {
  if (result.dataset != "mnist" || result.gma.empty()) return "";
  const GmaAnalysis& analysis = result.gma.front();
  double least = 1, most = 0;
  for (const GmaSizeResult& size : analysis.sizes) {
    least = std::min(least, size.accuracy());
    most = std::max(most, size.accuracy());
  }
  const auto share = [&](double accuracy) {
    return percent_words(std::llround(accuracy * static_cast<double>(analysis.images)), analysis.images);
  };
  return fmt::format(
      "The paper gives one number for all of them, 0.62 % accuracy on MNIST, and does not say how size was "
      "measured. Here, under {} alone, the accuracy goes from {} at one size to {} at another{}",
      norm_words(analysis.norm), share(most), share(least),
      most - least >= 0.1 ? ": no single number stands for all thirty." : ".");
}

std::string found_words(const DefenceResult& result) {
  const Verdicts& vote = result.vote();
  std::string words =
      fmt::format("Of {} attacked test images the vote flags {}. ", grouped(vote.attacked.images),
                  percent_words(vote.attacked.flagged, vote.attacked.images));
  if (vote.fooling.images == 0) {
    return words +
           "None of them makes Target alone give a wrong answer, so there was nothing harmful to find.";
  }
  words += fmt::format(
      "Most worth finding are the {} that make Target alone give a wrong answer: of these it flags {}",
      grouped(vote.fooling.images), percent_words(vote.fooling.flagged, vote.fooling.images));
  const double found = vote.fooling.share(vote.fooling.flagged);
  words += found == 1            ? ", all of them."
           : found >= kNearlyAll ? ", nearly all."
           : found >= kMost      ? ", most of them."
           : found >= kHalf      ? ", more than half, and far from all."
                                 : ": it misses more than it finds.";
  return words;
}

std::string missed_words(const DefenceResult& result) {
  const Fates& past = result.vote().attacked;
  const Fates& alone = result.undefended().attacked;
  return fmt::format(
      "What matters in the end is what gets past, neither flagged nor given its own class: {} of {} attacked "
      "images ({}). Without a defence it is {} ({}).",
      grouped(past.wrong), grouped(past.images), percent_words(past.wrong, past.images), grouped(alone.wrong),
      percent_words(alone.wrong, alone.images));
}

std::string price_words(const DefenceResult& result) {
  const Fates &with = result.vote().clean, &without = result.undefended().clean;
  std::string words =
      with.flagged == 0 ? fmt::format("Of {} clean images it calls none attacked", grouped(with.images))
                        : fmt::format("Of {} clean images it calls {} attacked ({}), which is a false alarm",
                                      grouped(with.images), grouped(with.flagged),
                                      percent_words(with.flagged, with.images));
  words += fmt::format(", and gives {} their own class; Target alone gives it to {}. ",
                       percent_words(with.right, with.images), percent_words(without.right, without.images));
  const double lost = without.share(without.right) - with.share(with.right);
  if (lost > kSmallChange) {
    return words + fmt::format("To honest users the defence costs {}.", points(lost));
  }
  if (lost < -kSmallChange) return words + fmt::format("On honest images it gains {}.", points(lost));
  return words + "To honest users it costs next to nothing.";
}

std::string members_words(const DefenceResult& result) {
  const Verdicts& vote = result.vote();
  const auto first = result.exact.begin() + 1, last = result.exact.end() - 2;
  const auto best =
      std::max_element(first, last, [](const Verdicts& a, const Verdicts& b) { return sound(a) < sound(b); });
  if (best == last) return "";
  const int64_t together = sound(vote), alone = sound(*best);
  std::string words = fmt::format(
      "Is the vote better than its members? Counting both kinds of images, a clean one as right when it gets "
      "its own class and an attacked one when it is flagged, the vote is right for {} and the best single "
      "network, {}, for {}. ",
      percent_words(together, shown_to(vote)), best->name, percent_words(alone, shown_to(*best)));
  return words + (together > alone    ? "Here the vote is ahead."
                  : together == alone ? "Here it gains nothing."
                                      : "Here it is not: one network alone does better.");
}

std::string paper_words(const DemoResult& result) {
  if (result.dataset != "mnist") return "";
  constexpr double kPaper = 0.997;
  const Fates &attacked = result.defence.vote().attacked, &clean = result.defence.vote().clean;
  const int64_t right = attacked.flagged + clean.images - clean.flagged, all = attacked.images + clean.images;
  return fmt::format(
      "The paper reports that its vote tells attacked from clean images with an accuracy of 99.7 % on MNIST. "
      "Here it is {}, after training on {} clean images: this run {} it.",
      percent_words(right, all), grouped(result.defence.clean_train),
      static_cast<double>(right) >= kPaper * static_cast<double>(all) ? "reaches" : "does not reach");
}

std::string off_grid_words(const DefenceResult& result) {
  const Verdicts &check = result.off_grid(), &vote = result.vote();
  std::string words = fmt::format(
      "It finds {} of the attacked images, with false alarms for {} of the clean ones; the vote finds {}, "
      "with {}. ",
      percent_words(check.attacked.flagged, check.attacked.images),
      percent_words(check.clean.flagged, check.clean.images),
      percent_words(vote.attacked.flagged, vote.attacked.images),
      percent_words(vote.clean.flagged, vote.clean.images));
  const bool ahead = no_worse(check, vote), behind = no_worse(vote, check);
  if (ahead && behind)
    return words + "On these images the trained defence is no better than one comparison per pixel.";
  if (ahead)
    return words +
           "On these images one comparison per pixel, with nothing learned, beats the trained defence.";
  if (behind) return words + "On these images the trained defence beats it.";
  return words + "Neither is better in both.";
}

std::string rounding_words(const DefenceResult& result) {
  if (result.rounded.size() < 3) return "";
  const Fates& check = result.rounded.back().attacked;
  const Fates& rounded = result.rounded[result.rounded.size() - 2].attacked;
  const Fates& exact = result.vote().attacked;
  std::string words = fmt::format(
      "Rounding turns {} of {} attacked images back into their clean image. Of the {} others the pixel check "
      "now finds {}, and the vote {} (of the unrounded images: {}). ",
      grouped(result.vanished), grouped(exact.images), grouped(rounded.images),
      percent_words(check.flagged, check.images), percent_words(rounded.flagged, rounded.images),
      percent_words(exact.flagged, exact.images));
  if (rounded.images == 0) return words;
  if (defeated_by_rounding(result)) words += "One habit of everyday software defeats the check. ";
  // Rounding undoes the smallest changes, which are the hardest to find: the vote should gain by that.
  return words + (rounded.share(rounded.flagged) >= exact.share(exact.flagged) - kFew
                      ? "The two shares are not of the same images: what rounding undoes are the smallest "
                        "changes, which the vote finds least often."
                      : "The vote, too, loses by it: part of what it had learned was the rounding.");
}

std::string adaptive_words(const DefenceResult& result) {
  const AdaptiveVerdicts* const most = strongest(result);
  if (most == nullptr) return "";
  const Fates& fates = most->exact;
  if (fates.wrong == 0) {
    return fmt::format(
        "None of {} got past the vote under any of the {} budgets; with so few images up to {:.1f} % still "
        "might (95 % interval). And one attack that fails proves little: stronger ones may not.",
        counted(fates.images, "image", "images"), result.adaptive.size(),
        100 * wilson_interval(0, fates.images).high);
  }
  std::string words = fmt::format(
      "At its best, with {} size {}, it gets {} of {} past the vote ({}), neither flagged nor given their "
      "own class (95 % interval {:.1f} to {:.1f} %); {} after rounding to 8 bits. Of clean images {} get a "
      "wrong class anyhow. ",
      norm_words(most->norm), size_words(static_cast<double>(most->size)), grouped(fates.wrong),
      counted(fates.images, "image", "images"), percent_words(fates.wrong, fates.images),
      100 * wilson_interval(fates.wrong, fates.images).low,
      100 * wilson_interval(fates.wrong, fates.images).high, grouped(most->rounded.wrong),
      percent_words(result.vote().clean.wrong, result.vote().clean.images));
  constexpr int64_t kTooFew = 30;
  if (fates.images < kTooFew) return words + "So few images say little.";
  const double past = fates.share(fates.wrong);
  if (past >= kHalf) return words + "An attacker who knows this defence defeats it.";
  if (past >= 0.1) return words + "An attacker who knows this defence gets past it often enough to rely on.";
  return words +
         "That is few, but it is one attack with one loss: a lower bound on what an attacker can do, and no "
         "proof of safety.";
}

std::string short_words(const DemoResult& result) {
  const DefenceResult& defence = result.defence;
  const AttackSummary& s = result.pictured_attack();
  const Verdicts &vote = defence.vote(), &check = defence.off_grid();
  std::string words;
  if (s.clean_correct > 0) {
    words += fmt::format(
        "Changes of at most {} per pixel, where black is 0 and white is 1, turned {} of the network’s right "
        "answers wrong. ",
        size_words(static_cast<double>(s.size)), percent_words(s.successes_of_correct, s.clean_correct));
  }
  if (vote.fooling.images > 0) {
    words +=
        fmt::format("A defence trained to notice attacked images flags {} of those that fool the network",
                    percent_words(vote.fooling.flagged, vote.fooling.images));
  } else {
    words += "None of the attacked images that a defence was tested on fools the network; the defence";
  }
  words += vote.fooling.images > 0 ? ", and" : "";
  words += vote.clean.flagged == 0 ? " raises no false alarm. "
                                   : fmt::format(" raises false alarms for {} of honest ones. ",
                                                 percent_words(vote.clean.flagged, vote.clean.images));
  if (no_worse(check, vote)) {
    words += "One comparison per pixel, with nothing learned, does as well or better";
    words +=
        defeated_by_rounding(defence) ? ", until pixels are rounded as any image file rounds them. " : ". ";
  }
  if (const AdaptiveVerdicts* const most = strongest(defence)) {
    words += most->exact.wrong == 0
                 ? "An attacker who knows the defence did not get past it in this short trial."
                 : fmt::format("An attacker who knows the defence gets {} of images past it.",
                               percent_words(most->exact.wrong, most->exact.images));
  }
  return words;
}

}  // namespace caltrop
