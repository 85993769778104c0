#include "apps/table.h"

#include <algorithm>
#include <cmath>

#include "apps/text_layout.h"

namespace caltrop {
namespace {

constexpr std::string_view kGap = "  ";

bool fits(const Cell& cell, Column::Kind kind) {
  if (std::holds_alternative<std::monostate>(cell)) return true;
  if (kind == Column::Kind::text) return std::holds_alternative<std::string>(cell);
  if (kind == Column::Kind::count) return std::holds_alternative<int64_t>(cell);
  return std::holds_alternative<double>(cell);
}

std::string quoted(const std::string& text) {
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

void end_line(std::string& page) {
  while (page.ends_with(' ')) page.pop_back();
  page += '\n';
}

}  // namespace

Cell quotient(int64_t part, int64_t whole) {
  return whole > 0 ? Cell(static_cast<double>(part) / static_cast<double>(whole)) : Cell();
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

std::string Table::shown_cell(size_t column, const Cell& cell) const {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* count = std::get_if<int64_t>(&cell)) return grouped(*count);
  const auto* number = std::get_if<double>(&cell);
  if (number == nullptr) return "-";
  if (std::isnan(*number)) return "nan";
  const int digits = columns_[column].digits;
  switch (columns_[column].kind) {
    case Column::Kind::percent:
      return fmt::format("{:.{}f} %", 100 * *number, digits);
    case Column::Kind::general:
      return fmt::format("{:.{}g}", *number, digits);
    default:
      return fmt::format("{:.{}f}", *number, digits);
  }
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = display_width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, display_width(shown_cell(i, row[i])));
    widths.push_back(width);
  }
  std::string page;
  const auto line = [&](const auto& cell) {
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) page += kGap;
      page += padded(cell(i), widths[i], columns_[i].kind == Column::Kind::text);
    }
    end_line(page);
  };
  line([&](size_t i) { return columns_[i].title; });
  line([&](size_t i) { return std::string(widths[i], '-'); });
  for (const auto& row : rows_) line([&](size_t i) { return shown_cell(i, row[i]); });
  return page;
}

std::string Table::csv() const {
  std::string page;
  for (size_t i = 0; i < columns_.size(); ++i) page += (i > 0 ? "," : "") + quoted(columns_[i].key);
  page += '\n';
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) page += ',';
      if (const auto* text = std::get_if<std::string>(&row[i])) page += quoted(*text);
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
