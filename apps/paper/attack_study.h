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

class StudyReport;

// Nothing where the scale leaves this network out.
std::optional<StudyArm> study_arm(std::string_view scale, const std::string& model);
int64_t images_measured(std::string_view scale, const std::string& model);  // behind the similarity table

// GMA's 30 sizes under both norms, then the big attacks; CW with fewer steps but at `paper`.
std::vector<StudyAttack> study_attacks(std::string_view scale, const std::string& dataset);

// The undefended network of the defence's study.
StudyCell target_cell(const std::string& dataset, const std::string& data_dir, const std::string& scale,
                      int64_t seed);

// The tables "accuracy" and "claims"; for each network the files STEM-gma-NORM and the curves STEM-sizes; and those of
// Figures 7 to 9 that are asked for.
void show_attacks(const std::vector<CellResult>& results, const std::vector<PaperItem>& figures,
                  const std::string& scale, const StudyPlace& place, StudyReport& report);

}  // namespace caltrop
