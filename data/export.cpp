#include "data/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <system_error>
#include <unordered_set>
#include <vector>

#include "data/npz.h"
#include "data/png.h"
#include "engine/error.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

std::vector<int64_t> checked_index(const ImageExport& what) {
  const ImageSet& images = what.images;
  const int64_t count = images.count();
  if (count == 0) fail("[export] expected at least one image, got none");
  if (static_cast<int64_t>(images.class_names.size()) != images.classes) {
    fail("[export] expected {} class names, got {}", images.classes, images.class_names.size());
  }
  if (!what.delta.empty() && static_cast<int64_t>(what.delta.size()) != count * images.image_size()) {
    fail("[export] expected {} perturbation values for {} images, got {}", count * images.image_size(), count,
         what.delta.size());
  }
  if (!what.index.empty() && static_cast<int64_t>(what.index.size()) != count) {
    fail("[export] expected {} indices, got {}", count, what.index.size());
  }
  std::vector<int64_t> index(what.index.begin(), what.index.end());
  if (index.empty()) {
    index.resize(static_cast<size_t>(count));
    std::iota(index.begin(), index.end(), int64_t{0});
  }
  return index;
}

// One name for one directory: no separators, nothing hidden, no way up.
std::string directory_name(std::string name) {
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) { return c < 0x20 || c == 0x7F || c == '/' || c == '\\'; }, '_');
  if (name.empty() || name.front() == '.') name.insert(name.begin(), '_');
  return name;
}

std::vector<std::string> class_directories(const ImageSet& images) {
  std::vector<std::string> names;
  std::unordered_set<std::string> taken;
  for (const std::string& name : images.class_names) {
    names.push_back(directory_name(name));
  }
  if (!std::is_sorted(names.begin(), names.end())) {
    const size_t digits = std::to_string(names.size() - 1).size();
    for (size_t k = 0; k < names.size(); ++k) names[k] = fmt::format("{:0{}}-{}", k, digits, names[k]);
  }
  for (const std::string& name : names) {
    if (!taken.insert(name).second) {
      fail("[export] two classes would share the directory '{}'", name);
    }
  }
  return names;
}

uint8_t attacked(uint8_t clean, float delta) {
  const float value = static_cast<float>(clean) + 255.0f * delta;
  return static_cast<uint8_t>(std::lround(std::isnan(value) ? 0.0f : std::clamp(value, 0.0f, 255.0f)));
}

}  // namespace

void export_images_npz(const fs::path& path, const ImageExport& what) {
  const std::vector<int64_t> index = checked_index(what);
  const ImageSet& images = what.images;
  const int64_t count = images.count();
  NpzWriter archive(path);
  archive.add("x", {count, images.height, images.width, images.channels}, images.pixels);
  archive.add("label", {count}, images.labels);
  archive.add("index", {count}, index);
  if (!what.delta.empty()) {
    archive.add("delta", {count, images.height, images.width, images.channels}, what.delta);
  }
  archive.close();
}

void export_images_png(const fs::path& directory, const ImageExport& what) {
  const std::vector<int64_t> index = checked_index(what);
  if (std::unordered_set<int64_t>(index.begin(), index.end()).size() != index.size()) {
    fail("[export] two images have the same index, so their files would have the same name");
  }
  const ImageSet& images = what.images;
  const std::vector<std::string> classes = class_directories(images);
  for (const std::string& name : classes) {
    std::error_code error;
    fs::create_directories(directory / name, error);
    if (error) fail("cannot create the directory {}: {}", (directory / name).string(), error.message());
  }
  std::vector<uint8_t> pixels(static_cast<size_t>(images.image_size()));
  for (int64_t i = 0; i < images.count(); ++i) {
    const std::span<const uint8_t> clean = images.image(i);
    std::copy(clean.begin(), clean.end(), pixels.begin());
    if (!what.delta.empty()) {
      const float* delta = what.delta.data() + i * images.image_size();
      std::transform(clean.begin(), clean.end(), delta, pixels.begin(), attacked);
    }
    const auto at = static_cast<size_t>(i);
    const fs::path path =
        directory / classes.at(static_cast<size_t>(images.labels[at])) / fmt::format("{:06}.png", index[at]);
    write_png(path, images.height, images.width, images.channels, pixels);
  }
  if (!what.delta.empty()) export_images_npz(directory / "perturbation.npz", what);
}

void export_attacked_png(const fs::path& directory, const AttackedSet& set) {
  const ImageSet clean = set.clean();
  for (int64_t s = 0; s < set.sizes(); ++s) {
    std::vector<float> delta;
    for (int64_t i = 0; i < set.images(); ++i) {
      const std::span<const float> of_image = set.delta_of(i * set.sizes() + s);
      delta.insert(delta.end(), of_image.begin(), of_image.end());
    }
    const fs::path place =
        set.eps.empty() ? directory : directory / fmt::format("eps-{:.4g}", set.eps[static_cast<size_t>(s)]);
    export_images_png(place, {clean, set.index, delta});
  }
}

}  // namespace caltrop
