#include "apps/commands/attacked_set.h"

#include <algorithm>
#include <cmath>

#include "data/npz.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr int32_t kMaxLabel = 1 << 20;

}  // namespace

AttackedSet read_attacked(const std::filesystem::path& path) {
  const NpzFile file(path);
  const std::vector<int64_t>& shape = file.shape("x", 4);
  const int64_t n = shape[0], pixels = shape[1] * shape[2] * shape[3];
  AttackedSet set;
  set.images.height = shape[1];
  set.images.width = shape[2];
  set.images.channels = shape[3];
  set.images.pixels = file.values<uint8_t>("x", shape);
  set.images.labels = file.values<int32_t>("label", {n});
  set.index = file.values<int64_t>("index", {n});
  for (const int32_t label : set.images.labels) {
    if (label < 0 || label > kMaxLabel) fail("{} holds the label {}", path.string(), label);
    set.images.classes = std::max(set.images.classes, label + 1);
  }
  for (const int64_t index : set.index) {
    if (index < 0) fail("{} holds the index {}", path.string(), index);
  }
  for (int k = 0; k < set.images.classes; ++k) set.images.class_names.push_back(std::to_string(k));

  if (file.has("eps")) {
    const int64_t sizes = file.shape("eps", 1)[0];
    const auto eps = file.values<float>("eps", {sizes});
    const auto delta = file.values<float>("delta", {n, sizes, shape[1], shape[2], shape[3]});
    for (int64_t s = 0; s < sizes; ++s) {
      AttackedSet::Size size{fmt::format("eps-{:.4g}", eps[static_cast<size_t>(s)]), {}};
      for (int64_t i = 0; i < n; ++i) {
        const auto from = delta.begin() + (i * sizes + s) * pixels;
        size.delta.insert(size.delta.end(), from, from + pixels);
      }
      set.sizes.push_back(std::move(size));
    }
  } else {
    set.sizes.push_back({"", file.values<float>("delta", shape)});
  }
  for (const AttackedSet::Size& size : set.sizes) {
    if (!std::all_of(size.delta.begin(), size.delta.end(), [](float d) { return std::isfinite(d); })) {
      fail("{} holds perturbations that are not finite", path.string());
    }
  }
  return set;
}

}  // namespace caltrop
