#include <algorithm>
#include <cmath>

#include "apps/paper/kim/shown.h"
#include "apps/study/comparison.h"

namespace caltrop {
namespace {

constexpr double kAlpha = 0.05, kTwoPoints = 0.02, kFivePoints = 0.05;
constexpr const char *kHolds = "holds", *kDoesNot = "does not hold", *kUndecided = "undecided",
                     *kNoText = "cannot be decided from the text";

// A number seed by seed, and what is computed of such.
using Values = std::vector<double>;
Values operator-(const Values& a, const Values& b) {
  Values result;
  for (size_t k = 0; k < a.size(); ++k) result.push_back(a[k] - b.at(k));
  return result;
}
Values operator*(double factor, Values values) {
  for (double& value : values) value *= factor;
  return values;
}
Values less(Values values, double constant) {
  for (double& value : values) value -= constant;
  return values;
}

// Whether a mean is above 0: where 0 lies inside Student's 95 % interval, or one seed knows none, that is not told.
std::string decided(const Values& margin) {
  const MeanAndDeviation over = over_seeds(margin);
  const std::optional<double> half = over.half_width();
  if (!half || std::abs(over.mean) < *half) return kUndecided;
  return over.mean > 0 ? kHolds : kDoesNot;
}

// Whether a mean is 0 to a tolerance: its interval lies within it, or wholly beside it.
std::string zero_to(double tolerance, const Values& values) {
  const MeanAndDeviation over = over_seeds(values);
  const std::optional<double> half = over.half_width();
  if (half && std::abs(over.mean) + *half <= tolerance) return kHolds;
  if (half && std::abs(over.mean) - *half > tolerance) return kDoesNot;
  return kUndecided;
}

std::string percent(const Values& values) {
  return in_percent(over_seeds(values)) + " %";
}
std::string points(const Values& values) {
  const MeanAndDeviation over = over_seeds(values);
  const std::string mean = fmt::format("{:+.2f}", 100 * over.mean);
  return over.deviation ? fmt::format("{} ± {:.2f}", mean, 100 * *over.deviation) : mean;
}

// Numbers that the paper prints are about MNIST: on other data there are the claims that compare, and no more.
class Claims {
 public:
  explicit Claims(const KimStudy& study) : study_(study) {}

