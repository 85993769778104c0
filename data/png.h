// Image files: PNG and JPEG in, PNG out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace caltrop {

struct Image {
  int64_t height = 0, width = 0, channels = 0;  // channels: 1 grey, 3 colour
  std::vector<uint8_t> pixels;                  // height x width x channels
};

struct ImageInfo {
  int64_t height = 0, width = 0;
  int64_t channels = 0;  // 1 grey, 3 colour
  bool alpha = false;    // has transparency, which reading leaves out
};

inline constexpr int64_t kMaxImagePixels = int64_t{1} << 26;  // 8192 x 8192: larger files are refused

// What a PNG or JPEG holds, from its header; an Error where it is neither, or too large.
ImageInfo read_image_info(const std::filesystem::path& path);

// The whole image, 8 bits for each sample. channels: 1 or 3 to convert to, 0 to keep those of the file.
Image read_image(const std::filesystem::path& path, int64_t channels = 0);

// Smooth interpolation (Mitchell filter to shrink, Catmull-Rom to enlarge; edges repeated).
Image resize(const Image& image, int64_t height, int64_t width);

// The bytes of a PNG file. channels: 1 or 3; pixels: height x width x channels.
std::string encode_png(int64_t height, int64_t width, int64_t channels, std::span<const uint8_t> pixels);
std::string encode_png(const Image& image);

// Writes a PNG whole or not at all.
void write_png(const std::filesystem::path& path, int64_t height, int64_t width, int64_t channels,
               std::span<const uint8_t> pixels);
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace caltrop
