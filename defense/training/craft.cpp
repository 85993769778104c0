#include "defense/training/craft.h"

#include <vector>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {
namespace {

int64_t row_size(const Tensor& x) {
  return x.dim(0) > 0 ? x.size() / x.dim(0) : 0;
}

// 24 bits of the step and 24 of the image's number.
uint64_t craft_stream(uint64_t step, int64_t image) {
  constexpr uint64_t kBits = 24, kMask = (1u << kBits) - 1;
  return stream_of(Purpose::craft, ((step & kMask) << kBits) | (static_cast<uint64_t>(image) & kMask));
}

}  // namespace

void StepCraft::prepare(const MiniBatch& batch, int64_t count) {
  if (options_.start == CraftStart::image || count == 0) return;
  Tensor& noise = noise_[count];
  if (!noise) {
    Shape shape = batch.x.shape();
    shape[0] = count;
    noise = Tensor::uninitialized(batch.x.backend(), shape);
  }
  std::vector<uint64_t> streams;
  for (const int64_t row : batch.rows.first(static_cast<size_t>(count)))
    streams.push_back(craft_stream(batch.forward.step, row));
  const bool normal = options_.start == CraftStart::normal;
  noise.backend().random(normal ? Distribution::normal : Distribution::uniform, batch.forward.seed, streams,
                         row_size(noise), noise.mutable_data());
}

Tensor StepCraft::first(const Tensor& x) const {
  if (options_.start == CraftStart::image) return x;
  const auto drawn = noise_.find(x.dim(0));
  if (drawn == noise_.end()) fail("[craft] expected prepare() for {} images", x.dim(0));
  const Tensor& noise = drawn->second;
  if (options_.start == CraftStart::normal) return x + noise * options_.sd;
  const Tensor moved = x + (noise * 2.0f - 1.0f) * options_.eps;
  return options_.start == CraftStart::unboxed ? moved : linf_step(moved, x, moved, options_.eps, 0);
}

Tensor StepCraft::attack(const Model& model, const Tensor& x, const CraftLoss& loss,
                         const ForwardOptions& forward) const {
  Tensor at = first(x);
  ForwardOptions how = forward;
  how.training = options_.training_mode;
  for (int64_t k = 0; k < options_.steps; ++k) {
    const Tensor here = variable(at);
    const Tensor g = grad(sum(loss(model.forward(here, how))), here);
    at = linf_step(at, x, g, options_.eps, options_.step_size);
  }
  return at;
}

Tensor current_answers(const Model& model, const MiniBatch& batch, bool training) {
  const NoGrad values_only;
  ForwardOptions how = batch.forward;
  how.training = training;
  return model.forward(batch.x, how);
}

Tensor linf_step(const Tensor& x, const Tensor& origin, const Tensor& g, float eps, float step_size) {
  const int64_t rows = x.dim(0);
  const auto n = static_cast<size_t>(rows);
  const std::vector<float> ball(n, eps), step(n, step_size);
  Tensor y = Tensor::uninitialized(x.backend(), x.shape());
  x.backend().attack_step({.norm = Norm::linf, .rows = rows, .cols = row_size(x)}, x.data(), origin.data(),
                          g.data(), ball.data(), step.data(), y.mutable_data());
  return y;
}

Tensor rows_of(const Tensor& x, int64_t begin, int64_t end) {
  Shape shape = x.shape();
  shape[0] = end - begin;
  Tensor y = Tensor::uninitialized(x.backend(), shape);
  x.backend().copy(y.mutable_data(), x.data() + begin * row_size(x),
                   static_cast<size_t>(y.size()) * sizeof(float));
  return y;
}

Labels rows_of(const Labels& labels, int64_t begin, int64_t end) {
  Labels some(labels.backend(), end - begin);
  labels.backend().copy(some.data(), labels.data() + begin,
                        static_cast<size_t>(end - begin) * sizeof(int32_t));
  return some;
}

Tensor rows_joined(const Tensor& first, const Tensor& second) {
  Shape shape = first.shape();
  shape[0] += second.dim(0);
  Tensor y = Tensor::uninitialized(first.backend(), shape);
  y.backend().copy(y.mutable_data(), first.data(), static_cast<size_t>(first.size()) * sizeof(float));
  y.backend().copy(y.mutable_data() + first.size(), second.data(),
                   static_cast<size_t>(second.size()) * sizeof(float));
  return y;
}

}  // namespace caltrop
