// Attacks made inside a training step, against the attack library; and the mini-batches of adversarial training.
#include "defense/training/adversarial.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "engine/autograd.h"
#include "tests/defense/training/batch.h"

namespace caltrop::test {
namespace {

std::vector<float> library(const Model& model, const Images& images, int64_t count,
                           const AttackOptions& options, float eps) {
  const std::vector<float> sizes = {eps};
  return craft(model, batch_of(images, 0, count), sizes, options).adversarial.to_host();
}

TEST_SUITE("defense") {
  TEST_CASE("crafting in training: the attack library's FGSM and PGD, bit for bit") {
    const Model model = small_model();
    const Images images = random_images({12, 12, 1}, 20, 10);
    const Batch batch(images, 20, 3);
    CHECK(same_bytes(attacked(model, batch, {.eps = 0.1f, .step_size = 0.1f}).to_host(),
                     library(model, images, 20, attack_of(AttackKind::fgsm, Norm::linf), 0.1f)));
    AttackOptions pgd = attack_of(AttackKind::pgd, Norm::linf);
    pgd.steps = 7;
    pgd.step_size = 0.04f;
    CHECK(same_bytes(attacked(model, batch, {.eps = 0.1f, .steps = 7, .step_size = 0.04f}).to_host(),
                     library(model, images, 20, pgd, 0.1f)));
    // From its random start, by the attacks' own step.
    const CraftOptions random{.eps = 0.1f, .steps = 0, .start = CraftStart::uniform};
    Tensor x = attacked(model, batch, random);
    const std::vector<float> eps(20, 0.1f), step(20, 0.04f);
    const Network network(model);
    for (int k = 0; k < 3; ++k) {
      const Objectives loss = [&](const Tensor& z) {
        return std::vector<Tensor>{cross_entropy(z, batch.batch.labels)};
      };
      const Tensor g = network.differentiate(x, loss, {}).gradients[0];
      Tensor next = Tensor::uninitialized(x.backend(), x.shape());
      x.backend().attack_step({.norm = Norm::linf, .rows = 20, .cols = 144}, x.data(), batch.batch.x.data(),
                              g.data(), eps.data(), step.data(), next.mutable_data());
      x = next;
    }
    CraftOptions steps = random;
    steps.steps = 3;
    steps.step_size = 0.04f;
    CHECK(same_bytes(attacked(model, batch, steps).to_host(), x.to_host()));
  }

  TEST_CASE("crafting in training: a random start depends on seed, step and image alone") {
    const Model model = small_model();
    const Images images = random_images({12, 12, 1}, 20, 10);
    for (const CraftStart start : {CraftStart::uniform, CraftStart::unboxed, CraftStart::normal}) {
      const CraftOptions options{.eps = 0.2f, .steps = 0, .start = start, .sd = 0.5f};
      const std::vector<float> all = attacked(model, Batch(images, 20, 3), options).to_host(),
                               few = attacked(model, Batch(images, 5, 3, 10), options).to_host(),
                               later = attacked(model, Batch(images, 20, 4), options).to_host();
      CHECK(same_bytes(few, std::span(all).subspan(10 * 144, 5 * 144)));
      CHECK_FALSE(same_bytes(all, later));
      const std::vector<float> x = images.pixels(row_range(0, 20)).to_host();
      double far = 0, out = 0, squares = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        far = std::max(far, std::abs(static_cast<double>(all[i]) - static_cast<double>(x[i])));
        squares += (all[i] - x[i]) * (all[i] - x[i]);
        out += all[i] < 0 || all[i] > 1;
      }
      CHECK((out > 0) == (start != CraftStart::uniform));
      if (start == CraftStart::normal) {
        CHECK(std::abs(std::sqrt(squares / static_cast<double>(x.size())) - 0.5) < 0.02);
      } else {
        CHECK((far <= 0.2 + 1e-6 && far > 0.19));
      }
    }
  }

