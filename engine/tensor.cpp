#include "engine/tensor.h"

#include <fmt/ranges.h>

#include "engine/error.h"

namespace caltrop {

struct Tensor::Impl {
  Shape shape;
  Buffer<float> memory;
  std::shared_ptr<Node> node;
};

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0) fail("[tensor] expected extents of at least 0, got {}", to_string(shape));
    if (__builtin_mul_overflow(count, extent, &count))
      fail("[tensor] the shape {} is too large", to_string(shape));
  }
  return count;
}

std::string to_string(const Shape& shape) {
  return fmt::format("({})", fmt::join(shape, ","));
}

Tensor Tensor::uninitialized(Backend& backend, Shape shape) {
  if (shape.size() > kMaxRank) fail("[tensor] expected at most {} axes, got {}", kMaxRank, to_string(shape));
  const int64_t count = element_count(shape);
  return Tensor(std::make_shared<const Impl>(Impl{std::move(shape), Buffer<float>(backend, count), nullptr}));
}

Tensor Tensor::full(Backend& backend, Shape shape, float value) {
  Tensor y = uninitialized(backend, std::move(shape));
  backend.fill(value, y.mutable_data(), y.size());
  return y;
}

Tensor Tensor::from(Backend& backend, Shape shape, std::span<const float> values) {
  if (element_count(shape) != static_cast<int64_t>(values.size())) {
    fail("[tensor] expected {} values for shape {}, got {}", element_count(shape), to_string(shape),
         values.size());
  }
  Tensor y = uninitialized(backend, std::move(shape));
  backend.upload(y.mutable_data(), values.data(), values.size_bytes());
  return y;
}

Tensor Tensor::from(Backend& backend, Shape shape, std::initializer_list<float> values) {
  return from(backend, std::move(shape), std::span<const float>(values.begin(), values.size()));
}

const Shape& Tensor::shape() const {
  if (!impl_) fail("[tensor] expected a tensor, got an empty handle");
  return impl_->shape;
}

int64_t Tensor::dim(int64_t axis) const {
  const int64_t at = axis < 0 ? axis + rank() : axis;
  if (at < 0 || at >= rank()) fail("[tensor] expected an axis of {}, got axis {}", to_string(shape()), axis);
  return shape()[static_cast<size_t>(at)];
}

int64_t Tensor::size() const {
  shape();
  return impl_->memory.count();
}

Backend& Tensor::backend() const {
  shape();
  return impl_->memory.backend();
}

const float* Tensor::data() const {
  return mutable_data();
}

float* Tensor::mutable_data() const {
  shape();
  return impl_->memory.data();
}

std::vector<float> Tensor::to_host() const {
  shape();
  return impl_->memory.to_host();
}

float Tensor::item() const {
  if (size() != 1) fail("[item] expected a tensor of one element, got {}", to_string(shape()));
  return to_host()[0];
}

bool Tensor::tracked() const {
  return impl_ && impl_->node;
}

const std::shared_ptr<Node>& Tensor::node() const {
  shape();
  return impl_->node;
}

Tensor Tensor::detach() const {
  return tracked() ? attach(*this, nullptr) : *this;
}

Tensor Tensor::view(Shape shape) const {
  if (element_count(shape) != size()) {
    fail("[reshape] expected {} elements, got shape {}", size(), to_string(shape));
  }
  if (shape.size() > kMaxRank) fail("[reshape] expected at most {} axes, got {}", kMaxRank, to_string(shape));
  return Tensor(std::make_shared<const Impl>(Impl{std::move(shape), impl_->memory, nullptr}));
}

Tensor attach(const Tensor& values, std::shared_ptr<Node> node) {
  values.shape();
  return Tensor(std::make_shared<const Tensor::Impl>(
      Tensor::Impl{values.impl_->shape, values.impl_->memory, std::move(node)}));
}

}  // namespace caltrop
