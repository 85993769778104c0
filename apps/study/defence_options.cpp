#include "apps/study/defence_options.h"

#include <type_traits>

namespace caltrop {
namespace {

// The flag of an option.
void add_flag(Flags& flags, const DefenceOption& o) {
  const Range range{.low = o.low, .high = o.high, .open_low = o.open_low};
  std::visit(
      [&](auto* value) {
        using T = std::remove_pointer_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>) {
          flags.toggle(o.name, *value, o.what);
        } else if constexpr (std::is_same_v<T, int64_t>) {
          flags.integer(o.name, *value, static_cast<int64_t>(o.low), static_cast<int64_t>(o.high),
                        o.value_name, o.what);
        } else if constexpr (std::is_same_v<T, std::optional<int64_t>>) {
          flags.integer(o.name, *value, static_cast<int64_t>(o.low), static_cast<int64_t>(o.high),
                        o.value_name, o.what, o.otherwise);
        } else if constexpr (std::is_same_v<T, double>) {
          flags.number(o.name, *value, range, o.value_name, o.what);
        } else if constexpr (std::is_same_v<T, std::optional<double>>) {
          flags.number(o.name, *value, range, o.value_name, o.what, o.otherwise);
        } else if constexpr (std::is_same_v<T, std::vector<double>>) {
          flags.numbers(o.name, *value, range, o.value_name, o.what, o.otherwise);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          flags.list(o.name, *value, o.choices, o.value_name, o.what, o.otherwise);
        } else if (o.choices.empty()) {
          flags.text(o.name, *value, o.value_name, o.what, o.otherwise);
        } else {
          flags.choice(o.name, *value, o.choices, o.what);
        }
      },
      o.value);
}

}  // namespace

void add_defence_options(Flags& flags, const std::vector<DefenceOption>& options) {
  for (const DefenceOption& option : options) add_flag(flags, option);
}

}  // namespace caltrop
