// The part of `caltrop paper gma-mia` that is about the defence: studies, tables, figures, and the report that people
// read.
#pragma once

#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/paper/defence.h"

namespace caltrop {

// The opening of report.md: how it was measured, and a paragraph that says what survives.
std::string report_opening(const std::vector<DefenceStudy>& studies, const std::string& scale);

// Runs the studies of the items' data sets, writes tables, figures and report.md; {the tables by name, "figures",
// "report", "skipped"}.
Json run_defence_paper(const std::vector<PaperItem>& items, const DefenceStudyOptions& study,
                       CommonOptions& common, const StudyPlace& place, const Flags& flags);

}  // namespace caltrop
