// Reader of IDX files, plain or gzipped (told apart by their first bytes, not by their names).
//
// An IDX file is two zero bytes, the element type (8: unsigned byte), the number of dimensions, each
// dimension as a big-endian 32-bit number, and the elements in row-major order. Source:
// http://yann.lecun.com/exdb/mnist. Reading trusts nothing: no more is inflated than the header announces,
// which is at most 1 GiB, and whatever does not fit exactly is an Error of one line that names the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"

namespace caltrop {

struct IdxImages {
  int64_t count = 0, height = 0, width = 0;  // each at least 1
  std::vector<uint8_t> pixels;               // count x height x width
};

IdxImages read_idx_images(const std::filesystem::path& path);
// Labels in 0 ... classes - 1; a greater one is an Error.
std::vector<int32_t> read_idx_labels(const std::filesystem::path& path, int classes);

// The same from memory; `name` stands for the file in errors.
IdxImages parse_idx_images(std::span<const std::byte> file, std::string_view name);
std::vector<int32_t> parse_idx_labels(std::span<const std::byte> file, std::string_view name, int classes);

// Images and labels together; an Error where their counts differ.
ImageSet read_idx_set(const std::filesystem::path& images, const std::filesystem::path& labels,
                      std::vector<std::string> class_names);

}  // namespace caltrop
