#include <algorithm>

#include "apps/core/run_folder.h"
#include "apps/paper/kim/shown.h"
#include "apps/study/comparison.h"
#include "apps/study/report.h"

namespace caltrop {
namespace {

Table claims_table(const KimStudy& study) {
  Table table({{"dataset", "data"},
               {"claim", "claim"},
               {"paper", "paper"},
               {"ours", "ours"},
               {"verdict", "verdict"}});
  for (const KimClaim& one : kim_claims(study))
    table.row(
        {study.dataset, one.claim, one.paper.empty() ? Cell() : Cell(one.paper), one.ours, one.verdict});
  return table;
}

// Share of the first images that stand under FGSM and PGD of a size, whoever attacks.
KimNumber under_all(const KimStudy& study, float size) {
  const int64_t n = study.images(under_attack(kPgd, size));
  return {[=](const CellResult& cell) {
            double least = 1;
            for (const std::string& attack : {kFgsm, kFgsmAware, kPgd})
              least = std::min(least, under_attack_on(attack, size, n)(cell));
            return least;
          },
          [=](const CellResult&) {
            return n;
          }};
}

// "masking 47.52 ± 0.30 % for 1.0 times the control's work", of the arm with the highest mean on the network with two
// convolutions, and of the control and the three methods alone.
std::string ranked(const KimStudy& study, const KimNumber& number) {
  std::vector<std::string> shown = {kAdversarial, kMasking, kDistillation, kControl};
  std::string best;
  for (const std::string& arm : study.arms()) {
    if (arm.find("-kim-") != std::string::npos) continue;
    if (best.empty() || study.mean(arm, number).mean > study.mean(best, number).mean) best = arm;
  }
  std::erase(shown, best);
  shown.insert(shown.begin(), best);
  std::string text;
  for (const std::string& arm : shown) {
    text += fmt::format("{}{} {} % for {:.1f} times the control's work", text.empty() ? "" : "; ", arm,
                        in_percent(study.mean(arm, number)), study.work.at(arm) / study.work.at(kControl));
  }
  return text;
}

// Kim's own question, "which adversarial defense methods offer the most effective safeguard", under his protocol and then
// under attacks that know the defence.
std::string answer(const KimStudy& study) {
  const float strong = kStrongSizes[0];
  return fmt::format(
      "Under the paper's own protocol, one step of FGSM by an attacker who does not know the defence, at ε = "
      "{:.3f} ({}), "
      "the first is: {}. Under the strongest of FGSM and PGD by one who does, at ε = {:g} on {} images: {}. "
      "The work is "
      "that of training, estimated by passes.\n",
      study.size(),
      study.matched() ? "where the control falls to the paper's 29.15 %"
                      : "the nearest of the sizes, since the control has 29.15 % under none",
      ranked(study, under_fgsm(study.size())), strong, study.images(under_attack(kPgd, strong)),
      ranked(study, under_all(study, strong)));
}

constexpr const char* kOpenInTheText =
    "The paper calls MNIST \"color images\" with \"6,000\" per class; it is grey, with about 7,000. It tests "
    "with FGSM alone and "
    "gives no size of it. Its network has two convolutions (abstract, results) or three (method), dropout or "
    "batch norm. "
    "Adversarial training has 88.5, 90.69 or 90 %, distillation 33.12 or 30 %, masking 47.52 or 50 %; with "
    "one convolution more "
    "they are to have 96, 70 and 90 %. The best combination (85.56 %) lies below a method alone (88.5 %). No "
    "temperature is "
    "given, and the student learns \"off of the gradients\" of its teacher. Gradient masking is \"gradient "
    "noise\" or \"unused nodes "
    "changed to 0\". Here: the size at which the control falls to the paper's 29.15 %, by a line between the "
    "sizes that were "
    "tried; the student learns the teacher's soft labels; masking prunes penultimate units, with noise on "
    "gradients and "
    "hidden gradients as arms of their own; two convolutions, with deeper networks, batch norm and dropout "
    "as arms. Under FGSM "
    "an image counts as the paper counts it, if it is right under the attack; under every other attack, if "
    "it is right before "
    "as well. Of one seed, or where the seeds do not tell, a verdict is \"undecided\".\n";

}  // namespace

std::string lead_of(const KimOptions& options) {
  return fmt::format(
      "Scale {}: {} training images, {} test images under FGSM and fewer under other attacks (in brackets in "
      "the tables), {}. Numbers in %, means ± standard "
      "deviations over seeds.",
      options.scale, options.trained() > 0 ? fmt::format("{}", options.trained()) : "all", options.judged(),
      options.seed_count() > 1 ? fmt::format("{} seeds", options.seed_count()) : "one seed");
}

void show_kim(const std::vector<KimStudy>& studies, const KimOptions& options, const StudyPlace& place,
              StudyReport& report) {
  report.part("What the paper leaves open", kOpenInTheText);
  for (const KimStudy& study : studies) {
    report.part("Which defence, at which price: " + study.dataset,
                answer(study) + (study.printed() ? "" : "The paper has no number of these data.\n"));
    const auto show = [&](const std::string& name, const std::string& title, const Table& table) {
      report.show(study.dataset + "-" + name, table, title + ", " + study.dataset, table);
      report.part(title + ", " + study.dataset, table);
    };
    show("claims", "Claims", claims_table(study));
    show("fgsm", "Under FGSM, beside the paper", fgsm_table(study));
    show("attacks", "Under attacks that are stronger, or know the defence", attacks_table(study));
    show("pairs", fmt::format("Arm against arm under FGSM {:.3g}", study.size()), pairs_table(study));
    report.keep(study.dataset + "-epochs", epochs_table(study));
    report.figures(write_kim_figures(place.folder, study, options.eps), "Figures, " + study.dataset);
  }
  report.write("# Kim 2025, beside the paper\n\n" + lead_of(options) + "\n\n");
}

}  // namespace caltrop
