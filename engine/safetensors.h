// Reading and writing safetensors, the format in which weights travel.
//
// A file is: the length N of the header (8 bytes, little-endian), N bytes of JSON that map each tensor's name
// to
// {"dtype", "shape", "data_offsets": [begin, end)} and may hold "__metadata__" (strings only), then the data,
// in which the tensors lie end to end without holes. Source: https://huggingface.co/docs/safetensors (format
// section) and the reference reader's checks. Reading trusts nothing: every size is checked before memory is
// taken, and what does not fit is an Error of one line that names the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace caltrop {

struct SafeTensor {
  std::string dtype;  // "F32", "I64", ...: see safetensors.cpp for the list
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;  // row-major, little-endian

  static SafeTensor from_floats(std::vector<int64_t> shape, std::span<const float> values);
  std::span<const float> floats() const;  // the values of an F32 tensor; an Error for any other dtype
  bool operator==(const SafeTensor&) const = default;
};

struct SafeTensorFile {
  std::map<std::string, std::string> metadata;
  std::vector<std::pair<std::string, SafeTensor>> tensors;  // in the order of their data in the file

  const SafeTensor* find(std::string_view name) const;  // nullptr where there is none
  // The whole number, from 0, that the metadata hold under `key`.
  std::optional<int64_t> number(const std::string& key) const;
  bool operator==(const SafeTensorFile&) const = default;
};

SafeTensorFile read_safetensors(const std::filesystem::path& path);

// The same from memory; `name` stands for the file in errors.
SafeTensorFile parse_safetensors(std::span<const std::byte> file, std::string_view name);

// The same content gives the same bytes. Data is laid out by falling element size (so that each tensor is
// aligned for its dtype), otherwise in the given order. The file appears whole or not at all.
void write_safetensors(const std::filesystem::path& path, const SafeTensorFile& file);
std::string serialize_safetensors(const SafeTensorFile& file,
                                  std::string_view name);  // what write_safetensors writes

}  // namespace caltrop
