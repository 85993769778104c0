// How digits are written, for digits.cpp: each way is a list of strokes through a few points.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace caltrop {

// In the unit square, x to the right and y down. The curve through the points bends sharply at a corner.
struct StrokePoint {
  float x, y;
  bool corner = false;
};
using Stroke = std::vector<StrokePoint>;
using Glyph = std::vector<Stroke>;

// The ways to write digit 0 ... 9; at least one.
std::span<const Glyph> ways_to_write(int32_t digit);

}  // namespace caltrop
