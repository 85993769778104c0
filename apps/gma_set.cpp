#include "apps/gma_set.h"

#include <algorithm>
#include <map>

#include "data/npz.h"
#include "engine/error.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPartBytes = int64_t{48} << 20;

// The array `name` of a part, with its shape checked.
template <typename T>
std::vector<T> take(const std::map<std::string, NpyArray>& arrays, const fs::path& path,
                    const std::string& name, const std::vector<int64_t>& shape) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) fail("{} lacks the array '{}' of a GMA set", path.string(), name);
  if (found->second.shape != shape)
    fail("{}: the array '{}' does not fit the others in shape", path.string(), name);
  const std::span<const T> values = found->second.values<T>(fmt::format("{} in {}", name, path.string()));
  return {values.begin(), values.end()};
}

std::vector<int64_t> shape_of(const std::map<std::string, NpyArray>& arrays, const fs::path& path,
                              const std::string& name, size_t rank) {
  const auto found = arrays.find(name);
  if (found == arrays.end() || found->second.shape.size() != rank) {
    fail("{} lacks the array '{}' of a GMA set", path.string(), name);
  }
  return found->second.shape;
}

}  // namespace

std::string part_name(Norm norm, int64_t first) {
  return fmt::format("{}-{:06}.npz", to_string(norm), first);
}

int64_t images_per_part(int64_t sizes, int64_t image_size) {
  return std::max<int64_t>(1, kPartBytes / (sizes * image_size * static_cast<int64_t>(sizeof(float))));
}

int64_t set_bytes(int64_t images, int64_t sizes, int64_t norms, int64_t image_size) {
  const int64_t row = image_size * static_cast<int64_t>(sizeof(float)) + 13;
  return images * norms * (sizes * row + image_size + 16);
}

void write_part(const fs::path& path, const GmaPart& part) {
  const int64_t n = part.count(), s = static_cast<int64_t>(part.sizes.size());
  const ImageShape& shape = part.shape;
  std::vector<float> eps, v;
  std::vector<int32_t> exponent;
  std::vector<uint8_t> ten;
  for (const GmaSize& size : part.sizes) {
    eps.push_back(size.eps);
    v.push_back(static_cast<float>(size.v));
    exponent.push_back(size.i);
    ten.push_back(size.base == GmaBase::ten);
  }
  NpzWriter file(path);
  file.add("index", {n}, part.index);
  file.add("label", {n}, part.label);
  file.add("clean_prediction", {n}, part.clean_prediction);
  file.add("x", {n, shape.height, shape.width, shape.channels}, part.x);
  file.add("eps", {s}, eps);
  file.add("v", {s}, v);
  file.add("exponent", {s}, exponent);
  file.add("ten", {s}, ten);
  file.add("delta", {n, s, shape.height, shape.width, shape.channels}, part.delta);
  file.add("prediction", {n, s}, part.prediction);
  file.add("success", {n, s}, part.success);
  file.add("linf", {n, s}, part.linf);
  file.add("l2", {n, s}, part.l2);
  file.close();
}

GmaPart read_part(const fs::path& path) {
  const std::map<std::string, NpyArray> arrays = read_npz(path);
  const std::vector<int64_t> x = shape_of(arrays, path, "x", 4), eps = shape_of(arrays, path, "eps", 1);
  const int64_t n = x[0], s = eps[0];
  GmaPart part;
  part.shape = {x[1], x[2], x[3]};
  part.index = take<int64_t>(arrays, path, "index", {n});
  part.label = take<int32_t>(arrays, path, "label", {n});
  part.clean_prediction = take<int32_t>(arrays, path, "clean_prediction", {n});
  part.x = take<uint8_t>(arrays, path, "x", x);
  part.delta = take<float>(arrays, path, "delta", {n, s, x[1], x[2], x[3]});
  part.prediction = take<int32_t>(arrays, path, "prediction", {n, s});
  part.success = take<uint8_t>(arrays, path, "success", {n, s});
  part.linf = take<float>(arrays, path, "linf", {n, s});
  part.l2 = take<float>(arrays, path, "l2", {n, s});
  const auto sizes = take<float>(arrays, path, "eps", {s}), v = take<float>(arrays, path, "v", {s});
  const auto exponent = take<int32_t>(arrays, path, "exponent", {s});
  const auto ten = take<uint8_t>(arrays, path, "ten", {s});
  for (size_t k = 0; k < sizes.size(); ++k) {
    GmaSize size;
    size.base = ten[k] ? GmaBase::ten : GmaBase::e;
    size.i = exponent[k];
    size.v = v[k];
    size.eps = sizes[k];
    part.sizes.push_back(size);
  }
  return part;
}

std::vector<fs::path> find_parts(const fs::path& folder, Norm norm) {
  const std::string begin = to_string(norm) + "-";
  std::vector<fs::path> parts;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(begin) && name.ends_with(".npz")) parts.push_back(entry.path());
  }
  if (error) fail("cannot read the folder {}: {}", folder.string(), error.message());
  std::sort(parts.begin(), parts.end());
  return parts;
}

}  // namespace caltrop
