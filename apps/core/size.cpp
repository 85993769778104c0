#include "apps/core/size.h"

#include <charconv>
#include <cmath>

namespace caltrop {
namespace {

// CLI11's own numbers may be octal, nan or beyond the range of a double, so that they are read here.
std::optional<double> decimal(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

// A number with its denominator, 1 where none was written.
struct Quotient {
  double over = 0, under = 1;
  bool written = false;

  double value() const { return over / under; }
  Size size() const {
    return {written ? fmt::format("{}/{}", over, under) : fmt::format("{}", over), value()};
  }
};

std::optional<Quotient> quotient(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    const std::optional<double> value = decimal(text);
    return value ? std::optional(Quotient{*value}) : std::nullopt;
  }
  const std::optional<double> over = decimal(text.substr(0, slash)), under = decimal(text.substr(slash + 1));
  if (!over || !under || *under == 0) return std::nullopt;
  return Quotient{*over, *under, true};
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(at, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

// A decimal without the last digits of a sum in double: 0.3 for 0.1 + 0.2.
double tidy(double value) {
  return decimal(fmt::format("{:.12g}", value)).value_or(value);
}

bool add_range(const std::vector<std::string_view>& parts, std::vector<Size>& sizes) {
  const auto first = quotient(parts[0]), last = quotient(parts[1]), step = quotient(parts[2]);
  if (!first || !last || !step) return false;
  const double steps = (last->value() - first->value()) / step->value();
  if (!(steps >= 0) || !(steps < static_cast<double>(kMostSizes))) return false;
  // Of one denominator all sizes are written over it.
  const bool alike = first->written && step->written && first->under == step->under;
  for (int64_t i = 0; static_cast<double>(i) <= steps + 1e-9; ++i) {
    const auto n = static_cast<double>(i);
    sizes.push_back(alike ? Quotient{tidy(first->over + n * step->over), first->under, true}.size()
                          : Quotient{tidy(first->value() + n * step->value())}.size());
  }
  return true;
}

}  // namespace

std::optional<double> parse_number(std::string_view text) {
  const std::optional<Quotient> number = quotient(text);
  return number ? std::optional(number->value()) : std::nullopt;
}

Size size_of(double value) {
  return Quotient{value}.size();
}

Size size_of(float value) {
  const std::string text = fmt::format("{}", value);
  return {text, decimal(text).value_or(static_cast<double>(value))};
}

std::optional<Size> parse_size(std::string_view text) {
  const std::optional<Quotient> number = quotient(text);
  return number ? std::optional(number->size()) : std::nullopt;
}

std::optional<std::vector<Size>> parse_sizes(std::string_view text) {
  std::vector<Size> sizes;
  for (const std::string_view part : split(text, ',')) {
    const std::vector<std::string_view> range = split(part, ':');
    if (range.size() == 3) {
      if (!add_range(range, sizes)) return std::nullopt;
      continue;
    }
    const std::optional<Size> size = parse_size(part);
    if (!size) return std::nullopt;
    sizes.push_back(*size);
  }
  return sizes.size() <= kMostSizes ? std::optional(std::move(sizes)) : std::nullopt;
}

std::string in_words(const Size& size) {
  const std::string used = fmt::format("{}", size.used());
  return used == size.asked ? used : fmt::format("{} ({} in fp32)", size.asked, used);
}

void to_json(Json& json, const Size& size) {
  if (const std::optional<double> value = decimal(size.asked)) {
    json = *value;
  } else {
    json = size.asked;
  }
}

Json fp32_json(float value) {
  return std::isfinite(value) ? Json(*decimal(fmt::format("{}", value))) : Json();
}

}  // namespace caltrop
