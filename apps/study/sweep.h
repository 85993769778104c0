// What a study of networks x attacks x sizes x seeds leaves: tables, LaTeX, security curves, a page.
//
//   results.csv, .json       a row for each network, attack, size and seed
//   summary.csv, .json       the same over the seeds
//   table-NORM.tex           robust accuracy, mean and deviation over the seeds, the strongest attack in bold
//   curve-[DATA-]NETWORK-NORM.png, .svg, .gp, .dat     security curves
//   report.html              all of it to read
// docs/files.md has the columns.
#pragma once

#include <string>
#include <vector>

#include "apps/core/run_folder.h"
#include "apps/report/table.h"
#include "apps/study/sweep_points.h"

namespace caltrop {

Table results_table(const std::vector<CellResult>& results);
Table summary_table(const std::vector<SweepPoint>& points);

// Of a norm. Rows: networks and attacks; columns: sizes. In bold the strongest attack on each network at each size.
std::string latex_table(const std::vector<SweepPoint>& points, Norm norm, const std::string& version);

// An Error where the study cannot be drawn: too many attacks of one norm for one figure, two attacks of one name.
void check_sweep(const std::vector<StudyAttack>& attacks);

// What must be said of the numbers: attacks by default steps, and how many points they leave to the strongest of the same
// sweep at worst, where that is more than one. A sentence for each network and attack.
std::vector<std::string> flattered(const std::vector<SweepPoint>& points,
                                   const std::vector<StudyAttack>& attacks);

// Runs the cells, writes everything into the folder of the place, and says the summary and where it lies. `config`: for
// the page and the result.
void run_sweep(const std::vector<StudyCell>& cells, const StudyPlace& place, const RunConfig& config);

}  // namespace caltrop