  std::vector<KimClaim> all() {
    of_numbers();
    of_methods();
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
  void add(std::string claim, const std::string& paper, std::string ours, std::string verdict) {
    claims_.push_back({std::move(claim), study_.printed() ? paper : "", std::move(ours), std::move(verdict)});
  }
  void compare(const std::string& claim, const std::string& paper, const std::string& first, const Values& a,
               const std::string& second, const Values& b) {
    add(claim, paper, fmt::format("{} {}, {} {}", first, percent(a), second, percent(b)), decided(a - b));
  }
  // The one with the highest mean: chosen once, not seed by seed, which would favour the larger group.
  std::string best_of(const std::vector<std::string>& arms) const {
    return *std::ranges::max_element(
        arms, {}, [&](const std::string& arm) { return study_.mean(arm, under_fgsm(study_.size())).mean; });
  }
  void best(const std::string& claim, const std::string& paper, const std::vector<std::string>& ours,
            const std::vector<std::string>& others) {
    const std::string first = best_of(ours), second = best_of(others);
    compare(claim, paper, first, fgsm(first), second, fgsm(second));
  }

  void of_numbers() {
    if (!study_.printed()) return;
    const Values clean = study_.each(kControl, clean_accuracy());
    add("the control is right on 99.5 % of clean images, to half a point", "99.5 %", percent(clean),
        decided(less(clean, kPrintedClean - 0.005)));
    const std::optional<double> matched = study_.matched();
    add("FGSM leaves the control 29.15 %", "29.15 %, of no size",
        matched ? fmt::format("at ε = {:.3f}", *matched)
                : fmt::format("at no size from {} to {}", kFgsmSizes.front(), kFgsmSizes.back()),
        kNoText);
    const Values adversarial = fgsm(kAdversarial);
    add("adversarial training has the paper's accuracy, to two points", "88.5 %; 90.69 %; 90 %",
        percent(adversarial), zero_to(kTwoPoints, less(adversarial, *printed_fgsm(kAdversarial))));
  }

  void of_methods() {
    compare("adversarial training is better than no defence", "88.5 % against 29.15 %", kAdversarial,
            fgsm(kAdversarial), kControl, fgsm(kControl));
    best("adversarial training is the best of the three", "88.5 %, 47.52 %, 33.12 %", {kAdversarial},
         {kDistillation, kMasking});
    const Values gained = fgsm(kDistillation) - fgsm(kControl);
    add("distillation is no different from no defence, to five points", "33.12 % against 29.15 %",
        points(gained) + " points", zero_to(kFivePoints, gained));
    compare("masking is better than distillation", "47.52 % against 33.12 %", kMasking, fgsm(kMasking),
            kDistillation, fgsm(kDistillation));
    compare("masking is worse than adversarial training", "47.52 % against 88.5 %", kAdversarial,
            fgsm(kAdversarial), kMasking, fgsm(kMasking));
    all_differ();
    const Values masked = falls(kMasking);
    for (const std::string& other : {kControl, kAdversarial, kDistillation})
      compare(fmt::format("masking's accuracy fluctuates over the epochs more than that of {}", other),
              "\"fluctuated across epochs\"", "from epoch to epoch it falls by", masked, "the other's by",
              falls(other));
  }

  // Section 4 says so of all, and two paragraphs on that distillation does not differ from the control.
  void all_differ() {
    const std::vector<std::string> arms = {kControl, kAdversarial, kDistillation, kMasking};
    std::vector<double> p;
    bool same = false;
    for (size_t a = 0; a < arms.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        const Values apart = fgsm(arms[a]) - fgsm(arms[b]);
        same = same || zero_to(kTwoPoints, apart) == kHolds;
        if (const auto test = study_.compare(arms[a], arms[b], under_fgsm(study_.size())); test.p)
          p.push_back(*test.p);
      }
    }
    const std::vector<double> corrected = holm(p);
    const auto significant = std::ranges::count_if(corrected, [](double value) { return value < kAlpha; });
    add("control and defences all differ significantly from one another",
        "\"all\"; but distillation \"no significant difference\"",
        fmt::format("{} of 6 pairs, p < 0.05 by Holm's correction over the six", significant),
        significant == 6 ? kHolds
        : same           ? kDoesNot
                         : kUndecided);
  }

  // How much accuracy under FGSM is lost from one epoch to the next, in the mean: what only rises does not fluctuate.
  Values falls(const std::string& arm) const {
    Values all;
    for (const CellResult& cell : study_.cells) {
      if (cell.cell.arm.name != arm) continue;
      const std::vector<KimEpoch>& epochs = study_.epochs.at(cell.cell.stem);
      double sum = 0;
      for (size_t k = 1; k < epochs.size(); ++k) sum += std::max(0.0, epochs[k - 1].fgsm - epochs[k].fgsm);
      all.push_back(epochs.size() > 1 ? sum / static_cast<double>(epochs.size() - 1) : 0);
    }
    return all;
  }

  void of_combinations() {
    std::vector<std::string> masked, others, all;
    for (const std::string& first : kKimDefences) {
      for (const std::string& second : kKimDefences) {
        if (first == second) continue;
        const bool both = first != kDistillation && second != kDistillation;
        (both ? masked : others).push_back(pair_arm(first, second));
        all.push_back(pair_arm(first, second));
      }
    }
    best("masking with adversarial training is the best combination", "85.56 %", masked, others);
    best("no combination beats adversarial training alone", "85.56 % against 88.5 %", {kAdversarial}, all);
  }

