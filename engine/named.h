// Enumerators by their names, which stand in the order of the enumeration.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {

// An Error "unknown WHAT 'x': expected a, b or c" for another name.
template <typename Enum, size_t N>
Enum parse_named(const char* what, std::string_view name, const std::array<const char*, N>& names) {
  std::string known;
  for (size_t k = 0; k < N; ++k) {
    if (name == names[k]) return static_cast<Enum>(k);
    known += std::string(k == 0 ? "" : k + 1 < N ? ", " : " or ") + names[k];
  }
  fail("unknown {} '{}': expected {}", what, shown(name), known);
}

}  // namespace caltrop
