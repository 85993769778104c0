#include "apps/paper/defence_tables.h"

#include <algorithm>

#include "apps/paper/printed.h"
#include "apps/report/table.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

void add_value(std::vector<Column>& columns, const std::string& key, const std::string& title) {
  columns.push_back({key, title, Kind::percent});
  columns.push_back({key + "_sd", "±", Kind::deviation});
}
void add_value(std::vector<Cell>& row, const Mean& value) {
  row.push_back(mean_cell(value));
  row.push_back(cell_of(value ? value->deviation : std::nullopt));
}

// What a row of the paper's tables is about.
struct ScoredRow {
  std::vector<Cell> scores_key, layout_key;
  const DefenceStudy* study;
  Detector who;
  PrintedScore (*printed)(const ScoredRow& row, const std::string& attack);
  size_t cycle = 0;
};

// Ours beside the paper's, then what belongs to it: detection under this attack, images that fool the undefended
// network, wrong classes.
Table scores_of(std::vector<Column> columns, const std::vector<ScoredRow>& rows) {
  columns.push_back({"attack", "attack"});
  for (const Number<UnderAttack>& number : kUnderAttack) {
    add_value(columns, number.key, number.title);
    if (number.value == &UnderAttack::f1 || number.value == &UnderAttack::accuracy)
      columns.push_back({std::string(number.key) + "_paper", "paper", Kind::percent});
  }
  Table table(std::move(columns));
  for (const ScoredRow& row : rows) {
    for (const std::string& attack : kPaperAttacks) {
      const PrintedScore printed = row.printed(row, attack);
      std::vector<Cell> cells = row.scores_key;
      cells.emplace_back(attack);
      for (const Number<UnderAttack>& number : kUnderAttack) {
        add_value(cells, over_runs(row.study->runs, [&](const DefenceRun& run) {
                    return run.under(row.who, attack).*number.value;
                  }));
        if (number.value == &UnderAttack::f1) cells.emplace_back(printed.f1);
        if (number.value == &UnderAttack::accuracy) cells.emplace_back(printed.accuracy);
      }
      table.row(std::move(cells));
    }
  }
  return table;
}

Table layout_of(std::vector<Column> columns, const std::vector<ScoredRow>& rows) {
  for (const std::string& attack : kPaperAttacks) {
    columns.push_back({attack + "_f1", attack + " F1"});
    columns.push_back({attack + "_accuracy", attack + " acc."});
  }
  Table table(std::move(columns));
  for (const ScoredRow& row : rows) {
    std::vector<Cell> cells = row.layout_key;
    for (const std::string& attack : kPaperAttacks) {
      const PrintedScore printed = row.printed(row, attack);
      const auto add = [&](std::optional<double> UnderAttack::*value, double paper) {
        const Mean ours = over_runs(row.study->runs,
                                    [&](const DefenceRun& run) { return run.under(row.who, attack).*value; });
        cells.emplace_back(fmt::format("{} ({:.2f})", in_percent(ours), 100 * paper));
      };
      add(&UnderAttack::f1, printed.f1);
      add(&UnderAttack::accuracy, printed.accuracy);
    }
    table.row(std::move(cells));
  }
  return table;
}

}  // namespace

std::string in_percent(const Mean& value) {
  if (!value) return "-";
  const std::string mean = fmt::format("{:.2f}", 100 * value->mean);
  return value->deviation ? fmt::format("{} ± {:.2f}", mean, 100 * *value->deviation) : mean;
}

ScoreTables vote_tables(const std::vector<DefenceStudy>& studies) {
  std::vector<ScoredRow> rows;
  for (const DefenceStudy& study : studies) {
    rows.push_back({{study.dataset},
                    {study.dataset},
                    &study,
                    {kVote, kBootstrap, kExact},
                    [](const ScoredRow& row, const std::string& attack) {
                      return printed_vote(row.study->dataset, attack);
                    }});
  }
  return {scores_of({{"dataset", "data"}}, rows), layout_of({{"dataset", "data"}}, rows)};
}

ScoreTables network_tables(const DefenceStudy& study) {
  std::vector<ScoredRow> rows;
  for (const std::string& model : kPaperMembers) {
    for (size_t c = 0; c < kPaperCycles.size(); ++c) {
      const std::string stage = stage_of(kPaperCycles[c]);
      rows.push_back({{study.dataset, model, stage},
                      {model, fmt::format("{} ({:g} %)", c + 1, kPaperCycles[c])},
                      &study,
                      {model, stage, kExact},
                      [](const ScoredRow& row, const std::string& attack) {
                        return printed_network(row.study->dataset, row.who.model, row.cycle, attack);
                      },
                      c});
    }
  }
  return {scores_of({{"dataset", "data"}, {"model", "model"}, {"cycle", "cycle"}}, rows),
          layout_of({{"model", "model"}, {"cycle", "cycle"}}, rows)};
}

Table detection_table(const DefenceStudy& study) {
  std::vector<Column> columns = {
      {"dataset", "data"}, {"model", "model"}, {"stage", "stage"}, {"test", "test"}};
  for (const Number<Detection>& number : kDetection) add_value(columns, number.key, number.title);
  Table table(columns);
  for (const Detection& first : study.runs[0].summary) {
    std::vector<Cell> row = {study.dataset, first.who.model, first.who.stage, first.who.test};
    for (const Number<Detection>& number : kDetection) {
      add_value(row, over_runs(study.runs, [&](const DefenceRun& run) {
                  return run.detection(first.who).*number.value;
                }));
    }
    table.row(std::move(row));
  }
  return table;
}

Detector subject_of(const DefenceStudy& study) {
  if (study.rounded.empty()) return {kPaperMembers.back(), kThirdCycle, ""};
  return {kVote, kBootstrap, ""};
}

std::vector<SizeScore> size_scores(const DefenceStudy& study) {
  const Detector subject = subject_of(study);
  std::vector<SizeScore> scores;
  for (const AtSize& first : study.runs[0].sizes) {
    if (first.who.model != subject.model || first.who.stage != subject.stage) continue;
    // An attack without sizes may come to stand at other ones with another seed.
    const auto mean = [&](std::optional<double> AtSize::*value) {
      return over_runs(study.runs, [&](const DefenceRun& run) {
        const auto row = std::find_if(run.sizes.begin(), run.sizes.end(),
                                      [&](const AtSize& other) { return other.same_place(first); });
        return row == run.sizes.end() ? std::nullopt : (*row).*value;
      });
    };
    scores.push_back({first, mean(&AtSize::fooled), mean(&AtSize::recall)});
  }
  return scores;
}

Table size_table(const DefenceStudy& study, const std::vector<SizeScore>& scores) {
  std::vector<Column> columns = {{"dataset", "data"},
                                 {"model", "model"},
                                 {"stage", "stage"},
                                 {"test", "test"},
                                 {"attack", "attack"},
                                 {"norm", "norm"},
                                 {"size", "size", Kind::general, 4}};
  add_value(columns, "fooled", "fool the undefended");
  add_value(columns, "recall", "detected");
  Table table(columns);
  for (const auto& [place, fooled, recall] : scores) {
    std::vector<Cell> row = {study.dataset, place.who.model, place.who.stage,    place.who.test,
                             place.attack,  place.norm,      cell_of(place.size)};
    add_value(row, fooled);
    add_value(row, recall);
    table.row(std::move(row));
  }
  return table;
}

}  // namespace caltrop
