// A sheet of equally large images in rows and columns, for figures such as clean / perturbed / perturbation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "data/png.h"

namespace caltrop {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
};

struct ImageGridStyle {
  int64_t scale = 3;   // screen pixels for one image pixel
  int64_t margin = 4;  // between cells and around the sheet, in screen pixels
  int64_t border = 2;  // width of a cell's frame, in screen pixels; frameless cells leave the room free
  Colour background{255, 255, 255};
};

class ImageGrid {
 public:
  // Cells of height x width image pixels, all empty.
  ImageGrid(int64_t rows, int64_t columns, int64_t height, int64_t width, const ImageGridStyle& style = {});

  // Images: height x width x channels, grey or colour (channels follows from the size), 8 bits or floats in
  // [0,1]. Floats outside are clamped; NaN is shown in magenta, so that it cannot be missed.
  void set(int64_t row, int64_t column, std::span<const uint8_t> pixels, std::optional<Colour> border = {});
  void set(int64_t row, int64_t column, std::span<const float> pixels, std::optional<Colour> border = {});

  // A perturbation, magnified so that +-limit fills the scale: grey where it is 0; otherwise from blue
  // (-limit) to red (+limit) where the image is grey, and around mid-grey in each channel where it has
  // colours. Larger ones are clamped. limit 0: the largest magnitude in this cell.
  void set_perturbation(int64_t row, int64_t column, std::span<const float> delta, float limit = 0,
                        std::optional<Colour> border = {});

  const Image& image() const { return sheet_; }
  void write(const std::filesystem::path& path) const { write_png(path, sheet_); }

 private:
  int64_t channels_of(size_t values) const;
  void place(int64_t row, int64_t column, std::span<const Colour> pixels, std::optional<Colour> border);
  void fill(int64_t top, int64_t left, int64_t height, int64_t width, Colour colour);

  int64_t rows_, columns_, height_, width_;
  ImageGridStyle style_;
  Image sheet_;
};

}  // namespace caltrop
