#include "defense/training/alp.h"

#include "defense/training/craft_flags.h"

namespace caltrop {
namespace {

class LogitPairingDefence final : public TrainedDefence {
 public:
  LogitPairingDefence() : TrainedDefence("alp", {.epochs = 100, .batch = 50, .rule = {.rate = 1e-4f}}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    std::vector<DefenceOption> all = craft_.options();
    all.push_back(
        {.name = "lambda",
         .value = &lambda_,
         .what = "weight of the squared distance between the logits of an image and its attacked one",
         .value_name = "L",
         .low = 0,
         .high = 1000});
    all.push_back({.name = "cross-entropy",
                   .value = &of_,
                   .what = "of attacked images alone, or the mean of theirs and of clean images'",
                   .choices = {"both", "attacked"}});
    return all;
  }
  void resolve_own(std::string_view, const PoolRecipeOptions&) override { craft_.resolve(); }
  double passes() const override { return 2 + static_cast<double>(craft_.craft().steps); }
  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    return std::make_unique<LogitPairing>(craft_.craft(), static_cast<float>(lambda_), of_ == "both");
  }

 private:
  CraftFlags craft_{.attack = "pgd", .choice = false};
  double lambda_ = 0.5;
  std::string of_ = "both";
};

}  // namespace

void LogitPairing::prepare(const Model& /*model*/, const MiniBatch& batch) {
  craft_.prepare(batch, batch.x.dim(0));
}

BatchLoss LogitPairing::loss(const Model& model, const MiniBatch& batch) {
  const Tensor x = craft_.attack(
      model, batch.x, [&](const Tensor& z) { return cross_entropy(z, batch.labels); }, batch.forward);
  const Tensor clean = model.forward(batch.x, batch.forward), attacked = model.forward(x, batch.forward);
  const Tensor harder = cross_entropy(attacked, batch.labels), pairing = sum(square(clean - attacked), {1});
  const Tensor error = both_ ? (harder + cross_entropy(clean, batch.labels)) * 0.5f : harder;
  return {error + pairing * lambda_, attacked, {harder, pairing}};
}

DefenceInfo alp_info() {
  return {.name = "alp",
          .summary = "adversarial training that pairs the logits of clean and attacked images",
          .about =
              "Adversarial logit pairing: PGD training, and --lambda times the squared distance between the "
              "logits "
              "of an image and of the one that is attacked. Engstrom et al. 2018 found that it can hide "
              "gradients: "
              "look at the attacks of many steps.",
          .source = "Kannan et al. 2018",
          .make = []() -> std::unique_ptr<Defence> { return std::make_unique<LogitPairingDefence>(); },
          .pools = false};
}

}  // namespace caltrop
