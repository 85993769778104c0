#include "data/array_set.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "data/file_bytes.h"
#include "data/npz.h"
#include "engine/error.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostClasses = 1 << 20;
constexpr const char* kNames[] = {"x_train", "y_train", "x_test", "y_test", "x", "y", "label"};

using Arrays = std::map<std::string, NpyArray>;

Arrays arrays_of(const fs::path& path) {
  if (!fs::is_directory(path)) return read_npz(path);
  Arrays arrays;
  for (const char* name : kNames) {
    const fs::path file = path / (std::string(name) + ".npy");
    if (fs::exists(file)) arrays.emplace(name, parse_npy(read_file_bytes(file), file.string()));
  }
  return arrays;
}

struct Reader {
  const fs::path& path;
  const Arrays& arrays;
  int64_t rounded = 0;  // pixels that 8 bits do not have

  std::string where(const std::string& name) const { return name + " in " + path.string(); }

  void read_pixels(const std::string& name, ImageSet& set) {
    const NpyArray& array = arrays.at(name);
    const std::vector<int64_t>& shape = array.shape;
    if ((shape.size() != 3 && shape.size() != 4) ||
        std::ranges::any_of(shape, [](int64_t d) { return d < 1; }))
      fail("{}: expected images (n,h,w) or (n,h,w,c), got [{}]", where(name), fmt::join(shape, ", "));
    set.height = shape[1], set.width = shape[2], set.channels = shape.size() == 4 ? shape[3] : 1;
    if (array.dtype == "|u1") {
      const auto bytes = array.values<uint8_t>(where(name));
      set.pixels.assign(bytes.begin(), bytes.end());
      return;
    }
    if (!array.holds_floats())
      fail("{}: expected uint8, or float32 or float64 in [0,1], found {}", where(name),
           npy_type_name(array.dtype));
    array.for_each(where(name), [&](auto value) {
      const auto pixel = static_cast<double>(value);
      if (!(pixel >= 0 && pixel <= 1)) fail("{}: expected floats in [0,1], got {}", where(name), pixel);
      const double level = std::nearbyint(pixel * 255);
      rounded += std::fabs(pixel * 255 - level) > 1e-3;
      set.pixels.push_back(static_cast<uint8_t>(level));
    });
  }

  void read_labels(const std::string& name, ImageSet& set) const {
    const auto found = arrays.find(name);
    if (found == arrays.end()) fail("{} lacks the array {}", path.string(), name);
    const std::vector<int64_t>& shape = found->second.shape;
    const int64_t images =
        set.image_size() > 0 ? static_cast<int64_t>(set.pixels.size()) / set.image_size() : 0;
    const bool fits =
        !shape.empty() && shape.size() <= 2 && shape[0] == images && (shape.size() == 1 || shape[1] == 1);
    if (!fits) fail("{}: expected {} labels, got [{}]", where(name), images, fmt::join(shape, ", "));
    if (!found->second.holds_integers() && !found->second.holds_floats())
      fail("{}: expected whole numbers, found {}", where(name), npy_type_name(found->second.dtype));
    found->second.for_each(where(name), [&](auto value) {
      const auto label = static_cast<double>(value);
      if (!(label >= 0 && label < static_cast<double>(kMostClasses)) || label != std::floor(label))
        fail("{}: expected whole numbers from 0, got {}", where(name), label);
      set.labels.push_back(static_cast<int32_t>(label));
    });
  }
};

void name_classes(ImageSet& set, int classes) {
  set.classes = classes;
  for (int k = 0; k < classes; ++k) set.class_names.push_back(std::to_string(k));
}

}  // namespace

Dataset read_array_set(const fs::path& path) {
  if (!fs::exists(path)) fail("{}: no such file or folder of arrays", path.string());
  const Arrays arrays = arrays_of(path);
  Reader reader{path, arrays};
  Dataset data{.name = "arrays", .source = path.string()};
  const auto read = [&](const std::string& x, const std::string& y, ImageSet& set) {
    reader.read_pixels(x, set);
    reader.read_labels(y, set);
  };
  if (arrays.contains("x_test")) {
    read("x_test", "y_test", data.test);
    if (arrays.contains("x_train")) read("x_train", "y_train", data.train);
  } else if (arrays.contains("x")) {
    read("x", arrays.contains("y") ? "y" : "label", data.test);
  } else {
    fail("{} holds no images: expected the arrays x_test and y_test, or x and y", path.string());
  }
  if (data.train.count() > 0 && !(data.train.shape() == data.test.shape()))
    fail("{}: training and test images have other shapes", path.string());
  int32_t largest = 0;
  for (const ImageSet* set : {&data.train, &data.test})
    for (const int32_t label : set->labels) largest = std::max(largest, label);
  for (ImageSet* set : {&data.train, &data.test})
    if (set->count() > 0) name_classes(*set, largest + 1);
  if (reader.rounded > 0)
    data.notices.push_back(fmt::format("{}: {} pixels are rounded to 8 bits", path.string(), reader.rounded));
  return data;
}

}  // namespace caltrop
