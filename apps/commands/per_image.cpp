#include "apps/commands/per_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "data/attacked_set.h"
#include "data/file_bytes.h"
#include "data/npz.h"
#include "engine/checksum.h"
#include "engine/error.h"

namespace caltrop {
namespace {

bool is_npy(const std::vector<std::byte>& bytes) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  return bytes.size() > kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), bytes.begin(),
                                                    [](char a, std::byte b) { return std::byte(a) == b; });
}

std::vector<int64_t> integers(const NpyArray& array, const std::string& name) {
  const auto all = [&]<typename T>(T) {
    const auto values = array.values<T>(name);
    return std::vector<int64_t>(values.begin(), values.end());
  };
  if (array.dtype == "<i4") return all(int32_t{});
  if (array.dtype == "|u1") return all(uint8_t{});
  return all(int64_t{});
}

// Where each of `rows` is among `index`.
std::vector<size_t> places_of(const std::string& path, std::span<const int64_t> rows,
                              std::span<const int64_t> index) {
  std::unordered_map<int64_t, size_t> at;
  for (size_t k = 0; k < index.size(); ++k) {
    if (!at.try_emplace(index[k], k).second) fail("{}: image {} is there twice", path, index[k]);
  }
  std::vector<size_t> places;
  for (const int64_t row : rows) {
    const auto found = at.find(row);
    if (found == at.end()) fail("{}: image {} is attacked, but not there", path, row);
    places.push_back(found->second);
  }
  return places;
}

}  // namespace

std::vector<int32_t> read_targets(const std::string& path, std::span<const int64_t> rows, int64_t outputs) {
  const std::vector<std::byte> bytes = read_file_bytes(path);
  std::vector<int64_t> wanted;
  if (is_npy(bytes)) {
    const NpyArray array = parse_npy(bytes, path);
    if (array.shape != std::vector<int64_t>{static_cast<int64_t>(rows.size())})
      fail("{}: expected a class for each of {} images, got an array of {} in {} dimensions", path,
           rows.size(), array.size(), array.shape.size());
    wanted = integers(array, path);
  } else {
    const auto arrays = read_npz(path);
    for (const char* name : {"index", "target"})
      if (!arrays.contains(name)) fail("{}: expected the arrays index and target, found no {}", path, name);
    const std::vector<int64_t> index = integers(arrays.at("index"), "index in " + path),
                               target = integers(arrays.at("target"), "target in " + path);
    if (index.size() != target.size())
      fail("{}: expected as many targets as indices, got {} and {}", path, target.size(), index.size());
    for (const size_t place : places_of(path, rows, index)) wanted.push_back(target[place]);
  }
  std::vector<int32_t> targets;
  for (size_t k = 0; k < wanted.size(); ++k) {
    if (wanted[k] < 0 || wanted[k] >= outputs)
      fail("{}: expected classes from 0 to {}, got {} for image {}", path, outputs - 1, wanted[k], rows[k]);
    targets.push_back(static_cast<int32_t>(wanted[k]));
  }
  return targets;
}

std::vector<float> read_starts(const std::string& path, std::span<const int64_t> rows,
                               const ImageShape& shape) {
  const auto size = static_cast<size_t>(shape.height * shape.width * shape.channels);
  std::vector<float> starts;
  const std::vector<std::byte> bytes = read_file_bytes(path);
  if (is_npy(bytes)) {
    const NpyArray array = parse_npy(bytes, path);
    const std::vector<int64_t> wanted = {static_cast<int64_t>(rows.size()), shape.height, shape.width,
                                         shape.channels};
    if (array.shape != wanted)
      fail("{}: expected an array ({}), got ({})", path, fmt::join(wanted, ","), fmt::join(array.shape, ","));
    const auto values = array.values<float>(path);
    starts.assign(values.begin(), values.end());
  } else {
    const AttackedSet set = read_attacked_set(path);
    if (!(set.shape == shape))
      fail("{}: expected images of {}x{}x{}, got {}x{}x{}", path, shape.height, shape.width, shape.channels,
           set.shape.height, set.shape.width, set.shape.channels);
    if (set.sizes() != 1) fail("{}: expected one attacked image of each, got {} sizes", path, set.sizes());
    for (const size_t place : places_of(path, rows, set.index)) {
      const std::span<const float> delta = set.delta_of(static_cast<int64_t>(place));
      for (size_t p = 0; p < size; ++p) {
        const float x = static_cast<float>(set.x[place * size + p]) / 255.0f + delta[p];
        starts.push_back(std::clamp(x, 0.0f, 1.0f));
      }
    }
  }
  for (size_t p = 0; p < starts.size(); ++p) {
    if (!(starts[p] >= 0.0f && starts[p] <= 1.0f))
      fail("{}: expected pixels from 0 to 1, got {} in image {}", path, starts[p], rows[p / size]);
  }
  return starts;
}

std::string file_crc32(const std::string& path) {
  const std::vector<std::byte> bytes = read_file_bytes(path);
  return fmt::format("{:08x}",
                     checksum(std::span(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
}

}  // namespace caltrop
