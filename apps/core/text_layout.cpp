#include "apps/core/text_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

namespace caltrop {

std::string wrap(std::string_view text, size_t width, size_t indent) {
  const std::string margin(indent, ' ');
  std::string page;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == ' ') {
      page += (line.empty() ? "" : margin + line.substr(1)) + "\n";
      continue;
    }
    std::istringstream words(line);
    std::string row;
    for (std::string word; words >> word;) {
      if (!row.empty() && indent + display_width(row) + 1 + display_width(word) > width) {
        page += margin + row + "\n";
        row.clear();
      }
      row += (row.empty() ? "" : " ") + word;
    }
    page += margin + row + "\n";
  }
  return page;
}

size_t display_width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // continuation bytes take no column
  }));
}

std::string counted(int64_t count, const std::string& one, const std::string& many) {
  return fmt::format("{} {}", grouped(count), count == 1 ? one : many);
}

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

std::string percent_text(double share) {
  return fmt::format("{:.2f} %", 100 * share);
}

std::string duration_text(double seconds) {
  if (!(seconds >= 0)) return "?";
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  if (seconds < 60) return fmt::format("{:.0f} s", seconds);
  const auto whole = static_cast<int64_t>(std::lround(std::min(seconds, 1e9)));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace caltrop
