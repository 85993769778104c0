#include "apps/paper/defence_tables.h"

#include <algorithm>

#include "apps/paper/defence_numbers.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

const std::vector<std::pair<std::string, std::string>> kDetection = {{"accuracy", "accuracy"},
                                                                     {"f1", "F1"},
                                                                     {"detection_accuracy", "detection acc."},
                                                                     {"detection_f1", "its F1"},
                                                                     {"detection_rate", "detected"},
                                                                     {"fooling_detected", "of fooling"},
                                                                     {"wrong", "wrong class"},
                                                                     {"false_alarms", "false alarms"},
                                                                     {"clean_accuracy", "clean accuracy"}};

void add_value(std::vector<Column>& columns, const std::string& key, const std::string& title) {
  columns.push_back({key, title, Kind::percent});
  columns.push_back({key + "_sd", "±", Kind::deviation});
}
void add_value(std::vector<Cell>& row, const std::optional<MeanAndDeviation>& value) {
  row.push_back(value ? Cell(value->mean) : Cell());
  row.push_back(value ? cell_of(value->deviation) : Cell());
}

std::string stage_of(double cycle) {
  return fmt::format("cycle {:g} %", cycle);
}

// Ours beside the paper's, then what belongs to it: detection under this attack, images that fool the undefended
// network, wrong classes.
std::vector<Column> score_columns(std::vector<Column> columns) {
  columns.push_back({"attack", "attack"});
  for (const auto& [key, title] : {std::pair{"f1", "F1"}, std::pair{"accuracy", "accuracy"}}) {
    add_value(columns, key, title);
    columns.push_back({std::string(key) + "_paper", "paper", Kind::percent});
  }
  add_value(columns, "detection_accuracy", "detection acc.");
  add_value(columns, "detection_f1", "its F1");
  add_value(columns, "recall", "detected");
  add_value(columns, "fooling_recall", "of fooling");
  add_value(columns, "wrong", "wrong class");
  return columns;
}
void add_scores(std::vector<Cell>& row, const std::vector<Json>& runs, const Match& match,
                const PrintedScore& printed) {
  add_value(row, over_runs(runs, "attacks", match, "f1"));
  row.emplace_back(printed.f1);
  add_value(row, over_runs(runs, "attacks", match, "accuracy"));
  row.emplace_back(printed.accuracy);
  for (const char* field : {"detection_accuracy", "detection_f1", "recall", "fooling_recall", "wrong"})
    add_value(row, over_runs(runs, "attacks", match, field));
}

Match match_of(const std::string& model, const std::string& stage, const std::string& attack) {
  return {{"model", model}, {"stage", stage}, {"test", "exact"}, {"attack", attack}};
}

std::vector<Column> layout_columns(std::vector<Column> columns) {
  for (const std::string& attack : kPaperAttacks) {
    columns.push_back({attack + "_f1", attack + " F1"});
    columns.push_back({attack + "_accuracy", attack + " acc."});
  }
  return columns;
}
void add_layout(std::vector<Cell>& row, const std::vector<Json>& runs, const Match& match,
                const PrintedScore& printed) {
  for (const auto& [field, number] : {std::pair{"f1", printed.f1}, std::pair{"accuracy", printed.accuracy}}) {
    row.emplace_back(
        fmt::format("{} ({:.2f})", in_percent(over_runs(runs, "attacks", match, field)), 100 * number));
  }
}

}  // namespace

std::optional<MeanAndDeviation> over_runs(const std::vector<Json>& runs, const std::string& table,
                                          const Match& match, const std::string& field) {
  std::vector<double> values;
  for (const Json& run : runs) {
    if (!run.contains(table)) return std::nullopt;
    for (const Json& row : run.at(table)) {
      const bool fits = std::all_of(match.begin(), match.end(), [&](const auto& condition) {
        return row.contains(condition.first) && row.at(condition.first) == condition.second;
      });
      if (!fits) continue;
      if (!row.contains(field) || !row.at(field).is_number()) return std::nullopt;
      values.push_back(row.at(field).get<double>());
      break;
    }
  }
  if (values.empty() || values.size() != runs.size()) return std::nullopt;
  return over_seeds(values);
}

