#include "defense/training/adversarial.h"

#include <cmath>

#include "defense/training/craft_flags.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// Losses of two parts of a mini-batch in their order; there is no op that joins tracked tensors, but a product with ones
// and zeros does.
Tensor joined(const Tensor& first, const Tensor& second) {
  const int64_t k = first.dim(0), n = k + second.dim(0);
  std::vector<float> front(static_cast<size_t>(n * k), 0.0f), back(static_cast<size_t>(n * (n - k)), 0.0f);
  for (int64_t i = 0; i < k; ++i) front[static_cast<size_t>(i * k + i)] = 1;
  for (int64_t i = k; i < n; ++i) back[static_cast<size_t>(i * (n - k) + i - k)] = 1;
  const auto placed = [&](const std::vector<float>& where, const Tensor& losses) {
    const int64_t m = losses.dim(0);
    return matmul(Tensor::from(losses.backend(), {n, m}, where), reshape(losses, {m, 1}));
  };
  return reshape(placed(front, first) + placed(back, second), {n});
}

class AdversarialDefence final : public TrainedDefence {
 public:
  AdversarialDefence() : TrainedDefence("adversarial", {.epochs = 7}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    std::vector<DefenceOption> all = craft_.options();
    all.push_back({.name = "share",
                   .value = &share_,
                   .what =
                       "attacked images in each mini-batch, of all: 0.5 as Goodfellow et al. and Kim, 1 as "
                       "Madry et al.",
                   .value_name = "S",
                   .low = 0,
                   .high = 1});
    all.push_back(
        {.name = "bn",
         .value = &batch_norm_,
         .what = "whose moments batch norm takes in training: of clean and attacked images together, of "
                 "each apart, or of clean ones alone, by whose running moments attacked ones then go",
         .choices = {"mixed", "apart", "clean"}});
    return all;
  }

  void resolve_own(std::string_view, const PoolRecipeOptions&) override {
    craft_.resolve();
    if (batch_norm_ == "clean" && share_ == 1) fail("--bn clean: with --share 1 there are no clean images");
  }

  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    AdversarialOptions options{.share = share_, .craft = craft_.craft()};
    options.batch_norm = batch_norm_ == "mixed"   ? BatchNormSees::mixed
                         : batch_norm_ == "apart" ? BatchNormSees::apart
                                                  : BatchNormSees::clean;
    return std::make_unique<AdversarialTraining>(options);
  }
  double passes() const override { return 1 + share_ * static_cast<double>(craft_.craft().steps); }

 private:
  CraftFlags craft_;
  double share_ = 0.5;
  std::string batch_norm_ = "mixed";
};

}  // namespace

int64_t AdversarialTraining::attacked(int64_t size) const {
  return std::llround(options_.share * static_cast<double>(size));
}

void AdversarialTraining::prepare(const Model& /*model*/, const MiniBatch& batch) {
  craft_.prepare(batch, attacked(batch.x.dim(0)));
}

BatchLoss AdversarialTraining::loss(const Model& model, const MiniBatch& batch) {
  const int64_t n = batch.x.dim(0), k = attacked(n);
  const auto answer = [&](const Tensor& x) {
    const Tensor logits = model.forward(x, batch.forward);
    return BatchLoss{cross_entropy(logits, batch.labels), logits};
  };
  if (k == 0) return answer(batch.x);
  const Labels labels = rows_of(batch.labels, 0, k);
  const Tensor attacked = craft_.attack(
      model, rows_of(batch.x, 0, k), [&](const Tensor& z) { return cross_entropy(z, labels); },
      batch.forward);
  if (k == n) return answer(attacked);
  const Tensor clean = rows_of(batch.x, k, n);
  if (options_.batch_norm == BatchNormSees::mixed) return answer(rows_joined(attacked, clean));
  ForwardOptions how = batch.forward;
  how.training = options_.batch_norm == BatchNormSees::apart;
  const Tensor of_attacked = model.forward(attacked, how), of_clean = model.forward(clean, batch.forward);
  return {joined(cross_entropy(of_attacked, labels), cross_entropy(of_clean, rows_of(batch.labels, k, n))),
          rows_joined(of_attacked, of_clean)};
}

DefenceInfo adversarial_info() {
  return {.name = "adversarial",
          .summary = "train on clean images and on FGSM or PGD images of the network as it stands",
          .about =
              "Adversarial training: a share of each mini-batch is attacked as the network stands and "
              "learned under its own labels. By default as Goodfellow et al. and Kim: half of it by FGSM, "
              "under which accuracy can rise without any robustness (label leaking), so look at the "
              "attacks of more steps. --share 1 --attack pgd --step-size 0.01 --batch 50 --lr "
              "0.0001 is Madry et al.'s recipe.",
          .source = "Goodfellow et al. 2015; Madry et al. 2018; Kim 2025",
          .make = []() -> std::unique_ptr<Defence> { return std::make_unique<AdversarialDefence>(); },
          .pools = false};
}

}  // namespace caltrop
