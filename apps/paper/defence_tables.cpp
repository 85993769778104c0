#include "apps/paper/defence_shown.h"

#include "apps/paper/printed.h"
#include "apps/report/table.h"

namespace caltrop {
namespace {

template <typename Numbers>
std::vector<ComparedColumn> columns_of(const Numbers& numbers) {
  std::vector<ComparedColumn> columns;
  for (const Number& number : numbers) columns.push_back({number.key, number.title});
  return columns;
}

}  // namespace

ScoreTables vote_tables(const std::vector<DefenceStudy>& studies) {
  std::vector<ScoreRow> rows;
  for (const DefenceStudy& study : studies) {
    rows.push_back({{study.dataset},
                    {study.dataset},
                    study.runs,
                    {kVote, kBootstrap, kExact},
                    printed_vote(study.dataset)});
  }
  return score_tables({{"dataset", "data"}}, {{"dataset", "data"}}, kPaperAttacks, rows);
}

ScoreTables network_tables(const DefenceStudy& study) {
  std::vector<ScoreRow> rows;
  for (const std::string& model : kPaperMembers) {
    for (size_t c = 0; c < kPaperCycles.size(); ++c) {
      const std::string stage = stage_of(kPaperCycles[c]);
      rows.push_back({{study.dataset, model, stage},
                      {model, fmt::format("{} ({:g} %)", c + 1, kPaperCycles[c])},
                      study.runs,
                      {model, stage, kExact},
                      printed_network(study.dataset, model, c)});
    }
  }
  return score_tables({{"dataset", "data"}, {"model", "model"}, {"cycle", "cycle"}},
                      {{"model", "model"}, {"cycle", "cycle"}}, kPaperAttacks, rows);
}

Table detection_table(const DefenceStudy& study) {
  ComparedTable table({{"dataset", "data"}, {"model", "model"}, {"stage", "stage"}, {"test", "test"}},
                      columns_of(kOfAll));
  for (const Judged& first : study.runs[0].summary) {
    std::vector<Compared> values;
    for (const Number& number : kOfAll) {
      values.push_back({over_runs(
          study.runs, [&](const DefenceRun& run) { return run.judged(first.who).*number.value; })});
    }
    table.row({study.dataset, first.who.model, first.who.stage, first.who.test}, values);
  }
  return table.table();
}

Detector subject_of(const DefenceStudy& study) {
  if (!study.votes()) return {kPaperMembers.back(), kThirdCycle, ""};
  return {kVote, kBootstrap, ""};
}

Table size_table(const DefenceStudy& study, const std::vector<SizeScore>& scores) {
  ComparedTable table({{"dataset", "data"},
                       {"model", "model"},
                       {"stage", "stage"},
                       {"test", "test"},
                       {"attack", "attack"},
                       {"norm", "norm"},
                       {"size", "size", Column::Kind::general, 4}},
                      columns_of(kAtSize));
  for (const auto& [place, fooled, detected] : scores) {
    table.row({study.dataset, place.who.model, place.who.stage, place.who.test, place.attack, place.norm,
               cell_of(place.size)},
              {{fooled}, {detected}});
  }
  return table.table();
}

}  // namespace caltrop
