// Numbers over seeds beside those that a paper prints, as tables and as marks of a figure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/report/figure.h"
#include "apps/report/table.h"
#include "defense/results.h"
#include "engine/metrics.h"

namespace caltrop {

inline Cell mean_cell(const Mean& value) {
  return cell_of(value ? std::optional(value->mean) : std::nullopt);
}
// "78.84 ± 1.75", in per cent; without the deviation for one run; "-" for nothing.
std::string in_percent(const Mean& value);

struct Compared {
  Mean ours;
  std::optional<double> printed = {};
};
struct ComparedColumn {
  std::string key, title;
  bool printed = false;  // a paper has numbers for it
};

// Rows of such numbers: behind the key columns KEY, KEY_sd and, where a paper prints it, KEY_paper for each.
class ComparedTable {
 public:
  ComparedTable(std::vector<Column> keys, std::vector<ComparedColumn> columns);
  void row(std::vector<Cell> keys, const std::vector<Compared>& values);
  const Table& table() const { return table_; }

 private:
  std::vector<ComparedColumn> columns_;
  Table table_;
};

// A paper's table of detectors under attacks, each cell F1 and accuracy. Of `scores` there is one row for each detector
// and attack, with what else is known of it; `layout` is the paper's table, its own numbers in brackets.
struct PrintedScore {
  double f1 = 0, accuracy = 0;
};
using PrintedRow = std::map<std::string, PrintedScore>;  // by attack
struct ScoreRow {
  std::vector<Cell> scores_key, layout_key;
  const std::vector<DefenceRun>& runs;
  Detector who;
  PrintedRow printed;
};
struct ScoreTables {
  Table scores, layout;
};
ScoreTables score_tables(std::vector<Column> scores_keys, std::vector<Column> layout_keys,
                         const std::vector<std::string>& attacks, const std::vector<ScoreRow>& rows);

// Over seeds the lowest and highest; of one seed the interval of a share of `images` (0: it is none).
Measured measured(const MeanAndDeviation& value, int64_t images);
// What those lines are, for a figure's note.
std::string interval_words(size_t seeds);

}  // namespace caltrop
