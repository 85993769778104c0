// Labelled images in the memory of a device. A data set (Images) holds 8-bit pixels, turned into floats k/255
// batch by batch; others, such as a set with attacked images, hold what they like.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/architecture.h"
#include "engine/tensor.h"

namespace caltrop {

// The 8-bit value that is nearest to a pixel in [0,1]: k for k/255.
uint8_t to_byte(float pixel);

// Labelled images by number: what training and inference read.
class ImageSource {
 public:
  virtual ~ImageSource() = default;

  virtual const ImageShape& shape() const = 0;
  virtual Backend& backend() const = 0;
  virtual const std::vector<int32_t>& labels() const = 0;  // on the host
  // Images `rows` into `x`, which has room for them: (n,h,w,c) in [0,1]. Safe to call from several threads.
  virtual void pixels(std::span<const int64_t> rows, const Tensor& x) const = 0;

  int64_t count() const { return static_cast<int64_t>(labels().size()); }
  int64_t image_size() const { return shape().height * shape().width * shape().channels; }
  Tensor pixels(std::span<const int64_t> rows) const;
  std::vector<int32_t> labels_of(std::span<const int64_t> rows) const;
};

class Images final : public ImageSource {
 public:
  // pixels: count x height x width x channels, NHWC; one label for each image.
  Images(Backend& backend, ImageShape shape, std::span<const uint8_t> pixels,
         std::span<const int32_t> labels);

  // Images `rows` as a set of their own, copied on the device.
  Images at(std::span<const int64_t> rows) const;
  // The same set with other pixels and labels for the distinct images `rows`.
  Images with(std::span<const int64_t> rows, std::span<const uint8_t> pixels,
              std::span<const int32_t> labels) const;
  std::vector<uint8_t> bytes() const { return pixels_.to_host(); }  // all pixels

  const ImageShape& shape() const override { return shape_; }
  Backend& backend() const override { return pixels_.backend(); }
  const std::vector<int32_t>& labels() const override { return labels_; }

  using ImageSource::pixels;
  void pixels(std::span<const int64_t> rows, const Tensor& x) const override;

 private:
  Images(ImageShape shape, Buffer<uint8_t> pixels, std::vector<int32_t> labels)
      : shape_(shape), pixels_(std::move(pixels)), labels_(std::move(labels)) {}
  void expect_rows(std::span<const int64_t> rows) const;  // an Error where one is not below count()

  ImageShape shape_;
  Buffer<uint8_t> pixels_;
  std::vector<int32_t> labels_;
};

// Some images of another set, in an order and as often as one likes; the set must outlive it.
class ChosenImages final : public ImageSource {
 public:
  ChosenImages(const ImageSource& from, std::vector<int64_t> rows)
      : from_(from), rows_(std::move(rows)), labels_(from.labels_of(rows_)) {}

  const ImageShape& shape() const override { return from_.shape(); }
  Backend& backend() const override { return from_.backend(); }
  const std::vector<int32_t>& labels() const override { return labels_; }
  using ImageSource::pixels;
  void pixels(std::span<const int64_t> rows, const Tensor& x) const override;
  const std::vector<int64_t>& rows() const { return rows_; }

 private:
  const ImageSource& from_;
  std::vector<int64_t> rows_;
  std::vector<int32_t> labels_;
};

// begin, begin + 1, ..., end - 1: rows of an Images.
std::vector<int64_t> row_range(int64_t begin, int64_t end);

}  // namespace caltrop
