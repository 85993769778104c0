#include <algorithm>
#include <cmath>

#include "apps/paper/kim/shown.h"
#include "apps/study/comparison.h"

namespace caltrop {
namespace {

constexpr double kAlpha = 0.05;
constexpr double kTwoPoints = 0.02, kFivePoints = 0.05;
const std::string kNoText = "cannot be decided from the text";

// Numbers of one claim, seed by seed, and what is computed of them.
using Values = std::vector<double>;
template <typename Of>
Values of(const Values& a, const Values& b, const Of& compute) {
  Values result;
  for (size_t k = 0; k < a.size(); ++k) result.push_back(compute(a[k], b.at(k)));
  return result;
}
Values operator-(const Values& a, const Values& b) {
  return of(a, b, [](double x, double y) { return x - y; });
}
Values larger(const Values& a, const Values& b) {
  return of(a, b, [](double x, double y) { return std::max(x, y); });
}
template <typename Of>
Values each_of(Values values, const Of& compute) {
  for (double& value : values) value = compute(value);
  return values;
}
Values less(Values values, double constant) {
  return each_of(std::move(values), [=](double value) { return value - constant; });
}

// By how far the numbers lie on the claim's side: where 0 is inside Student's 95 % interval the seeds do not tell. Of one seed
// the sign decides.
std::string decided(const Values& margin) {
  const MeanAndDeviation over = over_seeds(margin);
  const std::optional<double> half = over.half_width();
  if (half && std::abs(over.mean) < *half) return "undecided";
  return over.mean >= 0 ? "holds" : "does not hold";
}

std::string percent(const Values& values) {
  return in_percent(over_seeds(values)) + " %";
}
std::string points(const Values& values) {
  const MeanAndDeviation over = over_seeds(values);
  return fmt::format("{:+.2f}{}", 100 * over.mean,
                     over.deviation ? fmt::format(" ± {:.2f}", 100 * *over.deviation) : "");
}

class Claims {
 public:
  explicit Claims(const KimStudy& study) : study_(study) {}

  std::vector<KimClaim> all() {
    of_the_paper();
    of_combinations();
    of_depth();
    of_a_referee();
    return std::move(claims_);
  }

 private:
  Values fgsm(const std::string& arm) const { return study_.each(arm, under_fgsm(study_.size())); }
  Values under(const std::string& arm, const std::string& attack, float size) const {
    return study_.each(arm, under_attack(attack, size));
  }
  void add(std::string claim, std::string paper, std::string ours, std::string verdict) {
    claims_.push_back({std::move(claim), std::move(paper), std::move(ours), std::move(verdict)});
  }
  void compare(const std::string& claim, const std::string& paper, const std::string& first, const Values& a,
               const std::string& second, const Values& b) {
    add(claim, paper, fmt::format("{} {}, {} {}", first, percent(a), second, percent(b)), decided(a - b));
  }

  void of_the_paper() {
    const Values clean = study_.each(kControl, clean_accuracy()), control = fgsm(kControl),
                 adversarial = fgsm(kAdversarial), distilled = fgsm(kDistillation), masked = fgsm(kMasking);
    add("the control is right on 99.5 % of clean images, to half a point", "99.5 %", percent(clean),
        decided(less(clean, kPrintedClean - 0.005)));
    const std::optional<double> matched = study_.matched();
    add("FGSM leaves the control 29.15 %", "29.15 %, of no size",
        matched ? fmt::format("at ε = {:.3f}", *matched)
                : fmt::format("at no size from {} to {}", kFgsmSizes.front(), kFgsmSizes.back()),
        kNoText);
    compare("adversarial training is better than no defence", "88.5 % against 29.15 %", "adversarial",
            adversarial, "control", control);
    compare("adversarial training is the best of the three", "88.5 %, 47.52 %, 33.12 %", "adversarial",
            adversarial, "the better of the others", larger(distilled, masked));
    add("adversarial training reaches the paper's accuracy, to two points", "88.5 %; 90.69 %; 90 %",
        percent(adversarial),
        decided(each_of(adversarial, [](double value) { return kTwoPoints - std::abs(value - 0.885); })));
    add("distillation is no different from no defence, to five points", "33.12 % against 29.15 %",
        fmt::format("{} points", points(distilled - control)),
        decided(each_of(distilled - control, [](double value) { return kFivePoints - std::abs(value); })));
    compare("masking is better than distillation", "47.52 % against 33.12 %", "masking", masked,
            "distillation", distilled);
    compare("masking is worse than adversarial training", "47.52 % against 88.5 %", "adversarial",
            adversarial, "masking", masked);
    all_differ();
    fluctuation();
  }

  // Section 4 says so of all, and two paragraphs on that distillation does not differ from the control.
  void all_differ() {
    std::vector<double> p;
    for (const auto& [a, b] : std::vector<std::pair<std::string, std::string>>{{kAdversarial, kControl},
                                                                               {kDistillation, kControl},
                                                                               {kMasking, kControl},
                                                                               {kAdversarial, kDistillation},
                                                                               {kAdversarial, kMasking},
                                                                               {kMasking, kDistillation}}) {
      if (const auto test = study_.compare(a, b, under_fgsm(study_.size())); test.p) p.push_back(*test.p);
    }
    const std::vector<double> corrected = holm(p);
    const auto significant = std::ranges::count_if(corrected, [](double value) { return value < kAlpha; });
    const bool told = corrected.size() == 6;
    add("control and defences all differ significantly from one another",
        "\"all\"; but distillation \"no significant difference\"",
        told ? fmt::format("{} of 6 pairs, p < 0.05 after Holm", significant)
             : "of one seed nothing is significant",
        !told              ? "undecided"
        : significant == 6 ? "holds"
                           : "does not hold");
  }

