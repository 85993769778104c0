#include "defense/training/gaussian.h"

#include <cmath>
#include <vector>

#include "defense/training/craft.h"
#include "engine/ops.h"
#include "engine/random.h"

namespace caltrop {
namespace {

// 24 bits of the step and 24 of the image's number.
uint64_t noise_stream(uint64_t step, int64_t image) {
  constexpr uint64_t kBits = 24, kMask = (1u << kBits) - 1;
  return stream_of(Purpose::image_noise, (step & kMask) << kBits | (static_cast<uint64_t>(image) & kMask));
}

Labels joined(const Labels& first, const Labels& second) {
  const Labels all(first.backend(), first.count() + second.count());
  const auto bytes = [](const Labels& labels) {
    return static_cast<size_t>(labels.count()) * sizeof(int32_t);
  };
  first.backend().copy(all.data(), first.data(), bytes(first));
  first.backend().copy(all.data() + first.count(), second.data(), bytes(second));
  return all;
}

class Gaussian final : public TrainedDefence {
 public:
  Gaussian() : TrainedDefence("gaussian", {.epochs = 7}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    return {{.name = "sigma",
             .value = &sigma_,
             .what = "standard deviation of the noise; pixels are in [0,1]",
             .value_name = "S",
             .low = 0,
             .high = 10},
            {.name = "ratio",
             .value = &ratio_,
             .what = "noisy copies to each image, of at most 1",
             .value_name = "R",
             .low = 0,
             .high = 1}};
  }

  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    return std::make_unique<GaussianAugmentation>(static_cast<float>(sigma_), ratio_);
  }

  double passes() const override { return 1 + ratio_; }

 private:
  double sigma_ = 0.2, ratio_ = 1;
};

}  // namespace

int64_t GaussianAugmentation::copies(int64_t size) const {
  return std::llround(ratio_ * static_cast<double>(size));
}

void GaussianAugmentation::prepare(const Model& /*model*/, const MiniBatch& batch) {
  const int64_t n = batch.x.dim(0), k = copies(n);
  Backend& backend = batch.x.backend();
  Appended& appended = of_size_[n];
  if (!appended.fold) {
    Shape shape = batch.x.shape();
    shape[0] = k;
    appended.noise = Tensor::uninitialized(backend, shape);
    const float share = static_cast<float>(n) / static_cast<float>(n + k);
    std::vector<float> fold(static_cast<size_t>(n * (n + k)));
    for (int64_t i = 0; i < n + k; ++i) fold[static_cast<size_t>((i < n ? i : i - n) * (n + k) + i)] = share;
    appended.fold = Tensor::from(backend, {n, n + k}, fold);
  }
  std::vector<uint64_t> streams;
  for (int64_t i = 0; i < k; ++i)
    streams.push_back(noise_stream(batch.forward.step, batch.rows[static_cast<size_t>(i)]));
  if (k > 0) {
    backend.random(Distribution::normal, batch.forward.seed, streams, appended.noise.size() / k,
                   appended.noise.mutable_data());
  }
}

BatchLoss GaussianAugmentation::loss(const Model& model, const MiniBatch& batch) {
  const int64_t n = batch.x.dim(0), k = copies(n);
  const Appended& appended = of_size_.at(n);
  const Tensor noisy = clamp(rows_of(batch.x, 0, k) + appended.noise * sigma_, 0.0f, 1.0f);
  const Tensor logits = model.forward(rows_joined(batch.x, noisy), batch.forward);
  const Tensor losses = cross_entropy(logits, joined(batch.labels, rows_of(batch.labels, 0, k)));
  return {reshape(matmul(appended.fold, reshape(losses, {n + k, 1})), {n}), rows_of(logits, 0, n)};
}

DefenceInfo gaussian_info() {
  return {
      .name = "gaussian",
      .summary = "train on noisy copies of the images beside them",
      .about =
          "Gaussian augmentation: to each mini-batch copies of its images with Gaussian noise are appended, "
          "clipped to [0,1]. It smooths the network and costs no attack.",
      .source = "Zantedeschi et al. 2017",
      .make = []() -> std::unique_ptr<Defence> { return std::make_unique<Gaussian>(); },
      .pools = false};
}

}  // namespace caltrop
