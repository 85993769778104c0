#include "apps/report/table.h"

#include <algorithm>
#include <cmath>

#include "apps/core/text_layout.h"

namespace caltrop {
namespace {

constexpr std::string_view kGap = "  ";

bool fits(const Cell& cell, Column::Kind kind) {
  if (std::holds_alternative<std::monostate>(cell)) return true;
  if (kind == Column::Kind::text) return std::holds_alternative<std::string>(cell);
  if (kind == Column::Kind::count) return std::holds_alternative<int64_t>(cell);
  return std::holds_alternative<double>(cell);
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + "\"";
}

std::string padded(const std::string& text, size_t width, bool left) {
  const std::string space(width - std::min(width, display_width(text)), ' ');
  return left ? text + space : space + text;
}

// What rounds to zero has no sign.
std::string fixed(double value, int digits) {
  std::string text = fmt::format("{:.{}f}", value, digits);
  if (text.starts_with('-') && text.find_first_not_of("-0.") == std::string::npos) text.erase(0, 1);
  return text;
}

void end_line(std::string& page) {
  while (page.ends_with(' ')) page.pop_back();
  page += '\n';
}

}  // namespace

Cell quotient(int64_t part, int64_t whole) {
  return whole > 0 ? Cell(static_cast<double>(part) / static_cast<double>(whole)) : Cell();
}

Cell cell_of(const std::optional<double>& value) {
  return value ? Cell(*value) : Cell();
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].kind != Column::Kind::deviation) continue;
    const bool follows = i > 0 && (columns_[i - 1].kind == Column::Kind::percent ||
                                   columns_[i - 1].kind == Column::Kind::number);
    if (!follows) fail("[table] column '{}' is a deviation of nothing", columns_[i].key);
  }
}

void Table::row(std::vector<Cell> cells) {
  if (cells.size() != columns_.size()) {
    fail("[table] expected {} cells in a row, got {}", columns_.size(), cells.size());
  }
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!fits(cells[i], columns_[i].kind))
      fail("[table] column '{}' got a value of another kind", columns_[i].key);
  }
  rows_.push_back(std::move(cells));
}

std::vector<size_t> Table::shown_columns() const {
  std::vector<size_t> columns;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].kind != Column::Kind::deviation) columns.push_back(i);
  }
  return columns;
}

std::string Table::shown_cell(const std::vector<Cell>& row, size_t column) const {
  if (const auto* text = std::get_if<std::string>(&row[column])) return *text;
  if (const auto* count = std::get_if<int64_t>(&row[column])) return grouped(*count);
  const auto* number = std::get_if<double>(&row[column]);
  if (number == nullptr) return "-";
  if (std::isnan(*number)) return "nan";
  const Column& shown = columns_[column];
  if (shown.kind == Column::Kind::general) return fmt::format("{:.{}g}", *number, shown.digits);
  const bool percent = shown.kind == Column::Kind::percent;
  const double unit = percent ? 100 : 1;
  std::string cell = fixed(unit * *number, shown.digits);
  if (column + 1 < columns_.size() && columns_[column + 1].kind == Column::Kind::deviation) {
    if (const auto* deviation = std::get_if<double>(&row[column + 1]))
      cell += " ± " + fixed(unit * *deviation, shown.digits);
  }
  return percent ? cell + " %" : cell;
}

std::vector<std::vector<std::string>> Table::shown() const {
  std::vector<std::vector<std::string>> lines(1 + rows_.size());
  for (const size_t i : shown_columns()) {
    lines[0].push_back(columns_[i].title);
    for (size_t r = 0; r < rows_.size(); ++r) lines[1 + r].push_back(shown_cell(rows_[r], i));
  }
  return lines;
}

std::string Table::text() const {
  std::vector<std::vector<std::string>> lines = shown();
  const std::vector<size_t> columns = shown_columns();
  std::vector<size_t> widths(columns.size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], display_width(line[i]));
  }
  std::vector<std::string> rule;
  for (const size_t width : widths) rule.emplace_back(width, '-');
  lines.insert(lines.begin() + 1, std::move(rule));
  std::string page;
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      if (i > 0) page += kGap;
      page += padded(line[i], widths[i], columns_[columns[i]].kind == Column::Kind::text);
    }
    end_line(page);
  }
  return page;
}

std::string Table::markdown() const {
  std::vector<std::vector<std::string>> lines = shown();
  std::vector<std::string> rule;
  for (const size_t i : shown_columns())
    rule.emplace_back(columns_[i].kind == Column::Kind::text ? "---" : "---:");
  lines.insert(lines.begin() + 1, std::move(rule));
  std::string page;
  for (const auto& line : lines) {
    for (const std::string& cell : line) {
      page += "| ";
      for (const char c : cell) page += c == '|' ? "\\|" : std::string(1, c);
      page += ' ';
    }
    page += "|\n";
  }
  return page;
}

std::string Table::csv() const {
  std::string page;
  for (size_t i = 0; i < columns_.size(); ++i) page += (i > 0 ? "," : "") + csv_field(columns_[i].key);
  page += '\n';
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) page += ',';
      if (const auto* text = std::get_if<std::string>(&row[i])) page += csv_field(*text);
      if (const auto* count = std::get_if<int64_t>(&row[i])) page += fmt::format("{}", *count);
      if (const auto* number = std::get_if<double>(&row[i])) page += fmt::format("{}", *number);
    }
    page += '\n';
  }
  return page;
}

Json Table::json() const {
  Json result = Json::array();
  for (const auto& row : rows_) {
    Json object = Json::object();
    for (size_t i = 0; i < row.size(); ++i) {
      Json& value = object[columns_[i].key];
      if (const auto* text = std::get_if<std::string>(&row[i])) value = *text;
      if (const auto* count = std::get_if<int64_t>(&row[i])) value = *count;
      if (const auto* number = std::get_if<double>(&row[i])) value = *number;
    }
    result.push_back(std::move(object));
  }
  return result;
}

}  // namespace caltrop
