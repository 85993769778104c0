// The attack study of "GMA/MIA 2025", sections 6.1 and 6.2, as data, at a scale that a machine can bear:
//   smoke  Target alone, on a few thousand images: does it run
//   quick  Target on all images, ResNet32 on some
//   paper  the five networks on all images: for a GPU
// and what is shown of it: Figures 7 to 9, accuracy and claims.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/paper/printed.h"
#include "apps/report/table.h"
#include "apps/study/run.h"

namespace caltrop {

// Nothing where the scale leaves this network out.
std::optional<StudyArm> study_arm(std::string_view scale, const std::string& model);
int64_t images_measured(std::string_view scale, const std::string& model);  // behind the similarity table

// GMA's 30 sizes under both norms, then the big attacks; CW with fewer steps but at `paper`.
std::vector<StudyAttack> study_attacks(std::string_view scale, const std::string& dataset);

// The undefended network of the defence's study.
StudyCell target_cell(const std::string& dataset, const std::string& data_dir, const std::string& scale,
                      int64_t seed);

// Each network under each attack and size.
Table accuracy_table(const std::vector<CellResult>& results);
// A claim about GMA is one about its sizes together; how far it holds for single ones is in the last column.
Table attack_claims(const std::vector<CellResult>& results);
// The files of the results of each network: STEM-gma-NORM.csv and .json, and the curves STEM-sizes.
void write_by_size(const RunFolder& folder, const CellResult& result);
// Figures 7, 8: accuracy before and after each attack, one group of bars for each network. Figure 9: success rates, one
// picture for each data set. The files to open; none where no result is about the figure.
std::vector<std::string> write_attack_figure(const RunFolder& folder, const PaperItem& item,
                                             const std::vector<CellResult>& results,
                                             const std::string& scale);

}  // namespace caltrop
