// Laying out text for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text.h"

namespace caltrop {

inline constexpr size_t kPageWidth = 100;  // of a manual page

// `text` in lines of at most `width` characters (a longer word stands alone), each indented and ended by a
// line break. A line break in the text is kept; a line that begins with a space is kept as it is, without
// that space.
std::string wrap(std::string_view text, size_t width, size_t indent);

// Columns that a UTF-8 text takes on a terminal, one for each code point.
size_t display_width(std::string_view text);

// "1 image", "1,234 images".
std::string counted(int64_t count, const std::string& one, const std::string& many);
// Of ASCII letters: "pgd" -> "PGD".
std::string upper(std::string text);
// A fraction: "98.76 %".
std::string percent_text(double share);
// "4.2 s", "3 min 05 s", "1 h 02 min".
std::string duration_text(double seconds);

}  // namespace caltrop
