#include "defense/training/free.h"

#include "defense/training/craft.h"
#include "engine/autograd.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr const char* kDelta = "objective.perturbation";

class FreeDefence final : public TrainedDefence {
 public:
  FreeDefence() : TrainedDefence("free", {.epochs = 5}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    return {{.name = "eps",
             .value = &eps_,
             .what = "L-inf size of the perturbation",
             .value_name = "E",
             .low = 0,
             .high = 1,
             .open_low = true},
            {.name = "replays",
             .value = &replays_,
             .what = "updates on each mini-batch, one after the other: --epochs times as many passes in all",
             .value_name = "M",
             .low = 1,
             .high = 1000}};
  }
  double passes() const override { return static_cast<double>(replays_); }
  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    return std::make_unique<FreeTraining>(static_cast<float>(eps_), replays_);
  }

 private:
  double eps_ = 0.3;
  int64_t replays_ = 8;
};

}  // namespace

// The first mini-batch of all is none that is smaller than the others.
void FreeTraining::prepare(const Model& /*model*/, const MiniBatch& batch) {
  if (delta_) return;
  delta_ = Tensor::zeros(batch.x.backend(), batch.x.shape());
  if (loaded_.empty()) return;
  if (static_cast<int64_t>(loaded_.size()) != delta_.size())
    fail("[free] expected a perturbation of {} values, got {}", delta_.size(), loaded_.size());
  delta_.backend().upload(delta_.mutable_data(), loaded_.data(), loaded_.size() * sizeof(float));
}

BatchLoss FreeTraining::loss(const Model& model, const MiniBatch& batch) {
  const Tensor delta = variable(rows_of(delta_, 0, batch.x.dim(0)));
  const Tensor logits = model.forward(clamp(batch.x + delta, 0, 1), batch.forward);
  return {cross_entropy(logits, batch.labels), logits, {}, {delta}};
}

void FreeTraining::update(const MiniBatch& batch, const std::vector<Tensor>& gradients) {
  const Tensor& g = gradients.at(0);
  const Tensor moved = clamp(rows_of(delta_, 0, batch.x.dim(0)) + sign(g) * eps_, -eps_, eps_);
  delta_.backend().copy(delta_.mutable_data(), moved.data(),
                        static_cast<size_t>(moved.size()) * sizeof(float));
}

void FreeTraining::save(SafeTensorFile& file) const {
  if (delta_) file.tensors.emplace_back(kDelta, SafeTensor::from_floats(delta_.shape(), delta_.to_host()));
}

void FreeTraining::load(const SafeTensorFile& file) {
  const SafeTensor* const delta = file.find(kDelta);
  if (delta == nullptr) fail("[free] expected {} in the checkpoint", kDelta);
  const std::span<const float> values = delta->floats();
  loaded_.assign(values.begin(), values.end());
}

DefenceInfo free_info() {
  return {.name = "free",
          .summary = "adversarial training at the price of plain training: one backward pass for both",
          .about =
              "Free adversarial training: each mini-batch is taken --replays times, and the backward pass of "
              "each "
              "update also gives a step of a perturbation that stays from one mini-batch to the next.",
          .source = "Shafahi et al. 2019",
          .make = []() -> std::unique_ptr<Defence> { return std::make_unique<FreeDefence>(); },
          .pools = false};
}

}  // namespace caltrop
