// Tensors: fp32, dense, row-major (images NHWC), immutable by convention.
//
// A Tensor is a handle: copies share memory. Ops return new tensors; the only code that writes into one that
// others may hold is an optimiser (engine/optimizer.h) and batch norm's running statistics.
// A tensor made by an op on tracked inputs remembers how (engine/autograd.h).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace caltrop {

using Shape = std::vector<int64_t>;

int64_t element_count(const Shape& shape);
std::string to_string(const Shape& shape);  // "(128,13,13,32)"

// `count` values of T in the memory of a device, shared by copies of the handle.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend& backend, int64_t count)
      : block_(static_cast<T*>(backend.allocate(bytes_of(count))),
               [&backend, count](T* block) { backend.deallocate(block, bytes_of(count)); }),
        backend_(&backend),
        count_(count) {}
  Buffer(Backend& backend, std::span<const T> host) : Buffer(backend, static_cast<int64_t>(host.size())) {
    backend.upload(data(), host.data(), host.size_bytes());
  }

  T* data() const { return block_.get(); }
  int64_t count() const { return count_; }
  Backend& backend() const { return *backend_; }
  explicit operator bool() const { return block_ != nullptr; }

  std::vector<T> to_host() const {
    std::vector<T> host(static_cast<size_t>(count_));
    if (count_ > 0) backend_->download(host.data(), data(), bytes_of(count_));
    return host;
  }

 private:
  static size_t bytes_of(int64_t count) { return static_cast<size_t>(count) * sizeof(T); }

  std::shared_ptr<T> block_;
  Backend* backend_ = nullptr;
  int64_t count_ = 0;
};

using Labels = Buffer<int32_t>;

struct Node;

class Tensor {
 public:
  Tensor() = default;  // empty: no memory, no shape
  static Tensor uninitialized(Backend& backend, Shape shape);
  static Tensor full(Backend& backend, Shape shape, float value);
  static Tensor zeros(Backend& backend, Shape shape) { return full(backend, std::move(shape), 0.0f); }
  static Tensor from(Backend& backend, Shape shape, std::span<const float> values);
  static Tensor from(Backend& backend, Shape shape, std::initializer_list<float> values);

  explicit operator bool() const { return impl_ != nullptr; }
  const Shape& shape() const;
  int64_t rank() const { return static_cast<int64_t>(shape().size()); }
  int64_t dim(int64_t axis) const;  // negative counts from the end
  int64_t size() const;
  Backend& backend() const;

  const float* data() const;
  float* mutable_data() const;  // for the op that fills a new tensor, and for optimisers
  std::vector<float> to_host() const;
  float item() const;  // the value of a tensor of one element

  // Whether gradients can flow to this tensor.
  bool tracked() const;
  const std::shared_ptr<Node>& node() const;
  // The same values without history.
  Tensor detach() const;
  // The same memory under another shape of the same size; no history. For ops use reshape().
  Tensor view(Shape shape) const;

 private:
  friend Tensor attach(const Tensor& values, std::shared_ptr<Node> node);
  struct Impl;
  explicit Tensor(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

  std::shared_ptr<const Impl> impl_;
};

// The same memory with `node` as its history: how autograd records.
Tensor attach(const Tensor& values, std::shared_ptr<Node> node);

}  // namespace caltrop
