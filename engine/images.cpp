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
  expect_rows(rows);
  if (x.size() != n * image_size())
    fail("[images] expected room for {} images of {} pixels, got {}", n, image_size(), to_string(x.shape()));
  backend().gather_images(pixels_.data(), rows, image_size(), x.mutable_data());
}

void Images::expect_rows(std::span<const int64_t> rows) const {
  for (const int64_t row : rows) {
    if (row < 0 || row >= count()) fail("[images] expected rows below {}, got {}", count(), row);
  }
}

Images Images::at(std::span<const int64_t> rows) const {
  expect_rows(rows);
  const int64_t size = image_size();
  Buffer<uint8_t> chosen(backend(), static_cast<int64_t>(rows.size()) * size);
  for (size_t k = 0; k < rows.size();) {  // neighbours are copied together
    size_t end = k + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    backend().copy(chosen.data() + static_cast<int64_t>(k) * size, pixels_.data() + rows[k] * size,
                   (end - k) * static_cast<size_t>(size));
    k = end;
  }
  return {shape_, std::move(chosen), labels_of(rows)};
}

Images Images::with(std::span<const int64_t> rows, std::span<const uint8_t> pixels,
                    std::span<const int32_t> labels) const {
  expect_rows(rows);
  const auto size = static_cast<size_t>(image_size());
  if (pixels.size() != rows.size() * size || labels.size() != rows.size())
    fail("[images] expected {} images of {} pixels, and their labels", rows.size(), size);
  const Buffer<uint8_t> others(backend(), pixels), all(backend(), pixels_.count());
  backend().copy(all.data(), pixels_.data(), static_cast<size_t>(pixels_.count()));
  std::vector<int32_t> named = labels_;
  for (size_t k = 0; k < rows.size(); ++k) {
    backend().copy(all.data() + rows[k] * image_size(), others.data() + k * size, size);
    named[static_cast<size_t>(rows[k])] = labels[k];
  }
  return {shape_, all, std::move(named)};
}

std::vector<int32_t> ImageSource::labels_of(std::span<const int64_t> rows) const {
  std::vector<int32_t> chosen;
  chosen.reserve(rows.size());
  for (const int64_t row : rows) chosen.push_back(labels().at(static_cast<size_t>(row)));
  return chosen;
}

void ChosenImages::pixels(std::span<const int64_t> rows, const Tensor& x) const {
  std::vector<int64_t> chosen;
  chosen.reserve(rows.size());
  for (const int64_t row : rows) {
    if (row < 0 || row >= count()) fail("[images] expected rows below {}, got {}", count(), row);
    chosen.push_back(rows_[static_cast<size_t>(row)]);
  }
  from_.pixels(chosen, x);
}

std::vector<int64_t> row_range(int64_t begin, int64_t end) {
  std::vector<int64_t> rows(static_cast<size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

}  // namespace caltrop
