#include "data/png.h"

#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>
#include <stb/stb_image_write.h>

#include <memory>
#include <string>
#include <string_view>

#include "data/file_bytes.h"
#include "engine/atomic_file.h"
#include "engine/error.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

const stbi_uc* stb_bytes(std::span<const std::byte> file) {
  return reinterpret_cast<const stbi_uc*>(file.data());
}

[[noreturn]] void fail_to_decode(const fs::path& path) {
  const char* reason = stbi_failure_reason();
  fail("cannot read {}: not a PNG or JPEG image that can be decoded ({})", path.string(),
       reason != nullptr ? reason : "no reason given");
}

ImageInfo parse_info(std::span<const std::byte> file, const fs::path& path) {
  int width = 0, height = 0, samples = 0;
  if (stbi_info_from_memory(stb_bytes(file), static_cast<int>(file.size()), &width, &height, &samples) == 0) {
    fail_to_decode(path);
  }
  if (width < 1 || height < 1 || int64_t{width} * height > kMaxImagePixels) {
    fail("cannot read {}: expected 1 to {} pixels, found {} x {}", path.string(), kMaxImagePixels, height,
         width);
  }
  return {height, width, samples <= 2 ? 1 : 3, samples == 2 || samples == 4};
}

}  // namespace

ImageInfo read_image_info(const fs::path& path) {
  return parse_info(read_file_bytes(path), path);
}

Image read_image(const fs::path& path, int64_t channels) {
  const std::vector<std::byte> file = read_file_bytes(path);
  const ImageInfo info = parse_info(file, path);
  if (channels == 0) channels = info.channels;
  if (channels != 1 && channels != 3) fail("[read_image] expected 1 or 3 channels, got {}", channels);
  int width = 0, height = 0, samples = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(stb_bytes(file), static_cast<int>(file.size()), &width, &height, &samples,
                            static_cast<int>(channels)),
      &stbi_image_free);
  if (!pixels) fail_to_decode(path);
  if (width != info.width || height != info.height) {
    fail("cannot read {}: its header says {} x {} pixels, its data {} x {}", path.string(), info.height,
         info.width, height, width);
  }
  return {height, width, channels, {pixels.get(), pixels.get() + int64_t{height} * width * channels}};
}

Image resize(const Image& image, int64_t height, int64_t width) {
  if (height < 1 || width < 1 || height > kMaxImagePixels / width) {
    fail("cannot resize an image to {} x {} pixels: expected 1 to {} pixels", height, width, kMaxImagePixels);
  }
  if (height == image.height && width == image.width) return image;  // the filter would blur it
  Image result{height, width, image.channels,
               std::vector<uint8_t>(static_cast<size_t>(height * width * image.channels))};
  const int done =
      stbir_resize_uint8(image.pixels.data(), static_cast<int>(image.width), static_cast<int>(image.height),
                         0, result.pixels.data(), static_cast<int>(width), static_cast<int>(height), 0,
                         static_cast<int>(image.channels));
  if (done == 0) {
    fail("cannot resize an image of {} x {} pixels to {} x {}", image.height, image.width, height, width);
  }
  return result;
}

std::string encode_png(int64_t height, int64_t width, int64_t channels, std::span<const uint8_t> pixels) {
  if (height < 1 || width < 1 || height > kMaxImagePixels / width || (channels != 1 && channels != 3)) {
    fail("[encode_png] expected at most {} pixels of 1 or 3 channels, got {} x {} x {}", kMaxImagePixels,
         height, width, channels);
  }
  if (static_cast<int64_t>(pixels.size()) != height * width * channels) {
    fail("[encode_png] expected {} x {} x {} values, got {}", height, width, channels, pixels.size());
  }
  std::string file;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<size_t>(size));
  };
  if (stbi_write_png_to_func(append, &file, static_cast<int>(width), static_cast<int>(height),
                             static_cast<int>(channels), pixels.data(),
                             static_cast<int>(width * channels)) == 0) {
    fail("an image of {} x {} pixels could not be encoded as PNG", height, width);
  }
  return file;
}

std::string encode_png(const Image& image) {
  return encode_png(image.height, image.width, image.channels, image.pixels);
}

void write_png(const fs::path& path, int64_t height, int64_t width, int64_t channels,
               std::span<const uint8_t> pixels) {
  // Figures can be drawn again, and a set has thousands of files: not worth a wait for the disk each.
  write_file_atomically(path, encode_png(height, width, channels, pixels), Durability::unsynced);
}

void write_png(const fs::path& path, const Image& image) {
  write_png(path, image.height, image.width, image.channels, image.pixels);
}

}  // namespace caltrop
