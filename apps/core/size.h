// Numbers as people write them: 0.03, 1e-2, 8/255; sizes of perturbations as lists, 0.01,8/255, and ranges,
// first:last:step, whose last size is the largest not beyond the end: 1/255:8/255:1/255; 0.1:0.25:0.1 is 0.1,0.2.
//
// An attack computes in fp32, so a size is two numbers: the one that was asked for, kept as it was written, and
// the one that is used. Files show both.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/core/json.h"

namespace caltrop {

// A decimal or a quotient of two; nothing where the text is another. Infinite or NaN where it says so.
std::optional<double> parse_number(std::string_view text);

struct Size {
  std::string asked;  // "8/255"; decimals in their shortest form: "0.02" for 2e-2
  double value = 0;   // in double
  float used() const { return static_cast<float>(value); }
};
Size size_of(double value);  // "0.02"
Size size_of(float value);   // the shortest decimal that fp32 reads as this value
std::optional<Size> parse_size(std::string_view text);
// Lists and ranges; nothing where a part is no size, a range has no step towards its end or more than
// kMostSizes sizes.
std::optional<std::vector<Size>> parse_sizes(std::string_view text);
inline constexpr size_t kMostSizes = 1000;

// "8/255 (0.03137255 in fp32)"; "0.02" where fp32's shortest decimal is that.
std::string in_words(const Size& size);

// As config.json stores it: a number, or the text of a quotient.
void to_json(Json& json, const Size& size);

// The shortest decimal that fp32 reads as `value`, for JSON: 0.02, not 0.019999999552965164. Not finite: null.
Json fp32_json(float value);

}  // namespace caltrop
