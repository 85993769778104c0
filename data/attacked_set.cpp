#include "data/attacked_set.h"

#include <algorithm>
#include <cmath>

#include "data/npz.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kMaxClass = 1 << 20;

// Which of the arrays that not every set has are there.
struct Held {
  bool sizes, perturbations, targets;
};

// Every array with its shape, in the order in which the files hold them: one list for reading and writing.
template <typename Set, typename Visit>
void visit_arrays(Set& set, int64_t n, int64_t s, const Held& held, const Visit& visit) {
  const auto [stated, delta, targeted] = held;
  using Shape = std::vector<int64_t>;
  const ImageShape& image = set.shape;
  const Shape images = {n}, sizes = {s}, rows = stated ? Shape{n, s} : Shape{n},
              pixels = {n, image.height, image.width, image.channels};
  Shape moved = pixels;
  if (stated) moved.insert(moved.begin() + 1, s);
  if (!stated) {
    visit("x", pixels, set.x);
    if (delta) visit("delta", moved, set.delta);
  }
  visit("index", images, set.index);
  visit("label", images, set.label);
  visit("clean_prediction", images, set.clean_prediction);
  if (targeted) visit("target", images, set.target);
  if (stated) {
    visit("x", pixels, set.x);
    visit("eps", sizes, set.eps);
    visit("v", sizes, set.v);
    visit("exponent", sizes, set.exponent);
    visit("ten", sizes, set.ten);
    if (delta) visit("delta", moved, set.delta);
  }
  visit("prediction", rows, set.prediction);
  visit("success", rows, set.success);
  if (!stated) return;
  visit("linf", rows, set.linf);
  visit("l2", rows, set.l2);
  visit("zero_gradients", rows, set.zero_gradients);
  visit("nan_gradients", rows, set.nan_gradients);
}

template <typename T, typename Holds>
void expect(const fs::path& path, const char* what, const std::vector<T>& values, const Holds& holds) {
  const auto bad = std::find_if_not(values.begin(), values.end(), holds);
  if (bad != values.end()) fail("{} holds the {} {}", path.string(), what, *bad);
}

}  // namespace

int64_t AttackedSet::classes() const {
  int64_t classes = 0;
  for (const std::vector<int32_t>* some : {&label, &target})
    for (const int32_t k : *some) classes = std::max<int64_t>(classes, k + 1);
  return classes;
}

std::span<const float> AttackedSet::delta_of(int64_t row) const {
  return std::span(delta).subspan(static_cast<size_t>(row * image_size()), static_cast<size_t>(image_size()));
}

ImageSet AttackedSet::clean() const {
  ImageSet set{.height = shape.height,
               .width = shape.width,
               .channels = shape.channels,
               .classes = static_cast<int>(classes()),
               .pixels = x,
               .labels = label};
  for (int k = 0; k < set.classes; ++k) set.class_names.push_back(std::to_string(k));
  return set;
}

AttackedSet read_attacked_set(const fs::path& path, Perturbations perturbations) {
  const NpzFile file(path);
  const std::vector<int64_t>& x = file.shape("x", 4);
  const bool stated = file.has("eps"), delta = perturbations != Perturbations::ignored;
  const int64_t sizes = stated ? file.shape("eps", 1)[0] : 1;
  AttackedSet set{.shape = {x[1], x[2], x[3]}};
  if (x[0] == 0 || sizes == 0 || set.image_size() == 0) fail("{} holds no attacked images", path.string());
  if (stated && delta && !file.has("delta"))
    fail("{} holds no perturbations (it was made with --store png or none)", path.string());
  visit_arrays(set, x[0], sizes, {stated, delta, file.has("target")},
               [&]<typename T>(const char* name, const std::vector<int64_t>& shape, std::vector<T>& to) {
                 to = file.values<T>(name, shape);
               });
  const auto is_class = [](int32_t k) {
    return k >= 0 && k <= kMaxClass;
  };
  expect(path, "label", set.label, is_class);
  expect(path, "target", set.target, is_class);
  expect(path, "prediction", set.clean_prediction, is_class);
  expect(path, "prediction", set.prediction, is_class);
  expect(path, "index", set.index, [](int64_t index) { return index >= 0; });
  expect(path, "size", set.eps, [](float eps) { return std::isfinite(eps) && eps > 0; });
  expect(path, "success", set.success, [](uint8_t success) { return success <= 1; });
  if (perturbations == Perturbations::finite &&
      !std::all_of(set.delta.begin(), set.delta.end(), [](float d) { return std::isfinite(d); })) {
    fail("{} holds perturbations that are not finite", path.string());
  }
  return set;
}

void write_attacked_set(const fs::path& path, const AttackedSet& set, Perturbations perturbations) {
  NpzWriter file(path);
  visit_arrays(set, set.images(), set.sizes(),
               {!set.eps.empty(), perturbations != Perturbations::ignored, set.targeted()},
               [&]<typename T>(const char* name, const std::vector<int64_t>& shape,
                               const std::vector<T>& values) { file.add(name, shape, std::span(values)); });
  file.close();
}

}  // namespace caltrop
