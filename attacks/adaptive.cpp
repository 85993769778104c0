#include "attacks/adaptive.h"

#include <fmt/format.h>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"
#include "engine/random.h"

namespace caltrop {
namespace {

constexpr int64_t kMaxDraws = 255;  // the room for them in a stream of random numbers

class GaussianNoise final : public Transform {
 public:
  GaussianNoise(float sigma, uint64_t seed) : sigma_(sigma), seed_(seed) {}

  Tensor apply(const Tensor& x, const Query& query) const override {
    if (static_cast<int64_t>(query.images.size()) != x.dim(0)) {
      fail("[noise] expected the numbers of {} images, got {}", x.dim(0), query.images.size());
    }
    // A seed for each question; under it a stream for each image.
    Random question(seed_, Purpose::defence, query.step << 8 | query.draw);
    const uint64_t high = question.bits(), seed = high << 32 | question.bits();
    std::vector<uint64_t> streams;
    for (const int64_t image : query.images) {
      streams.push_back(stream_of(Purpose::defence, static_cast<uint64_t>(image)));
    }
    Tensor noise = Tensor::uninitialized(x.backend(), x.shape());
    const int64_t pixels = x.dim(0) > 0 ? x.size() / x.dim(0) : 0;
    x.backend().random(Distribution::normal, seed, streams, pixels, noise.mutable_data());
    return x + noise * sigma_;
  }
  bool random() const override { return true; }
  std::string name() const override { return fmt::format("Gaussian noise of {:g}", sigma_); }

 private:
  float sigma_;
  uint64_t seed_;
};

class Quantization final : public Transform {
 public:
  explicit Quantization(int64_t levels) : levels_(levels) {}

  // Beyond 2^23 floats are whole numbers, so adding it rounds to the nearest, ties to even.
  Tensor apply(const Tensor& x, const Query&) const override {
    const NoGrad values_only;
    const auto top = static_cast<float>(levels_ - 1);
    return ((x.detach() * top + 0x1p23f) - 0x1p23f) / top;
  }
  std::string name() const override { return fmt::format("rounding to {} levels", levels_); }

 private:
  int64_t levels_;
};

}  // namespace

std::unique_ptr<Transform> gaussian_noise(float sigma, uint64_t seed) {
  if (!(sigma >= 0.0f && sigma <= 100.0f)) fail("[noise] expected a deviation from 0 to 100, got {}", sigma);
  return std::make_unique<GaussianNoise>(sigma, seed);
}

std::unique_ptr<Transform> quantization(int64_t levels) {
  if (levels < 2 || levels > 65536) fail("[quantize] expected 2 to 65536 levels, got {}", levels);
  return std::make_unique<Quantization>(levels);
}

Tensor straight_through(const Tensor& value, const Tensor& surrogate) {
  if (value.shape() != surrogate.shape()) {
    fail("[straight_through] expected a surrogate of shape {}, got {}", to_string(value.shape()),
         to_string(surrogate.shape()));
  }
  return record("straight_through", value.detach(), {surrogate},
                [](const Tensor& g, const Needs&) { return std::vector<Tensor>{g}; });
}

Tensor Preprocessed::logits(const Tensor& x, const Query& query) const {
  const Tensor seen = transform_.apply(x, query);
  return inner().logits(surrogate_ ? straight_through(seen, surrogate_(x)) : seen, query);
}

Averaged::Averaged(const Classifier& network, int64_t draws) : Wrapper(network), draws_(draws) {
  if (draws < 1 || draws > kMaxDraws) fail("[eot] expected 1 to {} draws, got {}", kMaxDraws, draws);
}

Pass Averaged::differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const {
  Pass mean = inner().differentiate(x, objectives, query);  // its logits are those of one real answer
  for (int64_t draw = 1; draw < draws_; ++draw) {
    Query again = query;
    again.draw = static_cast<uint64_t>(draw);
    const Pass pass = inner().differentiate(x, objectives, again);
    for (size_t k = 0; k < mean.gradients.size(); ++k) {
      mean.values[k] = mean.values[k] + pass.values[k];
      mean.gradients[k] = mean.gradients[k] + pass.gradients[k];
    }
  }
  const float share = 1.0f / static_cast<float>(draws_);
  for (size_t k = 0; k < mean.gradients.size(); ++k) {
    mean.values[k] = mean.values[k] * share;
    mean.gradients[k] = mean.gradients[k] * share;
  }
  return mean;
}

Tempered::Tempered(const Classifier& network, float temperature)
    : Wrapper(network), temperature_(temperature) {
  if (!(temperature > 0.0f)) fail("[tempered] expected a temperature above 0, got {}", temperature);
}

Tensor Tempered::logits(const Tensor& x, const Query& query) const {
  return inner().logits(x, query) / temperature_;
}

Guarded::Guarded(const Model& model, const FrontDefence& defence) {
  layers_.push_back(std::make_unique<Network>(model));
  if (defence.noise) transform_ = gaussian_noise(*defence.noise, defence.seed);
  if (defence.levels) transform_ = quantization(*defence.levels);
  if (transform_) {
    layers_.push_back(std::make_unique<Preprocessed>(classifier(), *transform_,
                                                     defence.bpda ? identity : Preprocessed::Surrogate()));
  }
  if (defence.draws > 1) layers_.push_back(std::make_unique<Averaged>(classifier(), defence.draws));
}

}  // namespace caltrop
