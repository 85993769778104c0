// The tables of the paper's defence, its numbers beside ours: means and standard deviations over seeds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/paper/defence.h"
#include "apps/report/table.h"

namespace caltrop {

using Mean = std::optional<MeanAndDeviation>;
inline Cell mean_cell(const Mean& value) {
  return cell_of(value ? std::optional(value->mean) : std::nullopt);
}

// "78.84 ± 1.75", in per cent; without the deviation for one run; "-" for nothing.
std::string in_percent(const Mean& value);

// Table 3 of all studies, Tables 5 and 6 of one: `scores` has one row for each number, with what is beside it; `layout`
// is the paper's, each number with the paper's own in brackets.
struct ScoreTables {
  Table scores, layout;
};
ScoreTables vote_tables(const std::vector<DefenceStudy>& studies);
ScoreTables network_tables(const DefenceStudy& study);
// Of every network and stage: over eleven classes, and as a detector.
Table detection_table(const DefenceStudy& study);

// Detection by attack, norm and size, of the vote (without it of the last network after the 40 % cycle).
struct SizeScore {
  AtSize place;
  Mean fooled, recall;
};
Detector subject_of(const DefenceStudy& study);
std::vector<SizeScore> size_scores(const DefenceStudy& study);
Table size_table(const DefenceStudy& study, const std::vector<SizeScore>& scores);

}  // namespace caltrop
