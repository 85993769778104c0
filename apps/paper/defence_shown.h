// The part of `caltrop paper gma-mia` that is about the defence: tables, the paper's numbers beside ours (means and
// standard deviations over seeds), claims against the controls, and Figures 11 to 23.
//   11          F1 and recall of the vote under each attack
//   12-15       the vote by epoch of the bootstraps, attack by attack: accuracy and loss on MNIST, on Fashion-MNIST
//   16-19       each network by epoch of cycle 1 (15 %): the same
//   20-23       ... of cycle 3 (40 %)
#pragma once

#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/paper/defence.h"
#include "apps/report/table.h"
#include "apps/study/comparison.h"
#include "defense/results.h"

namespace caltrop {

class RunFolder;

// Whose detection is shown by attack, norm and size: the vote's, without it that of the last network after the 40 % cycle.
Detector subject_of(const DefenceStudy& study);

// Draws the figure of this study, one or several pictures, with CSV and JSON of its values; the files to open.
// Nothing where the figure is about another data set.
std::vector<std::string> write_defence_figure(const RunFolder& folder, const PaperItem& figure,
                                              const DefenceStudy& study);
// Beside the paper's: by size, how many attacked images fool the undefended network and how many are detected.
std::vector<std::string> write_size_figures(const RunFolder& folder, const DefenceStudy& study,
                                            const std::vector<SizeScore>& scores);

// Of a study with the vote and all its controls; an Error where the number of a claim is missing.
std::vector<TestedClaim> defence_claims(const DefenceStudy& study);
Table claims_table(const std::vector<DefenceStudy>& studies);
// Each control's numbers over seeds: what is attacked or left out, norm, size, value.
Table controls_table(const DefenceStudy& study);

// The opening of report.md: how it was measured, and a paragraph that says what survives.
std::string report_opening(const std::vector<DefenceStudy>& studies, const std::string& scale);

// Runs the studies of the items' data sets, writes tables, figures and report.md; {the tables by name, "figures",
// "report", "skipped"}.
Json run_defence_paper(const std::vector<PaperItem>& items, const DefenceStudyOptions& study,
                       CommonOptions& common, const StudyPlace& place, const Flags& flags);

}  // namespace caltrop
