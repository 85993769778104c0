// TRADES, logit pairing, free and fast training: what a mini-batch costs, against the same computed another way.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "defense/training/adversarial.h"
#include "defense/training/alp.h"
#include "defense/training/fast.h"
#include "defense/training/free.h"
#include "defense/training/trades.h"
#include "tests/defense/training/batch.h"

namespace caltrop::test {
namespace {

struct Small {
  Model model = make_model("conv 4 3x3 | relu | maxpool 2 | flatten | dense 10", {12, 12, 1}, 3);
  Images images = random_images({12, 12, 1}, 12, 10);
  Batch batch{images, 12, 3};
};

// sum_k p_k (log p_k - log q_k) in double.
double divergence(const std::vector<float>& z, const std::vector<float>& moved, size_t row, size_t classes) {
  const auto log_probabilities = [&](const std::vector<float>& logits) {
    double sum = 0;
    std::vector<double> all;
    for (size_t k = 0; k < classes; ++k) sum += std::exp(static_cast<double>(logits[row * classes + k]));
    for (size_t k = 0; k < classes; ++k)
      all.push_back(static_cast<double>(logits[row * classes + k]) - std::log(sum));
    return all;
  };
  const std::vector<double> p = log_probabilities(z), q = log_probabilities(moved);
  double total = 0;
  for (size_t k = 0; k < classes; ++k) total += std::exp(p[k]) * (p[k] - q[k]);
  return total;
}

TEST_SUITE("defense") {
  TEST_CASE(
      "trades: without its second term cross-entropy, with it the divergence of an image that was moved") {
    const Small s;
    const CraftOptions craft{.eps = 0.1f, .steps = 3, .step_size = 0.05f, .start = CraftStart::normal};
    Trades plain(craft, 0), whole(craft, 6);
    CrossEntropy reference;
    plain.prepare(s.model, s.batch.batch);
    whole.prepare(s.model, s.batch.batch);
    const BatchLoss without = plain.loss(s.model, s.batch.batch), with = whole.loss(s.model, s.batch.batch),
                    expected = reference.loss(s.model, s.batch.batch);
    CHECK(same_bytes(without.losses.to_host(), expected.losses.to_host()));
    const std::vector<float> a = gradients_of(without, s.model), b = gradients_of(expected, s.model);
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-6));
    // Where the divergence is climbed to, and what it is there.
    StepCraft by_hand(craft);
    by_hand.prepare(s.batch.batch, 12);
    const Tensor own = s.model.forward(s.batch.batch.x).detach();
    const Tensor x = by_hand.attack(
        s.model, s.batch.batch.x, [&](const Tensor& z) { return kl_divergence(own, z); },
        s.batch.batch.forward);
    const std::vector<float> clean = own.to_host(), moved = s.model.forward(x).to_host(),
                             error = expected.losses.to_host(), all = with.losses.to_host(),
                             said = with.reported[1].to_host();
    double total = 0;
    for (size_t r = 0; r < 12; ++r) {
      const double kl = divergence(clean, moved, r, 10);
      CHECK(said[r] == doctest::Approx(kl).epsilon(1e-4).scale(1e-3));
      CHECK(all[r] == doctest::Approx(error[r] + 6 * kl).epsilon(1e-4));
      total += kl;
    }
    CHECK(total > 0.05);
    CHECK(whole.reports().size() == with.reported.size());
  }

  TEST_CASE("alp: the distance of logits, and adversarial training without it") {
    const Small s;
    const CraftOptions craft{.eps = 0.1f, .steps = 3, .step_size = 0.05f};
    LogitPairing none(craft, 0, false), whole(craft, 0.5f, true);
    AdversarialTraining madry({.share = 1, .craft = craft});
    CHECK(same_bytes(gradients_of(none.loss(s.model, s.batch.batch), s.model),
                     gradients_of(madry.loss(s.model, s.batch.batch), s.model)));
    const std::vector<float> z = s.model.forward(s.batch.batch.x).to_host(),
                             moved = s.model.forward(attacked(s.model, s.batch, craft)).to_host(),
                             clean = cross_entropy(s.model.forward(s.batch.batch.x), s.batch.batch.labels)
                                         .to_host(),
                             hard = madry.loss(s.model, s.batch.batch).losses.to_host(),
                             all = whole.loss(s.model, s.batch.batch).losses.to_host();
    for (size_t r = 0; r < 12; ++r) {
      double distance = 0;
      for (size_t k = 0; k < 10; ++k)
        distance += std::pow(static_cast<double>(z[r * 10 + k]) - static_cast<double>(moved[r * 10 + k]), 2);
      CHECK(all[r] == doctest::Approx(0.5 * (clean[r] + hard[r]) + 0.5 * distance).epsilon(1e-4));
    }
  }

