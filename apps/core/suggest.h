// "did you mean": the nearest known word to a mistyped one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace caltrop {

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment) that lead from a to
// b.
size_t edit_distance(std::string_view a, std::string_view b);

// The known word nearest to `word`, or "" where none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

// "; did you mean --epochs?" or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

}  // namespace caltrop
