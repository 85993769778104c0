// Foreign text (tensor names, flags, file contents) made fit for one line of an error message, and guesses at
// what it was meant to be; and numbers for people.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace caltrop {

// `text` with control characters replaced by '?', cut after about `limit` bytes at a UTF-8 boundary.
inline std::string shown(std::string_view text, size_t limit = 80) {
  size_t end = text.size();
  if (end > limit) {
    end = limit;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  }
  std::string line(text.substr(0, end));
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  if (end < text.size()) line += "...";
  return line;
}

// "1,234,567".
std::string grouped(int64_t value);

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment) that lead from a to
// b.
size_t edit_distance(std::string_view a, std::string_view b);

// The known word nearest to `word`, whatever the case, or "" where none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

// "; did you mean --epochs?" or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

}  // namespace caltrop
