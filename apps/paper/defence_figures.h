// Figures 11 to 23 of the paper's defence.
//   11          F1 and recall of the vote under each attack
//   12-15       the vote by epoch of the bootstraps, attack by attack: accuracy and loss on MNIST, on Fashion-MNIST
//   16-19       each network by epoch of cycle 1 (15 %): the same
//   20-23       ... of cycle 3 (40 %)
#pragma once

#include <string>
#include <vector>

#include "apps/paper/defence.h"
#include "apps/paper/defence_tables.h"

namespace caltrop {

class RunFolder;

bool is_defence_figure(int number);
bool needs_vote(int number);
std::vector<std::string> datasets_of_figure(int number);

// Draws the figure of this study, one or several pictures, with CSV and JSON of its values; the files to open.
// Nothing where the figure is about another data set.
std::vector<std::string> write_defence_figure(const RunFolder& folder, int number, const DefenceStudy& study);
// Beside the paper's: by size, how many attacked images fool the undefended network and how many are detected.
std::vector<std::string> write_size_figures(const RunFolder& folder, const DefenceStudy& study,
                                            const std::vector<SizeScore>& scores);

}  // namespace caltrop