  TEST_CASE("free: one backward pass moves the perturbation by a step, which stays for the next mini-batch") {
    const Small s;
    FreeTraining objective(0.1f, 4);
    CHECK(objective.repeats() == 4);
    objective.prepare(s.model, s.batch.batch);
    const BatchLoss first = objective.loss(s.model, s.batch.batch);
    CrossEntropy plain;
    CHECK(same_bytes(first.losses.to_host(),
                     plain.loss(s.model, s.batch.batch).losses.to_host()));  // it begins at 0
    const std::vector<Tensor> g = grad({mean(first.losses)}, first.wrt);
    objective.update(s.batch.batch, g);
    const Tensor x = variable(s.batch.batch.x);
    const std::vector<float> slope =
        grad(sum(cross_entropy(s.model.forward(x), s.batch.batch.labels)), x).to_host();
    const std::vector<float> moved = objective.perturbation().to_host();
    for (size_t i = 0; i < moved.size(); ++i)
      CHECK(moved[i] == (slope[i] > 0 ? 0.1f : slope[i] < 0 ? -0.1f : 0.0f));
    // A smaller mini-batch begins with its first rows, and changes no more.
    const Batch rest(s.images, 5, 4, 7);
    objective.prepare(s.model, rest.batch);
    const BatchLoss second = objective.loss(s.model, rest.batch);
    const Tensor from = clamp(rest.batch.x + rows_of(objective.perturbation(), 0, 5), 0, 1);
    CHECK(same_bytes(second.losses.to_host(),
                     cross_entropy(s.model.forward(from), rest.batch.labels).to_host()));
    objective.update(rest.batch, grad({mean(second.losses)}, second.wrt));
    const std::vector<float> now = objective.perturbation().to_host();
    const size_t size = 5 * 144;
    CHECK(same_bytes(std::span(now).subspan(size), std::span(moved).subspan(size)));
    CHECK_FALSE(same_bytes(std::span(now).first(size), std::span(moved).first(size)));
    for (const float value : now) CHECK(std::abs(value) <= 0.1f);
    // It is part of a checkpoint.
    SafeTensorFile file;
    objective.save(file);
    FreeTraining again(0.1f, 4);
    again.load(file);
    again.prepare(s.model, s.batch.batch);
    CHECK(same_bytes(again.perturbation().to_host(), now));
    CHECK_THROWS_AS(again.load({}), Error);
  }

  TEST_CASE("fast: one step from a start outside the box") {
    const Small s;
    const CraftOptions craft{.eps = 0.3f, .step_size = 0.375f, .start = CraftStart::unboxed};
    const std::vector<float> clean = s.batch.batch.x.to_host(),
                             found = attacked(s.model, s.batch, craft).to_host();
    CraftOptions still = craft;
    still.steps = 0;
    const Tensor start = attacked(s.model, s.batch, still), x = variable(start);
    const std::vector<float> slope = grad(sum(cross_entropy(s.model.forward(x), s.batch.batch.labels)), x)
                                         .to_host(),
                             begun = start.to_host();
    for (size_t i = 0; i < clean.size(); ++i) {
      const float moved = begun[i] + (slope[i] > 0 ? 0.375f : slope[i] < 0 ? -0.375f : 0.0f);
      const float inside = std::min(clean[i] + 0.3f, std::max(clean[i] - 0.3f, moved));
      CHECK(found[i] == std::min(1.0f, std::max(0.0f, inside)));
    }
  }

  TEST_CASE("fast: catastrophic overfitting is told, and an early stop keeps the weights from before") {
    const Small s;
    const std::vector<double> seen = {0.5, 0.8, 0.65, 0.55, 0.7};
    for (const bool stop : {false, true}) {
      Model model = make_model("flatten | dense 10", {12, 12, 1}, 3);
      std::vector<std::string> told;
      size_t epoch = 0;
      const auto accuracy = [&](const Model&) {
        return seen[epoch];
      };
      const auto tell = [&](const std::string& text) {
        told.push_back(text);
      };
      OverfittingLook look(accuracy, stop, tell);
      std::vector<float> weights;
      for (; epoch < seen.size(); ++epoch) {
        set_parameter(model, 1, std::vector<float>(10, static_cast<float>(epoch)));
        std::map<std::string, double> reported;
        if (epoch == 2) {  // as after a kill
          SafeTensorFile file;
          look.save(file);
          OverfittingLook other(accuracy, stop, tell);
          other.load(file);
          look = other;
        }
        const bool on = look.go_on(model, {.epoch = static_cast<int64_t>(epoch) + 1}, reported);
        CHECK(reported.at("pgd20_accuracy") == seen[epoch]);
        if (!on) break;
      }
      CHECK(look.fallen());
      REQUIRE(told.size() == 1);
      CHECK(told[0].find("catastrophic overfitting in epoch 4: 55.00 %") == 0);
      CHECK(epoch == (stop ? 3 : seen.size()));
      CHECK(model.parameters()[1].to_host()[0] == (stop ? 2.0f : 4.0f));
    }
  }
}

}  // namespace
}  // namespace caltrop::test
