#include "apps/study/comparison.h"

namespace caltrop {
namespace {

std::vector<Column> all_columns(std::vector<Column> columns, const std::vector<ComparedColumn>& numbers) {
  for (const auto& [key, title, printed] : numbers) {
    columns.push_back({key, title, Column::Kind::percent});
    columns.push_back({key + "_sd", "±", Column::Kind::deviation});
    if (printed) columns.push_back({key + "_paper", "paper", Column::Kind::percent});
  }
  return columns;
}

}  // namespace

std::string in_percent(const Mean& value) {
  if (!value) return "-";
  const std::string mean = fmt::format("{:.2f}", 100 * value->mean);
  return value->deviation ? fmt::format("{} ± {:.2f}", mean, 100 * *value->deviation) : mean;
}

ComparedTable::ComparedTable(std::vector<Column> keys, std::vector<ComparedColumn> columns)
    : columns_(std::move(columns)), table_(all_columns(std::move(keys), columns_)) {}

void ComparedTable::row(std::vector<Cell> keys, const std::vector<Compared>& values) {
  for (size_t k = 0; k < columns_.size(); ++k) {
    const auto& [ours, printed] = values.at(k);
    keys.push_back(mean_cell(ours));
    keys.push_back(cell_of(ours ? ours->deviation : std::nullopt));
    if (columns_[k].printed) keys.push_back(cell_of(printed));
  }
  table_.row(std::move(keys));
}

ScoreTables score_tables(std::vector<Column> scores_keys, std::vector<Column> layout_keys,
                         const std::vector<std::string>& attacks, const std::vector<ScoreRow>& rows) {
  const auto printed_of = [](const PrintedScore& score, Share value) -> std::optional<double> {
    if (value == &Judged::f1) return score.f1;
    if (value == &Judged::accuracy) return score.accuracy;
    return std::nullopt;
  };
  std::vector<ComparedColumn> numbers;
  for (const Number& number : kUnderAttack)
    numbers.push_back({number.key, number.title, printed_of({}, number.value).has_value()});
  scores_keys.push_back({"attack", "attack"});
  for (const std::string& attack : attacks) {
    layout_keys.push_back({attack + "_f1", attack + " F1"});
    layout_keys.push_back({attack + "_accuracy", attack + " acc."});
  }
  ComparedTable scores(std::move(scores_keys), numbers);
  Table layout(std::move(layout_keys));
  for (const ScoreRow& row : rows) {
    std::vector<Cell> laid_out = row.layout_key;
    for (const std::string& attack : attacks) {
      std::vector<Cell> keys = row.scores_key;
      keys.emplace_back(attack);
      std::vector<Compared> values;
      for (const Number& number : kUnderAttack) {
        const Mean ours = over_runs(
            row.runs, [&](const DefenceRun& run) { return run.judged(row.who, attack).*number.value; });
        const std::optional<double> printed = printed_of(row.printed.at(attack), number.value);
        values.push_back({ours, printed});
        if (printed) laid_out.emplace_back(fmt::format("{} ({:.2f})", in_percent(ours), 100 * *printed));
      }
      scores.row(std::move(keys), values);
    }
    layout.row(std::move(laid_out));
  }
  return {scores.table(), layout};
}

Measured measured(const MeanAndDeviation& value, int64_t images) {
  if (value.n > 1) return {value.mean, {value.lowest, value.highest}};
  return images > 0 ? measured_share(value.mean, images) : value.mean;
}

std::string interval_words(size_t seeds) {
  return seeds > 1 ? fmt::format("lines: the lowest and highest of {} seeds", seeds)
                   : "one seed, with 95 % intervals of shares";
}

}  // namespace caltrop
