// On a linear model the best perturbation is known: with v = w_other - w_label the loss is
// log(1 + e^(v.x + b)), which rises along v alone.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/autograd.h"
#include "tests/attacks/setup.h"

namespace caltrop {
namespace {

using namespace test;

constexpr ImageShape kShape{4, 5, 1};
constexpr int64_t kPixels = 20;

struct Linear {
  Model model;
  std::vector<double> v;  // the loss of label 0 rises along it
  double bias = 0;
};

Linear linear_model(const std::vector<float>& first, const std::vector<float>& second, float bias = 0.0f) {
  Linear linear{make_model("flatten | dense 2", kShape), {}, static_cast<double>(bias)};
  std::vector<float> weight = first;
  weight.insert(weight.end(), second.begin(), second.end());
  set_parameter(linear.model, 0, weight);
  set_parameter(linear.model, 1, {0.0f, bias});
  for (size_t k = 0; k < first.size(); ++k) linear.v.push_back(static_cast<double>(second[k]) - first[k]);
  return linear;
}

Linear random_linear(uint64_t seed) {
  Random random(seed, Purpose::test);
  std::vector<float> first, second;
  for (int64_t k = 0; k < kPixels; ++k) {
    first.push_back(random.uniform(-1, 1));
    second.push_back(random.uniform(-1, 1));
  }
  return linear_model(first, second, 0.25f);
}

AttackBatch flat_image(float low, float high, int32_t label) {
  Random random(3, Purpose::test);
  std::vector<float> pixels;
  for (int64_t k = 0; k < kPixels; ++k) pixels.push_back(random.uniform(low, high));
  return {Tensor::from(cpu_backend(), {1, 4, 5, 1}, pixels), {0}, {label}, {}};
}

double loss_at(const Linear& linear, const std::vector<float>& x) {
  double margin = linear.bias;
  for (size_t k = 0; k < x.size(); ++k) margin += linear.v[k] * static_cast<double>(x[k]);
  return std::log1p(std::exp(margin));
}

double length(const std::vector<double>& v) {
  double square = 0;
  for (const double value : v) square += value * value;
  return std::sqrt(square);
}

double sign(double v) {
  return v > 0 ? 1 : v < 0 ? -1 : 0;
}

// The largest difference between the crafted image and x + eps * direction.
double distance_to(const Tensor& crafted, const std::vector<float>& x, const std::vector<double>& step) {
  const std::vector<float> found = crafted.to_host();
  double worst = 0;
  for (size_t k = 0; k < x.size(); ++k) {
    const double difference =
        std::fabs(static_cast<double>(found[k]) - (static_cast<double>(x[k]) + step[k]));
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

}  // namespace

TEST_SUITE("attacks") {
  TEST_CASE("FGSM on a linear model is the optimum of its norm") {
    const Linear linear = random_linear(11);
    const AttackBatch batch = flat_image(0.3f, 0.7f, 0);
    const std::vector<float> x = batch.x.to_host();
    const float eps = 0.2f;
    std::vector<double> linf, l2, l1(kPixels, 0.0);
    for (const double v : linear.v) {
      linf.push_back(eps * sign(v));
      l2.push_back(eps * v / length(linear.v));
    }
    const auto highest =
        static_cast<size_t>(std::max_element(linear.v.begin(), linear.v.end(),
                                             [](double a, double b) { return std::fabs(a) < std::fabs(b); }) -
                            linear.v.begin());
    l1[highest] = eps * sign(linear.v[highest]);

    const auto check = [&](Norm norm, const std::vector<double>& best) {
      CAPTURE(to_string(norm));
      const AttackResult result =
          craft(linear.model, batch, std::span(&eps, 1), attack_of(AttackKind::fgsm, norm));
      CHECK(distance_to(result.adversarial, x, best) <= 1e-6);
      std::vector<float> optimum = x;
      for (size_t k = 0; k < x.size(); ++k) optimum[k] = static_cast<float>(x[k] + best[k]);
      CHECK(std::fabs(static_cast<double>(result.rows[0].loss) - loss_at(linear, optimum)) <= 1e-5);
    };
    check(Norm::linf, linf);
    check(Norm::l2, l2);
    check(Norm::l1, l1);
  }

  TEST_CASE("FGSM under L1 shares its budget among coordinates that tie") {
    std::vector<float> first(kPixels, 0.125f), second(kPixels, 0.0f);
    first[3] = 0.5f;
    first[9] = -0.5f;
    const Linear linear = linear_model(first, second);
    const AttackBatch batch = flat_image(0.4f, 0.6f, 0);
    const float eps = 0.25f;
    std::vector<double> step(kPixels, 0.0);
    step[3] = -0.125;
    step[9] = 0.125;
    const AttackResult result =
        craft(linear.model, batch, std::span(&eps, 1), attack_of(AttackKind::fgsm, Norm::l1));
    CHECK(distance_to(result.adversarial, batch.x.to_host(), step) <= 1e-6);
    CHECK(std::fabs(result.rows[0].l1 - eps) <= 1e-6);
  }

  TEST_CASE("every iterated attack reaches the corner of the L-inf ball and the box") {
    const Linear linear = random_linear(12);
    const AttackBatch batch = flat_image(0.0f, 1.0f, 0);
    const std::vector<float> x = batch.x.to_host();
    const float eps = 0.4f;
    std::vector<double> step;
    for (size_t k = 0; k < x.size(); ++k) {
      const double wanted = static_cast<double>(x[k]) + static_cast<double>(eps) * sign(linear.v[k]);
      step.push_back(std::clamp(wanted, 0.0, 1.0) - static_cast<double>(x[k]));
    }
    for (const AttackKind kind : {AttackKind::bim, AttackKind::pgd, AttackKind::mim}) {
      for (const bool random_start : {false, true}) {
        if (kind == AttackKind::bim && random_start) continue;
        CAPTURE(to_string(kind));
        const AttackResult result =
            craft(linear.model, batch, std::span(&eps, 1), attack_of(kind, Norm::linf, random_start));
        CHECK(distance_to(result.adversarial, x, step) <= 1e-6);
      }
    }
  }

  TEST_CASE("PGD under L2 reaches eps v / |v| from the image and from a random start") {
    const Linear linear = random_linear(13);
    const AttackBatch batch = flat_image(0.45f, 0.55f, 0);
    const std::vector<float> x = batch.x.to_host();
    const float eps = 0.3f;
    std::vector<double> step;
    for (const double v : linear.v) step.push_back(eps * v / length(linear.v));
    for (const bool random_start : {false, true}) {
      CAPTURE(random_start);
      AttackOptions options = attack_of(AttackKind::pgd, Norm::l2, random_start);
      options.steps = 200;
      options.step_size = 0.1f;
      const AttackResult result = craft(linear.model, batch, std::span(&eps, 1), options);
      CHECK(distance_to(result.adversarial, x, step) <= 1e-5);
      CHECK(std::fabs(result.rows[0].l2 - eps) <= 1e-5);
    }
  }

  TEST_CASE("a targeted attack takes the opposite step") {
    const Linear linear = random_linear(14);
    AttackBatch batch = flat_image(0.4f, 0.6f, 0);
    batch.targets = {1};
    const float eps = 0.2f;
    std::vector<double> step;
    for (const double v : linear.v) step.push_back(eps * sign(v));  // towards 1 is away from 0
    for (const AttackKind kind : {AttackKind::fgsm, AttackKind::bim, AttackKind::mim}) {
      AttackOptions options = attack_of(kind, Norm::linf);
      options.targeted = true;
      CHECK(distance_to(craft(linear.model, batch, std::span(&eps, 1), options).adversarial,
                        batch.x.to_host(), step) <= 1e-6);
      batch.targets = {0};
      for (double& value : step) value = -value;
      CHECK(distance_to(craft(linear.model, batch, std::span(&eps, 1), options).adversarial,
                        batch.x.to_host(), step) <= 1e-6);
      batch.targets = {1};
      for (double& value : step) value = -value;
    }
  }

  TEST_CASE("a confident model still yields its gradient, unless asked for PyTorch's") {
    // A margin of 40: p_label rounds to 1, and p_label - 1 to 0.
    std::vector<float> first(kPixels, 4.0f), second(kPixels, 0.0f);
    const Linear linear = linear_model(first, second);
    const AttackBatch batch{Tensor::full(cpu_backend(), {1, 4, 5, 1}, 0.5f), {0}, {0}, {}};
    const float eps = 0.1f;
    AttackOptions options = attack_of(AttackKind::fgsm, Norm::linf);
    const AttackResult stable = craft(linear.model, batch, std::span(&eps, 1), options);
    CHECK(stable.rows[0].zero_gradients == 0);
    CHECK(distance_to(stable.adversarial, batch.x.to_host(), std::vector<double>(kPixels, -0.1)) <= 1e-6);
    options.cross_entropy = CrossEntropyGrad::torch;
    set_parameter(linear.model, 0, [&] {  // and with both rows in play the torch style loses the label's part
      std::vector<float> weight(kPixels, 4.0f);
      weight.insert(weight.end(), kPixels, 0.0f);
      return weight;
    }());
    const AttackResult torch = craft(linear.model, batch, std::span(&eps, 1), options);
    CHECK(torch.rows[0].zero_gradients == 1);
    CHECK(torch.rows[0].linf == 0.0f);
  }

  TEST_CASE("on a curved model BIM and MIM follow a plain loop over their definition") {
    const Model model = small_model(5);
    const Images images = random_images(model.input(), 6, 10, 5);
    const AttackBatch batch = batch_of(images, 0, 6);
    const Labels labels(cpu_backend(), std::span<const int32_t>(batch.labels));
    const float eps = 0.1f, size = 0.03f, decay = 0.8f;
    const std::vector<float> origin = batch.x.to_host();
    const size_t d = origin.size() / 6;
    for (const AttackKind kind : {AttackKind::bim, AttackKind::mim}) {
      CAPTURE(to_string(kind));
      std::vector<float> x = origin;
      std::vector<double> m(x.size(), 0.0);
      for (int k = 0; k < 7; ++k) {
        const Tensor leaf = variable(Tensor::from(cpu_backend(), batch.x.shape(), x));
        const std::vector<float> g = grad(cross_entropy(model.forward(leaf), labels), leaf).to_host();
        for (size_t i = 0; i < 6; ++i) {
          double sum = 0;
          for (size_t j = 0; j < d; ++j) sum += std::fabs(static_cast<double>(g[i * d + j]));
          for (size_t j = i * d; j < (i + 1) * d; ++j) {
            m[j] = decay * m[j] + static_cast<double>(g[j]) / sum;
            const double direction = kind == AttackKind::mim ? m[j] : static_cast<double>(g[j]);
            const float moved = x[j] + size * static_cast<float>(sign(direction));
            x[j] = std::clamp(std::clamp(moved, origin[j] - eps, origin[j] + eps), 0.0f, 1.0f);
          }
        }
      }
      AttackOptions options = attack_of(kind, Norm::linf);
      options.steps = 7;
      options.step_size = size;
      options.decay = decay;
      const std::vector<float> crafted =
          craft(model, batch, std::span(&eps, 1), options).adversarial.to_host();
      int64_t apart = 0;
      for (size_t j = 0; j < x.size(); ++j) apart += !(std::fabs(crafted[j] - x[j]) <= 1e-6f);
      CHECK(apart == 0);
    }
  }
}

}  // namespace caltrop
