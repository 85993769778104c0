#include "defense/training/fast.h"

#include <algorithm>

#include "attacks/attack_images.h"
#include "defense/training/adversarial.h"
#include "defense/training/craft_flags.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr int64_t kWatchedSteps = 20;
const std::string kBefore = "look.";

class FastDefence final : public TrainedDefence {
 public:
  // The authors' for MNIST: Adam, its rate rising to 0.005 in the first four of ten epochs and falling to 0.
  FastDefence()
      : TrainedDefence("fast",
                       {.epochs = 10, .batch = 100, .rule = {.rate = 5e-3f}, .schedule = "triangle 0.4"}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    return {craft_eps_option(eps_),
            craft_step_size_option(step_size_, "of the one step", "1.25 eps"),
            {.name = "watched",
             .value = &watched_,
             .what = "training images, the first, that are attacked by PGD-20 after each epoch; 0 for not",
             .value_name = "N",
             .low = 0,
             .high = 1e9},
            {.name = "early-stop",
             .value = &stop_,
             .what = "end where the accuracy under PGD-20 falls by more than 20 points below its highest "
                     "(catastrophic overfitting), with the weights of the epoch before"}};
  }
  void resolve_own(std::string_view, const PoolRecipeOptions&) override {
    if (stop_ && watched_ == 0) fail("--early-stop looks at --watched training images: 0 leaves none");
  }
  double passes() const override { return 2; }
  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    const double step = step_size_.value_or(1.25 * eps_);
    return std::make_unique<AdversarialTraining>(
        AdversarialOptions{.share = 1,
                           .craft = {.eps = static_cast<float>(eps_),
                                     .step_size = static_cast<float>(step),
                                     .start = CraftStart::unboxed}});
  }
  std::unique_ptr<EpochLook> make_look(const DefenceTask& task) const override {
    if (watched_ == 0) return nullptr;
    const auto accuracy = [&task, eps = static_cast<float>(eps_), count = watched_](const Model& model) {
      AttackOptions pgd = attack_defaults(AttackKind::pgd);
      pgd.norm = Norm::linf;
      pgd.steps = kWatchedSteps;
      pgd.random_start = true;
      pgd.seed = task.seed;
      const std::vector<float> sizes = {eps};
      const std::vector<int64_t> rows = row_range(0, std::min(count, task.train.count()));
      return attack_images(model, task.train, sizes, pgd, {.rows = rows}).sizes.at(0).accuracy();
    };
    return std::make_unique<OverfittingLook>(accuracy, stop_,
                                             [&task](const std::string& text) { task.watch.warn(text); });
  }

 private:
  double eps_ = 0.3;
  std::optional<double> step_size_;
  int64_t watched_ = 1000;
  bool stop_ = false;
};

}  // namespace

bool OverfittingLook::go_on(Model& model, const EpochResult& epoch, std::map<std::string, double>& reported) {
  const double robust = accuracy_(model);
  reported["pgd20_accuracy"] = robust;
  const bool fell = robust < highest_ - kFall;
  if (fell && fallen_ == 0) {
    fallen_ = epoch.epoch;
    tell_(fmt::format(
        "catastrophic overfitting in epoch {}: {:.2f} % of the watched training images stand PGD-20, "
        "{:.2f} % did before{}",
        epoch.epoch, 100 * robust, 100 * highest_,
        stop_ ? "; the weights of the epoch before are kept" : ""));
  }
  highest_ = std::max(highest_, robust);
  if (!stop_) return true;
  if (!fell) {
    before_ = model.state();
    return true;
  }
  model.load(before_);
  return false;
}

void OverfittingLook::save(SafeTensorFile& file) const {
  file.metadata[kBefore + "highest"] = fmt::format("{}", highest_);
  file.metadata[kBefore + "fallen"] = std::to_string(fallen_);
  for (const auto& [name, tensor] : before_.tensors) file.tensors.emplace_back(kBefore + name, tensor);
}

void OverfittingLook::load(const SafeTensorFile& file) {
  const auto highest = file.metadata.find(kBefore + "highest");
  const std::optional<int64_t> fallen = file.number(kBefore + "fallen");
  if (highest == file.metadata.end() || !fallen)
    fail("[fast] expected what was seen of epochs in the checkpoint");
  highest_ = std::stod(highest->second);
  fallen_ = *fallen;
  before_ = {};
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(kBefore)) before_.tensors.emplace_back(name.substr(kBefore.size()), tensor);
  }
}

DefenceInfo fast_info() {
  return {
      .name = "fast",
      .summary = "adversarial training with one step of FGSM from a random start",
      .about =
          "Fast adversarial training, by its authors' recipe for MNIST (their network is --model wong). It "
          "can "
          "fall into catastrophic overfitting, which is told where it is seen in the accuracy under PGD-20.",
      .source = "Wong, Rice & Kolter 2020",
      .make = []() -> std::unique_ptr<Defence> { return std::make_unique<FastDefence>(); },
      .pools = false};
}

}  // namespace caltrop
