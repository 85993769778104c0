#include "defense/training/trades.h"

#include "defense/training/craft_flags.h"
#include "engine/autograd.h"

namespace caltrop {
namespace {

class TradesDefence final : public TrainedDefence {
 public:
  // The authors' rates for MNIST: 0.01, and a tenth of it after 55 of 100 epochs.
  TradesDefence()
      : TrainedDefence("trades", {.epochs = 100,
                                  .rule = {.rule = Rule::sgd, .rate = 0.01f, .momentum = 0.9f},
                                  .schedule = "step 0.55 0.1"}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    std::vector<DefenceOption> all = craft_.options();
    all.push_back({.name = "beta",
                   .value = &beta_,
                   .what = "weight of the divergence: the authors' 1/lambda",
                   .value_name = "B",
                   .low = 0,
                   .high = 1000});
    return all;
  }
  void resolve_own(std::string_view, const PoolRecipeOptions&) override { craft_.resolve(); }
  double passes() const override { return 2 + static_cast<double>(craft_.craft().steps); }
  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    CraftOptions craft = craft_.craft();
    craft.start = CraftStart::normal;
    return std::make_unique<Trades>(craft, static_cast<float>(beta_));
  }

 private:
  CraftFlags craft_{.attack = "pgd", .choice = false};
  double beta_ = 6;
};

}  // namespace

void Trades::prepare(const Model& /*model*/, const MiniBatch& batch) {
  craft_.prepare(batch, batch.x.dim(0));
}

BatchLoss Trades::loss(const Model& model, const MiniBatch& batch) {
  const Tensor own = current_answers(model, batch, mode_);
  const Tensor x = craft_.attack(
      model, batch.x, [&](const Tensor& z) { return kl_divergence(own, z); }, batch.forward);
  const Tensor clean = model.forward(batch.x, batch.forward), moved = model.forward(x, batch.forward);
  const Tensor error = cross_entropy(clean, batch.labels), divergence = kl_divergence(clean, moved);
  return {error + divergence * beta_, clean, {error, divergence}};
}

DefenceInfo trades_info() {
  return {
      .name = "trades",
      .summary = "train for clean accuracy and for answers that attacks do not move (TRADES)",
      .about =
          "TRADES: cross-entropy on clean images, and --beta times the divergence between the answers to an "
          "image and to the one in the ball around it that PGD finds farthest from it. The defaults are the "
          "authors' for MNIST but for the step, which is --step-size 0.01 in theirs, and --beta, which is 6 "
          "in "
          "their table and 1 in their script.",
      .source = "Zhang et al. 2019",
      .make = []() -> std::unique_ptr<Defence> { return std::make_unique<TradesDefence>(); },
      .pools = false};
}

}  // namespace caltrop
