// A labelled image set in the memory of a device: 8-bit pixels, turned into floats k/255 batch by batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/architecture.h"
#include "engine/tensor.h"

namespace caltrop {

class Images {
 public:
  // pixels: count x height x width x channels, NHWC; one label for each image.
  Images(Backend& backend, ImageShape shape, std::span<const uint8_t> pixels,
         std::span<const int32_t> labels);

  int64_t count() const { return static_cast<int64_t>(labels_.size()); }
  const ImageShape& shape() const { return shape_; }
  int64_t image_size() const { return shape_.height * shape_.width * shape_.channels; }
  Backend& backend() const { return pixels_.backend(); }
  const std::vector<int32_t>& labels() const { return labels_; }  // on the host

  // Images `rows` as (n,h,w,c) in [0,1].
  Tensor pixels(std::span<const int64_t> rows) const;
  // The same into `x`, which has room for them.
  void pixels(std::span<const int64_t> rows, const Tensor& x) const;
  std::vector<int32_t> labels_of(std::span<const int64_t> rows) const;

 private:
  ImageShape shape_;
  Buffer<uint8_t> pixels_;
  std::vector<int32_t> labels_;
};

// begin, begin + 1, ..., end - 1: rows of an Images.
std::vector<int64_t> row_range(int64_t begin, int64_t end);

}  // namespace caltrop