  void of_depth() {
    const auto gain = [&](const std::string& method, double printed, const std::string& words) {
      const std::string deeper = network_arm(method, "kim-3");
      if (!study_.has(deeper)) return;
      const Values before = fgsm(method), after = fgsm(deeper), gained = after - before;
      const std::string ours = fmt::format("{} points, to {}", points(gained), percent(after));
      if (study_.printed())
        add(fmt::format("one convolution more gives {} at least half of the gain that is printed", method),
            words, ours, decided(less(gained, printed / 2)));
      else
        add(fmt::format("one convolution more makes {} better", method), "", ours, decided(gained));
    };
    gain(kAdversarial, 0.06, "90 to 96 %");
    gain(kDistillation, 0.40, "30 to 70 %");
    gain(kMasking, 0.40, "50 to 90 %");
    const std::string deepest = network_arm(kAdversarial, "kim-5");
    if (study_.has(deepest))
      compare("adversarial training is better with five convolutions than with two", "97.9 % against 88.5 %",
              "five", fgsm(deepest), "two", fgsm(kAdversarial));
  }

  // Of what an arm gains over the control under FGSM as the paper has it, half stands under PGD that knows the arm: on
  // the same images.
  void half_stands(const std::string& arm) {
    const float size = kStrongSizes[0];
    const int64_t n = study_.images(under_attack(kPgd, size));
    const auto over_control = [&](const std::string& attack) {
      return study_.each(arm, under_attack_on(attack, size, n)) -
             study_.each(kControl, under_attack_on(attack, size, n));
    };
    const Values gain = over_control(kFgsm), kept = over_control(kPgd);
    // Without a gain nothing of it can stand.
    const std::string gained = decided(gain);
    add(fmt::format("{} gains under FGSM, and at least half of it stands under PGD that knows it", arm), "",
        fmt::format("over the control {} points under FGSM, {} under PGD, at {:g} on {} images", points(gain),
                    points(kept), size, n),
        gained == kHolds ? decided(kept - 0.5 * gain) : gained);
  }

  void of_a_referee() {
    for (const std::string& arm : kKimDefences) half_stands(arm);
    for (const std::string& arm : {kDistillation, kMasking + "-mask"}) {
      if (!study_.has(arm)) continue;
      compare(fmt::format("{}: who knows the defence leaves less than who does not", arm), "",
              "who does not leaves", under(arm, kFgsm, kStrongSizes[0]), "who does",
              under(arm, kFgsmAware, kStrongSizes[0]));
    }
    // Networks that learn from their own FGSM images may know them by the gradient's traces (Kurakin et al. 2017).
    Values most = under(kAdversarial, kFgsm, kFgsmSizes.front());
    for (const float one : kFgsmSizes) {
      if (const Values now = under(kAdversarial, kFgsm, one); over_seeds(now).mean > over_seeds(most).mean)
        most = now;
    }
    compare("adversarial training leaks labels: under FGSM it is right on more images than on clean ones", "",
            "under FGSM at most", most, "clean", study_.each(kAdversarial, clean_accuracy()));
    compare("distillation hides its gradients: more of them are zero in fp32 than the control's", "",
            kDistillation, study_.each(kDistillation, zero_gradients()), kControl,
            study_.each(kControl, zero_gradients()));
    const Values left = under(kDistillation, "cw", kCwSizes.back()),
                 others = under(kControl, "cw", kCwSizes.back());
    add("CW leaves distillation no more than the control, to five points", "",
        fmt::format("{}, the control {}", percent(left), percent(others)),
        decided(less(others - left, -kFivePoints)));
  }

  const KimStudy& study_;
  std::vector<KimClaim> claims_;
};

}  // namespace

std::vector<KimClaim> kim_claims(const KimStudy& study) {
  return Claims(study).all();
}

}  // namespace caltrop
