#include <algorithm>
#include <cmath>

#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/paper/kim/shown.h"
#include "apps/report/figure.h"
#include "apps/study/comparison.h"
#include "defense/training/trained.h"

namespace caltrop {
namespace {

// Over seeds, or of one seed over the images.
Measured shown_mean(const KimStudy& study, const std::string& arm, const KimNumber& number) {
  return measured(study.mean(arm, number), study.images(number));
}

std::string note_of(const KimStudy& study) {
  return interval_words(study.each(kControl, clean_accuracy()).size());
}

Figure by_size(const KimStudy& study) {
  Figure figure{.title = fmt::format("Accuracy under FGSM by size, {}", study.dataset),
                .x_label = "L-inf size ε",
                .y_label = "accuracy",
                .note = note_of(study)};
  if (study.printed()) figure.thresholds.push_back({kPrintedControl, "the paper's control, 29.15 %"});
  for (const std::string& arm :
       {kControl, kAdversarial, kDistillation, kMasking, pair_arm(kMasking, kAdversarial)}) {
    Series& series = figure.series.emplace_back(Series{arm});
    series.add(0, shown_mean(study, arm, clean_accuracy()));
    for (const float size : kFgsmSizes)
      series.add(static_cast<double>(size), shown_mean(study, arm, under_attack(kFgsm, size)));
  }
  return figure;
}

// FGSM against the attack that is its many small steps: what stands under one and falls under the other was never robust.
Figure leaking(const KimStudy& study) {
  Figure figure{.title = fmt::format("FGSM against PGD on the same networks, {}", study.dataset),
                .x_label = "L-inf size ε",
                .y_label = "accuracy",
                .note = fmt::format("{} images under FGSM, {} under PGD; {}", study.images(clean_accuracy()),
                                    study.images(under_attack(kPgd, kStrongSizes[0])), note_of(study))};
  for (const std::string& arm : {kControl, kAdversarial, kDistillation, kMasking}) {
    for (const std::string& attack : {kFgsm, kPgd}) {
      Series& series = figure.series.emplace_back(Series{fmt::format("{}, {}", arm, upper(attack))});
      series.add(0, shown_mean(study, arm, clean_accuracy()));
      for (const float size : attack == kFgsm ? kFgsmSizes : kStrongSizes)
        series.add(static_cast<double>(size), shown_mean(study, arm, under_attack(attack, size)));
    }
  }
  return figure;
}

Figure by_epoch(const KimStudy& study, double eps) {
  Figure figure{.title = fmt::format("Accuracy under FGSM {:g} by epoch, {}", eps, study.dataset),
                .x_label = "epoch",
                .y_label = "accuracy",
                .note = note_of(study),
                .whole_x = true};
  for (const std::string& arm :
       {kControl, kAdversarial, kDistillation, kMasking, pair_arm(kMasking, kAdversarial),
        pair_arm(kAdversarial, kMasking), pair_arm(kDistillation, kAdversarial)}) {
    std::map<int64_t, std::vector<double>> values;
    for (const CellResult& cell : study.cells) {
      if (cell.cell.arm.name != arm) continue;
      for (const KimEpoch& epoch : study.epochs.at(cell.cell.stem)) values[epoch.epoch].push_back(epoch.fgsm);
    }
    Series& series = figure.series.emplace_back(Series{arm});
    for (const auto& [epoch, all] : values)
      series.add(
          static_cast<double>(epoch),
          measured(over_seeds(all), std::min<int64_t>(kWatchedImages, study.images(clean_accuracy()))));
  }
  return figure;
}

Figure by_depth(const KimStudy& study) {
  const double size = study.size();
  Figure figure{.title = fmt::format("Adversarial training by depth, {}", study.dataset),
                .x_label = "convolutions",
                .y_label = "accuracy",
                .note = note_of(study),
                .whole_x = true};
  const std::vector<std::pair<std::string, KimNumber>> numbers = {
      {"clean", clean_accuracy()},
      {fmt::format("FGSM {:.3g}", size), under_fgsm(size)},
      {fmt::format("PGD {:g}", kStrongSizes[0]), under_attack(kPgd, kStrongSizes[0])}};
  for (const auto& [title, number] : numbers) {
    Series& series = figure.series.emplace_back(Series{title});
    for (int depth = 2; depth <= 5; ++depth) {
      const std::string arm = network_arm(kAdversarial, fmt::format("kim-{}", depth));
      if (study.has(arm)) series.add(depth, shown_mean(study, arm, number));
    }
  }
  return figure;
}

}  // namespace

std::vector<std::string> write_kim_figures(const RunFolder& folder, const KimStudy& study,
                                           double trained_eps) {
  std::vector<std::string> files;
  const auto write = [&](const char* name, const Figure& figure) {
    files.push_back(write_figure(folder, study.dataset + "-" + name, figure));
  };
  write("by-size", by_size(study));
  write("fgsm-against-pgd", leaking(study));
  write("by-epoch", by_epoch(study, trained_eps));
  write("by-depth", by_depth(study));
  return files;
}

}  // namespace caltrop
