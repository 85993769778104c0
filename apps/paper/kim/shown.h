// What is shown of the study.
#pragma once

#include <string>
#include <vector>

#include "apps/paper/kim/results.h"
#include "apps/report/table.h"
#include "defense/results.h"

namespace caltrop {

class StudyReport;
class RunFolder;

// fgsm: each arm beside the paper's number; attacks: each arm under all attacks, with what its training took; pairs: tests
// of one arm against another over the seeds, with Holm's correction; epochs: each arm and seed after each epoch.
Table fgsm_table(const KimStudy& study);
Table attacks_table(const KimStudy& study);
Table pairs_table(const KimStudy& study);
Table epochs_table(const KimStudy& study);

// A claim of the paper, or of what a referee asks of it, and what the numbers say.
struct KimClaim {
  std::string claim, paper, ours;
  // "holds", "does not hold", "undecided" (the seeds do not tell), "cannot be decided from the text"
  std::string verdict;
};
std::vector<KimClaim> kim_claims(const KimStudy& study);

// Accuracy by epoch, by size and by depth; label leaking. The files to open.
std::vector<std::string> write_kim_figures(const RunFolder& folder, const KimStudy& study,
                                           double trained_eps);

// "Scale quick: ...": what the numbers are of.
std::string lead_of(const KimOptions& options);
// Everything: tables, figures, report.md.
void show_kim(const std::vector<KimStudy>& studies, const KimOptions& options, const StudyPlace& place,
              StudyReport& report);

}  // namespace caltrop
