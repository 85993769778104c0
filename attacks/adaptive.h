// Attacks that know the defence (Athalye, Carlini, Wagner: "Obfuscated gradients give a false sense of
// security", ICML 2018), as wrappers of a classifier: any attack runs through them.
//
//   a defence in front of a network     Preprocessed: z(x) = network(transform(x))
//   ... that draws random numbers       Averaged (EOT): the gradient averaged over draws, section 4.2
//   ... that masks the gradient         BPDA: the transform forward, another function backward, section 4.1
//   softmax that is saturated           Tempered: z(x) / T, whose gradients do not vanish (Carlini & Wagner 2017)
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attacks/classifier.h"

namespace caltrop {

// What a defence does to images (n,h,w,c) before the network sees them.
class Transform {
 public:
  virtual ~Transform() = default;
  virtual Tensor apply(const Tensor& x, const Query& query) const = 0;
  virtual bool random() const { return false; }
  virtual std::string name() const = 0;
};

// x + sigma N(0, 1), drawn anew for every question: a function of (seed, image, step, draw).
std::unique_ptr<Transform> gaussian_noise(float sigma, uint64_t seed);
// x rounded to `levels` values from 0 to 1 (2: black and white; 256: 8 bits). Its gradient is zero.
std::unique_ptr<Transform> quantization(int64_t levels);

// The values of `value` with the gradient of `surrogate`, of the same shape: BPDA as an op. With surrogate =
// x the transform is the identity on the way back.
Tensor straight_through(const Tensor& value, const Tensor& surrogate);

// The network behind a transform, as the defender runs it; with `surrogate`, as an attacker differentiates
// it.
class Preprocessed final : public Wrapper {
 public:
  using Surrogate = std::function<Tensor(const Tensor& x)>;
  Preprocessed(const Classifier& network, const Transform& transform, Surrogate surrogate = {})
      : Wrapper(network), transform_(transform), surrogate_(std::move(surrogate)) {}

  Tensor logits(const Tensor& x, const Query& query) const override;
  bool random() const override { return Wrapper::random() || transform_.random(); }

 private:
  const Transform& transform_;
  Surrogate surrogate_;
};
// Differentiates a transform as if it did nothing.
inline Tensor identity(const Tensor& x) {
  return x;
}

// EOT: one question for gradients is asked `draws` times, and values and gradients are averaged (not the
// logits, whose loss is another function). A question for logits alone gets the single answer that the
// defence gives.
class Averaged final : public Wrapper {
 public:
  Averaged(const Classifier& network, int64_t draws);

  Pass differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const override;
  int64_t passes() const override { return draws_ * Wrapper::passes(); }

 private:
  int64_t draws_;
};

// z(x) / T: the same answers. Distilled at T a network's logits are T times as large as another's, and at T = 1 the
// gradients of its cross-entropy are too small for fp32.
class Tempered final : public Wrapper {
 public:
  Tempered(const Classifier& network, float temperature);

  Tensor logits(const Tensor& x, const Query& query) const override;

 private:
  float temperature_;
};

// A defence in front of a network, as an attack sees it.
struct FrontDefence {
  std::optional<float> noise = {};     // sigma of Gaussian noise
  std::optional<int64_t> levels = {};  // of quantization; one of both at most
  bool bpda = false;                   // differentiated as if it did nothing
  int64_t draws = 1;                   // over which gradients are averaged
  uint64_t seed = 0;                   // of the noise
};
class Guarded {
 public:
  // The network must outlive it.
  Guarded(const Model& model, const FrontDefence& defence);
  const Classifier& classifier() const { return *layers_.back(); }

 private:
  std::unique_ptr<Transform> transform_;
  std::vector<std::unique_ptr<Classifier>> layers_;
};

}  // namespace caltrop