  // How much the accuracy under FGSM moves from one epoch to the next, behind the first.
  Values movement(const std::string& arm) const {
    Values moves;
    for (const CellResult& cell : study_.cells) {
      if (cell.cell.arm.name != arm) continue;
      const std::vector<KimEpoch>& epochs = study_.epochs.at(cell.cell.stem);
      double sum = 0;
      for (size_t k = 2; k < epochs.size(); ++k) sum += std::abs(epochs[k].fgsm - epochs[k - 1].fgsm);
      moves.push_back(epochs.size() > 2 ? sum / static_cast<double>(epochs.size() - 2) : 0);
    }
    return moves;
  }
  void fluctuation() {
    compare("masking's accuracy fluctuates over the epochs more than the others'",
            "\"fluctuated across epochs\"", "from epoch to epoch it moves by", movement(kMasking),
            "the most of control and adversarial training by",
            larger(movement(kControl), movement(kAdversarial)));
  }

  void of_combinations() {
    Values best, other;
    const auto join = [](Values& into, const Values& more) {
      into = into.empty() ? more : larger(into, more);
    };
    for (const std::string& first : kKimDefences) {
      for (const std::string& second : kKimDefences) {
        if (first == second) continue;
        const bool masked =
            (first == kMasking && second == kAdversarial) || (first == kAdversarial && second == kMasking);
        join(masked ? best : other, fgsm(pair_arm(first, second)));
      }
    }
    compare("masking with adversarial training is the best combination", "85.56 %", "the better order", best,
            "the best of the others", other);
    compare("no combination beats adversarial training alone", "85.56 % against 88.5 %", "alone",
            fgsm(kAdversarial), "the best combination", larger(best, other));
  }

  void of_depth() {
    const auto gain = [&](const std::string& method, double printed, const std::string& words) {
      const std::string deeper = network_arm(method, "kim-3");
      if (!study_.has(deeper)) return;
      const Values before = fgsm(method), after = fgsm(deeper);
      add(fmt::format("one convolution more gives {} at least half of the gain that is printed", method),
          words, fmt::format("{} points, to {}", points(after - before), percent(after)),
          decided(less(after - before, printed / 2)));
    };
    gain(kAdversarial, 0.06, "90 to 96 %");
    gain(kDistillation, 0.40, "30 to 70 %");
    gain(kMasking, 0.40, "50 to 90 %");
    const std::string deepest = network_arm(kAdversarial, "kim-5");
    if (study_.has(deepest))
      compare("adversarial training is better with five convolutions than with two", "97.9 % against 88.5 %",
              "five", fgsm(deepest), "two", fgsm(kAdversarial));
  }

  void of_a_referee() {
    const float size = kStrongSizes[0];
    const auto half_stands = [&](const std::string& arm, const std::string& claim) {
      const Values gain = under(arm, "fgsm", size) - under(kControl, "fgsm", size),
                   kept = under(arm, "pgd", size) - under(kControl, "pgd", size);
      add(claim, "",
          fmt::format("over the control {} points under FGSM, {} under PGD, at {:g}", points(gain),
                      points(kept), size),
          decided(kept - each_of(gain, [](double value) { return value / 2; })));
    };
    half_stands(kAdversarial, "at least half of what adversarial training gains under FGSM stands under PGD");
    half_stands(kDistillation, "... of what distillation gains");
    half_stands(kMasking, "... of what masking gains");
    Values clean = study_.each(kAdversarial, clean_accuracy()), most;
    for (const float one : kFgsmSizes) {
      const Values attacked = under(kAdversarial, "fgsm", one);
      most = most.empty() ? attacked : larger(most, attacked);
    }
    compare("adversarial training does not leak labels: FGSM leaves no more right than clean images are", "",
            "clean", clean, "FGSM at most", most);
    const Values hidden = study_.each(kDistillation, zero_gradients());
    add("distillation hides its gradients: of one image in ten or more they are zero in fp32", "",
        percent(hidden), decided(less(hidden, 0.1)));
    const Values left = under(kDistillation, "cw", kCwSizes.back());
    add("CW goes through distillation: it leaves less than one in ten right", "", percent(left),
        decided(each_of(left, [](double value) { return 0.1 - value; })));
    for (const std::string& arm : {kDistillation, kMasking + "-mask"}) {
      if (!study_.has(arm)) continue;
      compare(fmt::format("{} protects no better from an attacker who knows it", arm), "",
              "who does not leaves", under(arm, "fgsm", size), "who does", under(arm, "fgsm-aware", size));
    }
  }

  const KimStudy& study_;
  std::vector<KimClaim> claims_;
};

}  // namespace

std::vector<KimClaim> kim_claims(const KimStudy& study) {
  return Claims(study).all();
}

}  // namespace caltrop
