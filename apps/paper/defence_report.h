// What the paper claims of its defence, against the controls; and the report that people read.
#pragma once

#include <string>
#include <vector>

#include "apps/paper/defence.h"
#include "apps/report/table.h"
#include "apps/study/study.h"

namespace caltrop {

struct DefenceClaim {
  std::string claim;  // a clause: "the vote finds what one comparison per pixel does not"
  std::string paper;  // the paper's number or words; empty where it has none
  std::string ours;   // numbers, as a clause
  // How far the numbers lie on the claim's side of its threshold, over seeds. Where 0 lies within the mean's 95 %
  // interval (Student's t), the seeds do not decide; of one seed no interval is known, and the sign decides.
  MeanAndDeviation margin;
  size_t seeds = 0;
  std::string verdict() const;  // "survives", "does not survive", "undecided"
};
// Of a study with the vote; claims whose control was not run are left out.
std::vector<DefenceClaim> defence_claims(const DefenceStudy& study);
Table claims_table(const std::vector<DefenceStudy>& studies);
// Each control's numbers over seeds: what is attacked or left out, norm, size, value.
Table controls_table(const DefenceStudy& study);

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
// Runs the studies of needed_datasets(), one at least, writes tables, figures and report.md; {"tables", "claims", "controls", "figures", "skipped"}.
Json run_defence_paper(const DefencePaper& paper, const RunFolder& folder, CommonOptions& common,
                       Backend& backend, const Flags& flags, Console& console);

}  // namespace caltrop
