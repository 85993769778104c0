// One table, four faces: aligned text and Markdown for people, CSV and JSON for programs, from the same rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "apps/core/json.h"

namespace caltrop {

// Absent (an empty field, null), text, a count or a number.
using Cell = std::variant<std::monostate, std::string, int64_t, double>;
// part / whole; absent where there are none.
Cell quotient(int64_t part, int64_t whole);
Cell cell_of(const std::optional<double>& value);

struct Column {
  enum class Kind : uint8_t {
    text,       // to the left
    count,      // whole numbers, to the right, in groups of three digits
    number,     // with `digits` decimals
    percent,    // a fraction, shown to people as a percentage with `digits` decimals
    general,    // `digits` significant digits, an exponent where needed
    deviation,  // the standard deviation of the column before, for people in its cell: 90.47 ± 0.31 %
  };
  std::string key;    // in CSV and JSON: lower case, words joined by _
  std::string title;  // for people
  Kind kind = Kind::text;
  int digits = 2;
};

class Table {
 public:
  // An Error where a deviation follows no number or percentage.
  explicit Table(std::vector<Column> columns);

  // As many cells as columns, each absent or of its column's kind; else an Error.
  void row(std::vector<Cell> cells);
  bool empty() const { return rows_.empty(); }

  std::string text() const;      // title line, rule, rows
  std::string markdown() const;  // the same as a pipe table
  std::string csv() const;       // RFC 4180 with \n; numbers in full precision, percentages as fractions
  Json json() const;             // an array of objects
  // What people see: titles, then the rows; a deviation stands in the cell before it.
  std::vector<std::vector<std::string>> shown() const;

 private:
  std::string shown_cell(const std::vector<Cell>& row, size_t column) const;
  std::vector<size_t> shown_columns() const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace caltrop
