#include "engine/images.h"

#include <cmath>
#include <numeric>

#include "engine/error.h"

namespace caltrop {

uint8_t to_byte(float pixel) {
  return static_cast<uint8_t>(std::lround(pixel * 255.0f));
}

Images::Images(Backend& backend, ImageShape shape, std::span<const uint8_t> pixels,
               std::span<const int32_t> labels)
    : shape_(shape), pixels_(backend, pixels), labels_(labels.begin(), labels.end()) {
  if (static_cast<int64_t>(pixels.size()) != count() * image_size()) {
    fail("[images] expected {} pixels for {} images of {}x{}x{}, got {}", count() * image_size(), count(),
         shape.height, shape.width, shape.channels, pixels.size());
  }
}

Tensor ImageSource::pixels(std::span<const int64_t> rows) const {
  const auto n = static_cast<int64_t>(rows.size());
  const Tensor x = Tensor::uninitialized(backend(), {n, shape().height, shape().width, shape().channels});
  pixels(rows, x);
  return x;
}

void Images::pixels(std::span<const int64_t> rows, const Tensor& x) const {
  const auto n = static_cast<int64_t>(rows.size());
  for (const int64_t row : rows) {
    if (row < 0 || row >= count()) fail("[images] expected rows below {}, got {}", count(), row);
  }
  if (x.size() != n * image_size())
    fail("[images] expected room for {} images of {} pixels, got {}", n, image_size(), to_string(x.shape()));
  backend().gather_images(pixels_.data(), rows, image_size(), x.mutable_data());
}

std::vector<int32_t> ImageSource::labels_of(std::span<const int64_t> rows) const {
  std::vector<int32_t> chosen;
  chosen.reserve(rows.size());
  for (const int64_t row : rows) chosen.push_back(labels().at(static_cast<size_t>(row)));
  return chosen;
}

std::vector<int64_t> row_range(int64_t begin, int64_t end) {
  std::vector<int64_t> rows(static_cast<size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

}  // namespace caltrop