std::string in_percent(const std::optional<MeanAndDeviation>& value) {
  if (!value) return "-";
  const std::string mean = fmt::format("{:.2f}", 100 * value->mean);
  return value->deviation ? fmt::format("{} ± {:.2f}", mean, 100 * *value->deviation) : mean;
}

Table vote_scores(const std::vector<DefenceStudy>& studies) {
  Table table(score_columns({{"dataset", "data"}}));
  for (const DefenceStudy& study : studies) {
    for (const std::string& attack : kPaperAttacks) {
      std::vector<Cell> row = {study.dataset, attack};
      add_scores(row, study.runs, match_of("vote", "bootstrap", attack), printed_vote(study.dataset, attack));
      table.row(std::move(row));
    }
  }
  return table;
}

Table network_scores(const DefenceStudy& study) {
  Table table(score_columns({{"dataset", "data"}, {"model", "model"}, {"cycle", "cycle"}}));
  for (const std::string& model : kPaperMembers) {
    for (size_t c = 0; c < kPaperCycles.size(); ++c) {
      for (const std::string& attack : kPaperAttacks) {
        std::vector<Cell> row = {study.dataset, model, stage_of(kPaperCycles[c]), attack};
        add_scores(row, study.runs, match_of(model, stage_of(kPaperCycles[c]), attack),
                   printed_network(study.dataset, model, c, attack));
        table.row(std::move(row));
      }
    }
  }
  return table;
}

Table vote_layout(const std::vector<DefenceStudy>& studies) {
  Table table(layout_columns({{"dataset", "data"}}));
  for (const DefenceStudy& study : studies) {
    std::vector<Cell> row = {study.dataset};
    for (const std::string& attack : kPaperAttacks)
      add_layout(row, study.runs, match_of("vote", "bootstrap", attack), printed_vote(study.dataset, attack));
    table.row(std::move(row));
  }
  return table;
}

Table network_layout(const DefenceStudy& study) {
  Table table(layout_columns({{"model", "model"}, {"cycle", "cycle"}}));
  for (const std::string& model : kPaperMembers) {
    for (size_t c = 0; c < kPaperCycles.size(); ++c) {
      std::vector<Cell> row = {model, fmt::format("{} ({:g} %)", c + 1, kPaperCycles[c])};
      for (const std::string& attack : kPaperAttacks) {
        add_layout(row, study.runs, match_of(model, stage_of(kPaperCycles[c]), attack),
                   printed_network(study.dataset, model, c, attack));
      }
      table.row(std::move(row));
    }
  }
  return table;
}

Table detection_scores(const DefenceStudy& study) {
  std::vector<Column> columns = {
      {"dataset", "data"}, {"model", "model"}, {"stage", "stage"}, {"test", "test"}};
  for (const auto& [key, title] : kDetection) add_value(columns, key, title);
  Table table(columns);
  for (const Json& first : study.runs[0].at("summary")) {
    const Match match = {
        {"model", first.at("model")}, {"stage", first.at("stage")}, {"test", first.at("test")}};
    std::vector<Cell> row = {study.dataset, first.at("model").get<std::string>(),
                             first.at("stage").get<std::string>(), first.at("test").get<std::string>()};
    for (const auto& [key, title] : kDetection) add_value(row, over_runs(study.runs, "summary", match, key));
    table.row(std::move(row));
  }
  return table;
}

Subject subject_of(const DefenceStudy& study) {
  if (study.rounded.empty()) return {kPaperMembers.back(), "cycle 40 %"};
  return {"vote", "bootstrap"};
}

Table size_scores(const DefenceStudy& study) {
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
  const Subject subject = subject_of(study);
  for (const Json& first : study.runs[0].at("sizes")) {
    if (first.at("model") != subject.model || first.at("stage") != subject.stage) continue;
    Match match;
    for (const char* key : {"model", "stage", "test", "attack", "norm", "size"}) match[key] = first.at(key);
    std::vector<Cell> row = {study.dataset};
    for (const char* key : {"model", "stage", "test", "attack", "norm"})
      row.emplace_back(first.at(key).get<std::string>());
    row.push_back(first.at("size").is_number() ? Cell(first.at("size").get<double>()) : Cell());
    add_value(row, over_runs(study.runs, "sizes", match, "fooled"));
    add_value(row, over_runs(study.runs, "sizes", match, "recall"));
    table.row(std::move(row));
  }
  return table;
}

}  // namespace caltrop
