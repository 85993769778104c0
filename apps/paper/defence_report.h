// The part of `caltrop paper gma-mia` that is about the defence: studies, tables, figures, and the report that people
// read.
#pragma once

#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/paper/defence.h"

namespace caltrop {

// report.md: a paragraph that says what survives, then the parts.
struct ReportPart {
  std::string title, markdown;  // of whole lines
};
std::string report_text(const std::vector<DefenceStudy>& studies, const std::string& scale, bool vote,
                        const std::vector<ReportPart>& parts);

// What `paper gma-mia` is asked for of the defence.
struct DefencePaper {
  std::vector<int> tables, figures;   // of 3, 5, 6 and of 11 to 23
  std::vector<std::string> datasets;  // of these alone
  DefenceStudyOptions study;

  // Those that a table or figure is about.
  std::vector<std::string> needed_datasets() const;
  bool needs_vote() const;
};
// Runs the studies of needed_datasets(), one at least, writes tables, figures and report.md; {"tables", "claims",
// "controls", "figures", "skipped"}.
Json run_defence_paper(const DefencePaper& paper, CommonOptions& common, const StudyPlace& place,
                       const Flags& flags);

}  // namespace caltrop
