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

// The arm that is right on most images by a number, of those that are trained on the same network.
std::string best_arm(const KimStudy& study, const KimNumber& number) {
  std::string best;
  double most = -1;
  for (const std::string& arm : study.arms()) {
    if (arm.find("-kim-") != std::string::npos) continue;
    const double mean = study.mean(arm, number).mean;
    if (mean > most) most = mean, best = arm;
  }
  return fmt::format("{} ({} %)", best, in_percent(study.mean(best, number)));
}

// Kim's own question, "which adversarial defense methods offer the most effective safeguard", under his protocol and then
// under attacks that know the defence.
std::string answer(const KimStudy& study) {
  const std::optional<double> matched = study.matched();
  const float strong = kStrongSizes[0];
  std::string text = fmt::format(
      "On {}, under the paper's own protocol (one step of FGSM at ε = {:.3f}, {}), the best of all arms is "
      "{}; of the three "
      "methods alone adversarial training has {} %, masking {} %, distillation {} % and the control {} %. ",
      study.dataset, study.size(),
      matched ? "where the control falls to the paper's 29.15 %"
              : "the nearest of the sizes, since the control is at 29.15 % under none",
      best_arm(study, under_fgsm(study.size())),
      in_percent(study.mean(kAdversarial, under_fgsm(study.size()))),
      in_percent(study.mean(kMasking, under_fgsm(study.size()))),
      in_percent(study.mean(kDistillation, under_fgsm(study.size()))),
      in_percent(study.mean(kControl, under_fgsm(study.size()))));
  text += fmt::format(
      "Under PGD at ε = {:g} the best is {}; adversarial training has {} %, masking {} %, distillation {} %, "
      "the control {} %. ",
      strong, best_arm(study, under_attack("pgd", strong)),
      in_percent(study.mean(kAdversarial, under_attack("pgd", strong))),
      in_percent(study.mean(kMasking, under_attack("pgd", strong))),
      in_percent(study.mean(kDistillation, under_attack("pgd", strong))),
      in_percent(study.mean(kControl, under_attack("pgd", strong))));
  text += fmt::format(
      "The price of adversarial training is {:.1f} times the control's work, of distillation {:.1f} times.\n",
      study.work.at(kAdversarial) / study.work.at(kControl),
      study.work.at(kDistillation) / study.work.at(kControl));
  return text;
}

constexpr const char* kOpenInTheText =
    "The paper gives no size of FGSM, no temperature, two definitions of gradient masking (\"gradient "
    "noise\"; unused nodes set "
    "to 0), two or three convolutions, dropout or batch norm, and four accuracies of adversarial training "
    "(88.5, 90.69, 96, "
    "97.9 %). Its best combination (85.56 %) lies below the method alone (88.5 %). Here: the size at which "
    "the control falls "
    "to the paper's 29.15 %, by a line between the sizes that were tried; masking prunes penultimate units, "
    "with the two "
    "other readings as arms of their own; two convolutions, with deeper networks, batch norm and dropout as "
    "arms. An image "
    "counts as right under an attack that is right before and under it.\n";

}  // namespace

std::string lead_of(const KimOptions& options) {
  return fmt::format(
      "Scale {}: {} training images, {} test images under FGSM, {}. Numbers in %, means ± standard "
      "deviations over seeds.",
      options.scale, options.trained() > 0 ? fmt::format("{}", options.trained()) : "all", options.judged(),
      options.seed_count() > 1 ? fmt::format("{} seeds", options.seed_count()) : "one seed");
}

void show_kim(const std::vector<KimStudy>& studies, const KimOptions& options, const StudyPlace& place,
              StudyReport& report) {
  report.part("What the paper leaves open", kOpenInTheText);
  for (const KimStudy& study : studies) {
    report.part("Which defence, at which price: " + study.dataset, answer(study));
    const auto show = [&](const std::string& name, const std::string& title, const Table& table) {
      report.show(study.dataset + "-" + name, table, title + ", " + study.dataset, table);
      report.part(title + ", " + study.dataset, table);
    };
    show("claims", "Claims", claims_table(study));
    show("fgsm", "Under FGSM, beside the paper", fgsm_table(study));
    show("attacks", "Under attacks that are stronger, or know the defence", attacks_table(study));
    show("pairs", "Arm against arm under FGSM, matched", pairs_table(study));
    report.figures(write_kim_figures(place.folder, study, options.eps), "Figures, " + study.dataset);
  }
  report.write("# Kim 2025, beside the paper\n\n" + lead_of(options) + "\n\n");
}

}  // namespace caltrop
