#include <algorithm>
#include <numeric>

#include "data/dataset.h"
#include "engine/error.h"

namespace caltrop {

std::span<const uint8_t> ImageSet::image(int64_t i) const {
  if (i < 0 || i >= count()) fail("[image] expected an image from 0 to {}, got {}", count() - 1, i);
  return std::span(pixels).subspan(static_cast<size_t>(i * image_size()), static_cast<size_t>(image_size()));
}

ImageSet take_first(const ImageSet& set, int64_t n) {
  if (n < 1) fail("expected to take at least 1 image, got {}", n);
  std::vector<int64_t> indices(static_cast<size_t>(std::min(n, set.count())));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  return subset(set, indices);
}

ImageSet subset(const ImageSet& set, std::span<const int64_t> indices) {
  ImageSet result{.height = set.height,
                  .width = set.width,
                  .channels = set.channels,
                  .classes = set.classes,
                  .class_names = set.class_names};
  result.pixels.reserve(indices.size() * static_cast<size_t>(set.image_size()));
  result.labels.reserve(indices.size());
  for (const int64_t i : indices) {
    const std::span<const uint8_t> image = set.image(i);
    result.pixels.insert(result.pixels.end(), image.begin(), image.end());
    result.labels.push_back(set.labels[static_cast<size_t>(i)]);
  }
  return result;
}

ImageSet concatenate(const ImageSet& first, const ImageSet& second) {
  if (first.height != second.height || first.width != second.width || first.channels != second.channels) {
    fail("expected images of one size, found {} x {} x {} and {} x {} x {}", first.height, first.width,
         first.channels, second.height, second.width, second.channels);
  }
  if (first.class_names != second.class_names || first.classes != second.classes) {
    fail("expected image sets of the same classes, found {} and {}", first.classes, second.classes);
  }
  ImageSet result = first;
  result.pixels.insert(result.pixels.end(), second.pixels.begin(), second.pixels.end());
  result.labels.insert(result.labels.end(), second.labels.begin(), second.labels.end());
  return result;
}

}  // namespace caltrop
