// The tables of the paper's defence, its numbers beside ours: means and standard deviations over seeds.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/paper/defence.h"
#include "apps/report/table.h"
#include "apps/study/study.h"

namespace caltrop {

// The rows of a run's table in which the columns `match` have these values.
using Match = std::map<std::string, Json>;
// Over the runs of a study: `field` of the one row that matches. Nothing where a run has no such row or value.
std::optional<MeanAndDeviation> over_runs(const std::vector<Json>& runs, const std::string& table,
                                          const Match& match, const std::string& field);
// "78.84 ± 1.75", in per cent; without the deviation for one run; "-" for nothing.
std::string in_percent(const std::optional<MeanAndDeviation>& value);

// Table 3 of all studies, Tables 5 and 6 of one: one row for each number, with what is beside it.
Table vote_scores(const std::vector<DefenceStudy>& studies);
Table network_scores(const DefenceStudy& study);
// The same in the paper's layout: ours (the paper's).
Table vote_layout(const std::vector<DefenceStudy>& studies);
Table network_layout(const DefenceStudy& study);
// Of every network and stage: over eleven classes, and as a detector.
Table detection_scores(const DefenceStudy& study);
// Detection by attack, norm and size, of the vote (without it of the last network after the 40 % cycle).
Table size_scores(const DefenceStudy& study);

struct Subject {
  std::string model, stage;
};
Subject subject_of(const DefenceStudy& study);  // whom size_scores is about

}  // namespace caltrop
