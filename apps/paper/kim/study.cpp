#include "apps/paper/kim/study.h"

#include "attacks/gma.h"
#include "defense/pool/recipe.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr int64_t kClasses = 10;

// What a scale asks for.
struct Effort {
  int64_t seeds, trained, judged;  // trained 0: all
  int64_t pgd_steps, restarts;
  int64_t pgd_images, slow_images;  // of PGD; of CW, Square and AutoAttack
  int64_t queries;
};

Effort effort(std::string_view scale) {
  if (scale == "paper") return {16, 0, 10000, 100, 10, 1000, 1000, 5000};
  if (scale == "quick") return {2, 6000, 1000, 100, 2, 100, 30, 1000};
  return {1, 600, 50, 10, 1, 20, 5, 50};
}

std::string epochs_text(const std::string& method, int64_t epochs, const std::string& options = "") {
  return fmt::format("{}:epochs={}{}", method, epochs, options.empty() ? "" : ":" + options);
}

// A method's own options, where the paper leaves them open.
std::string options_of(const std::string& method, const KimOptions& options) {
  if (method == kAdversarial) return fmt::format("eps={}", options.eps);
  if (method == kDistillation)
    return fmt::format("temperature={}:optimizer=adam:lr=0.001", options.temperature);
  return "";
}

StudyTraining training_of(const std::string& method, int64_t epochs, const KimOptions& options) {
  const std::string watched = fmt::format("watch-eps={}", options.eps), own = options_of(method, options);
  // The control is adversarial training of no image, so that it differs in nothing else.
  if (method == kControl) return study_training(epochs_text(kAdversarial, epochs, "share=0:" + watched));
  return study_training(epochs_text(method, epochs, own.empty() ? watched : own + ":" + watched));
}

}  // namespace

std::string pair_arm(const std::string& first, const std::string& second) {
  return first + "-then-" + second;
}

std::string network_arm(const std::string& method, const std::string& network) {
  return network == "kim-2" ? method : method + "-" + network;
}

int64_t KimOptions::seed_count() const {
  return seeds.value_or(effort(scale).seeds);
}
int64_t KimOptions::trained() const {
  return train_images.value_or(effort(scale).trained);
}
int64_t KimOptions::judged() const {
  return effort(scale).judged;
}

KimEpochs kim_epochs(std::string_view scale) {
  return scale == "smoke" ? KimEpochs{2, 1} : KimEpochs{};
}

std::vector<StudyArm> kim_arms(const KimOptions& options) {
  const KimEpochs epochs = kim_epochs(options.scale);
  std::vector<StudyArm> arms;
  const auto add = [&](std::string name, const std::string& network, std::vector<StudyTraining> trainings) {
    const ZooEntry of = zoo(network, kClasses);
    arms.push_back({.name = std::move(name),
                    .line = of.line,
                    .initializer = of.initializer,
                    .train_images = options.trained(),
                    .attacked = options.judged(),
                    .trainings = std::move(trainings)});
  };
  const auto alone = [&](const std::string& method, const std::string& network) {
    add(network_arm(method, network), network, {training_of(method, epochs.all(), options)});
  };
  alone(kControl, "kim-2");
  for (const std::string& method : kKimDefences) alone(method, "kim-2");
  for (const std::string& first : kKimDefences) {
    for (const std::string& second : kKimDefences)
      add(pair_arm(first, second), "kim-2",
          {training_of(first, epochs.first, options), training_of(second, epochs.second, options)});
  }
  // "Only 1 extra convolutional layer": all methods; up to five: the best of them.
  alone(kAdversarial, "kim-3");
  if (options.scale == "smoke") return arms;
  for (const std::string& method : {kControl, kDistillation, kMasking}) alone(method, "kim-3");
  for (const char* network : {"kim-4", "kim-5", "kim-2-bn", "kim-2-dropout"}) alone(kAdversarial, network);
  // The other readings of "gradient masking".
  for (const char* reading : {"noise", "mask"}) {
    StudyTraining other = training_of(kMasking, epochs.all(), options);
    other.options.push_back(std::string("reading=") + reading);
    add(fmt::format("{}-{}", kMasking, reading), "kim-2", {std::move(other)});
  }
  return arms;
}

std::vector<StudyAttack> kim_attacks(std::string_view scale) {
  const Effort how = effort(scale);
  AttackOptions pgd = attack_defaults(AttackKind::pgd), cw = attack_defaults(AttackKind::cw),
                square = attack_defaults(AttackKind::square), whole = attack_defaults(AttackKind::autoattack);
  pgd.steps = how.pgd_steps;
  pgd.restarts = how.restarts;
  square.steps = how.queries;
  if (scale != "paper") {
    cw.steps = kQuickCw.steps;
    cw.cw = {.rounds = kQuickCw.rounds,
             .first_constant = static_cast<float>(kQuickCw.constant),
             .learning_rate = static_cast<float>(kQuickCw.rate)};
  }
  std::vector<StudyAttack> attacks = {
      {kFgsm, attack_defaults(AttackKind::fgsm), plain_sizes(kFgsmSizes)},
      {kPgd, pgd, plain_sizes(kStrongSizes)},
      {kFgsmAware, attack_defaults(AttackKind::fgsm), plain_sizes(kStrongSizes)},
      {"cw", cw, plain_sizes(kCwSizes)},
      {"square", square, plain_sizes(kStrongSizes)},
      {"autoattack", whole,
       plain_sizes(scale == "paper" ? kStrongSizes : std::vector<float>{kStrongSizes[0]})}};
  attacks[0].unaware = true;
  attacks[1].images = how.pgd_images;
  for (size_t k = 3; k < attacks.size(); ++k) attacks[k].images = how.slow_images;
  if (scale == "smoke") attacks.pop_back();
  return attacks;
}

std::optional<double> printed_fgsm(const std::string& arm) {
  static const std::map<std::string, double> printed = {
      {kControl, kPrintedControl},
      {kAdversarial, 0.885},
      {kDistillation, 0.3312},
      {kMasking, 0.4752},
      {pair_arm(kMasking, kAdversarial), 0.8556},
      {network_arm(kAdversarial, "kim-3"), 0.96},
      {network_arm(kAdversarial, "kim-5"), 0.979},
      {network_arm(kDistillation, "kim-3"), 0.70},
      {network_arm(kMasking, "kim-3"), 0.90},
  };
  const auto at = printed.find(arm);
  return at == printed.end() ? std::nullopt : std::optional(at->second);
}

std::string printed_elsewhere(const std::string& arm) {
  if (arm == kControl) return "29 (section 5); of FGSM with no size given";
  if (arm == kAdversarial) return "90.69 (section 5), 90 (future direction)";
  if (arm == kDistillation) return "30 (future direction)";
  if (arm == kMasking) return "50 (future direction)";
  return "";
}

}  // namespace caltrop