  TEST_CASE("crafting in training: no weight gradient, and batch norm stays as it is unless asked") {
    const Model model = small_model();
    const Images images = random_images({12, 12, 1}, 8, 10);
    const Batch batch(images, 8, 0);
    const int64_t weights = op_calls("conv_block_dweight");
    (void)attacked(model, batch, {.eps = 0.1f, .steps = 3, .step_size = 0.05f});
    CHECK(op_calls("conv_block_dweight") == weights);
    const auto bytes = [&] {
      std::vector<float> all;
      for (const auto& [name, tensor] : model.state().tensors) {
        const std::span<const float> values = tensor.floats();
        all.insert(all.end(), values.begin(), values.end());
      }
      return all;
    };
    const std::vector<float> still = bytes();
    (void)attacked(model, batch, {.eps = 0.1f, .steps = 3, .step_size = 0.05f});
    CHECK(same_bytes(still, bytes()));
    (void)attacked(model, batch, {.eps = 0.1f, .steps = 3, .step_size = 0.05f, .training_mode = true});
    CHECK_FALSE(same_bytes(still, bytes()));
  }

  TEST_CASE("adversarial training: shares of a mini-batch, and their loss") {
    const Model model = make_model("flatten | dense 12 | relu | dense 10", {12, 12, 1}, 3);
    const Images images = random_images({12, 12, 1}, 10, 10);
    const Batch batch(images, 10, 0);
    const CraftOptions fgsm{.eps = 0.1f, .step_size = 0.1f};
    for (const auto& [share, count] : {std::pair{0.0, 0}, {0.04, 0}, {0.25, 3}, {0.5, 5}, {1.0, 10}}) {
      AdversarialTraining objective({.share = share, .craft = fgsm});
      CHECK(objective.attacked(10) == count);
      objective.prepare(model, batch.batch);
      const std::vector<float> losses = objective.loss(model, batch.batch).losses.to_host();
      const std::vector<float>
          clean = cross_entropy(model.forward(batch.batch.x), batch.batch.labels).to_host(),
          harder = cross_entropy(model.forward(attacked(model, batch, fgsm)), batch.batch.labels).to_host();
      for (size_t i = 0; i < 10; ++i)
        CHECK(losses[i] == (static_cast<int>(i) < count ? harder[i] : clean[i]));
    }
    // Nothing that is not crafted: the gradient of plain cross-entropy.
    AdversarialTraining none({.share = 0, .craft = fgsm});
    CrossEntropy plain;
    CHECK(same_bytes(gradients_of(none.loss(model, batch.batch), model),
                     gradients_of(plain.loss(model, batch.batch), model)));
  }

  TEST_CASE("adversarial training: whose moments batch norm takes") {
    const Images images = random_images({12, 12, 1}, 12, 10);
    const Batch batch(images, 12, 0);
    const CraftOptions fgsm{.eps = 0.2f, .step_size = 0.2f};
    const auto run = [&](BatchNormSees sees, double share) {
      const Model model = small_model();
      AdversarialTraining objective({.share = share, .craft = fgsm, .batch_norm = sees});
      const BatchLoss loss = objective.loss(model, batch.batch);
      std::vector<float> all = loss.losses.to_host();
      const std::vector<float> gradients = gradients_of(loss, model);
      all.insert(all.end(), gradients.begin(), gradients.end());
      return all;
    };
    const Model model = small_model();
    const Labels first = rows_of(batch.batch.labels, 0, 6), second = rows_of(batch.batch.labels, 6, 12);
    const Tensor hard = attacked(model, Batch(images, 6, 0), fgsm), easy = rows_of(batch.batch.x, 6, 12);
    const auto expect = [&](BatchNormSees sees, const Model& of, const ForwardOptions& how) {
      const Tensor of_hard = of.forward(hard, how), of_easy = of.forward(easy, {.training = true});
      const std::vector<float> a = cross_entropy(of_hard, first).to_host(),
                               b = cross_entropy(of_easy, second).to_host(), all = run(sees, 0.5);
      CHECK(same_bytes(std::span(all).first(6), a));
      CHECK(same_bytes(std::span(all).subspan(6, 6), b));
      // The mean over both halves is the mean of the halves' means.
      const std::vector<Tensor> parts =
          grad({(mean(cross_entropy(of_hard, first)) + mean(cross_entropy(of_easy, second))) * 0.5f},
               of.parameters());
      size_t at = 12;
      for (const Tensor& g : parts) {
        for (const float value : g.to_host())
          CHECK(all[at++] == doctest::Approx(value).epsilon(1e-3).scale(1e-3));
      }
      CHECK(at == all.size());
    };
    expect(BatchNormSees::apart, model, {.training = true});
    expect(BatchNormSees::clean, small_model(), {});
    CHECK_FALSE(same_bytes(run(BatchNormSees::mixed, 0.5), run(BatchNormSees::apart, 0.5)));
  }
}

}  // namespace
}  // namespace caltrop::test
