#include "defense/detection.h"

#include <algorithm>
#include <cmath>

namespace caltrop {

float rounded_to_8_bits(float value) {
  return static_cast<float>(to_byte(value)) / 255.0f;
}

bool off_grid(std::span<const float> image) {
  return std::any_of(image.begin(), image.end(), [](float value) {
    const float level = std::round(value * 255.0f);
    return !(value == level / 255.0f && value >= 0.0f && value <= 1.0f);  // NaN is off it
  });
}

std::vector<bool> off_grid(const ImageSource& images) {
  constexpr int64_t kChunk = 256;
  const auto size = static_cast<size_t>(images.image_size());
  std::vector<bool> found;
  for (int64_t begin = 0; begin < images.count(); begin += kChunk) {
    const std::vector<int64_t> rows = row_range(begin, std::min(images.count(), begin + kChunk));
    const std::vector<float> pixels = images.pixels(rows).to_host();
    for (size_t k = 0; k < rows.size(); ++k)
      found.push_back(off_grid(std::span(pixels).subspan(k * size, size)));
  }
  return found;
}

}  // namespace caltrop
