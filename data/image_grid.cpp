#include "data/image_grid.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace caltrop {
namespace {

constexpr Colour kNotANumber{255, 0, 255};
constexpr float kGrey = 127.5f;

uint8_t to_byte(float value) {
  return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0f, 255.0f)));
}

// -1 ... 1 to blue ... grey ... red; the other two channels fade, so that strength reads as saturation.
Colour diverging(float value) {
  const float strength = std::min(std::fabs(value), 1.0f);
  const uint8_t main = to_byte(kGrey + kGrey * strength), other = to_byte(kGrey - kGrey * strength);
  return value < 0 ? Colour{other, other, main} : Colour{main, other, other};
}

// Pixel i of an image of 1 or 3 channels, each sample taken through `sample`.
template <typename Value, typename Sample>
Colour pixel(std::span<const Value> values, size_t i, int64_t channels, Sample sample) {
  if (channels == 1) {
    const uint8_t grey = sample(values[i]);
    return {grey, grey, grey};
  }
  return {sample(values[3 * i]), sample(values[3 * i + 1]), sample(values[3 * i + 2])};
}

bool has_nan(std::span<const float> values, size_t i, int64_t channels) {
  const auto samples = values.subspan(i * static_cast<size_t>(channels), static_cast<size_t>(channels));
  return std::any_of(samples.begin(), samples.end(), [](float value) { return std::isnan(value); });
}

}  // namespace

ImageGrid::ImageGrid(int64_t rows, int64_t columns, int64_t height, int64_t width,
                     const ImageGridStyle& style)
    : rows_(rows), columns_(columns), height_(height), width_(width), style_(style) {
  constexpr int64_t kMost = 1 << 13;  // keeps the products below far from overflow
  for (const int64_t extent : {rows, columns, height, width, style.scale}) {
    if (extent < 1 || extent > kMost) fail("[image_grid] expected sizes from 1 to {}, got {}", kMost, extent);
  }
  for (const int64_t extent : {style.margin, style.border}) {
    if (extent < 0 || extent > kMost)
      fail("[image_grid] expected margins from 0 to {}, got {}", kMost, extent);
  }
  sheet_.height = rows * (height * style.scale + 2 * style.border + style.margin) + style.margin;
  sheet_.width = columns * (width * style.scale + 2 * style.border + style.margin) + style.margin;
  sheet_.channels = 3;
  if (sheet_.height > kMaxImagePixels / sheet_.width) {
    fail("[image_grid] expected a sheet of at most {} pixels, got {} x {}", kMaxImagePixels, sheet_.height,
         sheet_.width);
  }
  sheet_.pixels.resize(static_cast<size_t>(sheet_.height * sheet_.width * 3));
  fill(0, 0, sheet_.height, sheet_.width, style.background);
}

void ImageGrid::set(int64_t row, int64_t column, std::span<const uint8_t> pixels,
                    std::optional<Colour> border) {
  const int64_t channels = channels_of(pixels.size());
  std::vector<Colour> colours(static_cast<size_t>(height_ * width_));
  for (size_t i = 0; i < colours.size(); ++i) {
    colours[i] = pixel(pixels, i, channels, [](uint8_t value) { return value; });
  }
  place(row, column, colours, border);
}

void ImageGrid::set(int64_t row, int64_t column, std::span<const float> pixels,
                    std::optional<Colour> border) {
  const int64_t channels = channels_of(pixels.size());
  std::vector<Colour> colours(static_cast<size_t>(height_ * width_), kNotANumber);
  for (size_t i = 0; i < colours.size(); ++i) {
    if (has_nan(pixels, i, channels)) continue;
    colours[i] = pixel(pixels, i, channels, [](float value) { return to_byte(255.0f * value); });
  }
  place(row, column, colours, border);
}

void ImageGrid::set_perturbation(int64_t row, int64_t column, std::span<const float> delta, float limit,
                                 std::optional<Colour> border) {
  const int64_t channels = channels_of(delta.size());
  if (!(limit >= 0)) fail("[image_grid] expected a limit of at least 0, got {}", limit);
  if (limit == 0) {
    for (const float value : delta) {
      if (std::isfinite(value)) limit = std::max(limit, std::fabs(value));
    }
  }
  // Nothing is shown of a perturbation of 0; the quotient stays finite for the smallest that are not.
  const auto scaled = [&](float value) {
    return value == 0 ? 0.0f : value / limit;
  };
  std::vector<Colour> colours(static_cast<size_t>(height_ * width_), kNotANumber);
  for (size_t i = 0; i < colours.size(); ++i) {
    if (has_nan(delta, i, channels)) continue;
    colours[i] = channels == 1 ? diverging(scaled(delta[i])) : pixel(delta, i, channels, [&](float value) {
      return to_byte(kGrey + kGrey * scaled(value));
    });
  }
  place(row, column, colours, border);
}

int64_t ImageGrid::channels_of(size_t values) const {
  const auto area = static_cast<size_t>(height_ * width_);
  if (values != area && values != 3 * area) {
    fail("[image_grid] expected {} x {} x 1 or 3 values, got {}", height_, width_, values);
  }
  return values == area ? 1 : 3;
}

void ImageGrid::place(int64_t row, int64_t column, std::span<const Colour> pixels,
                      std::optional<Colour> border) {
  if (row < 0 || row >= rows_ || column < 0 || column >= columns_) {
    fail("[image_grid] expected a cell within {} x {}, got ({}, {})", rows_, columns_, row, column);
  }
  const int64_t scale = style_.scale, frame = style_.border;
  const int64_t cell_height = height_ * scale + 2 * frame, cell_width = width_ * scale + 2 * frame;
  const int64_t top = style_.margin + row * (cell_height + style_.margin);
  const int64_t left = style_.margin + column * (cell_width + style_.margin);
  fill(top, left, cell_height, cell_width, border.value_or(style_.background));
  for (int64_t y = 0; y < height_; ++y) {
    for (int64_t x = 0; x < width_; ++x) {
      fill(top + frame + y * scale, left + frame + x * scale, scale, scale,
           pixels[static_cast<size_t>(y * width_ + x)]);
    }
  }
}

void ImageGrid::fill(int64_t top, int64_t left, int64_t height, int64_t width, Colour colour) {
  for (int64_t y = top; y < top + height; ++y) {
    uint8_t* target = sheet_.pixels.data() + (y * sheet_.width + left) * 3;
    for (int64_t x = 0; x < width; ++x, target += 3) {
      target[0] = colour.red;
      target[1] = colour.green;
      target[2] = colour.blue;
    }
  }
}

}  // namespace caltrop
