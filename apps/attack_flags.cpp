#include "apps/attack_flags.h"

#include "apps/options.h"

namespace caltrop {

void add_attack_flags(Flags& flags, AttackFlags& options) {
  add_step_flags(flags, options.steps, options.step_size,
                 "SIZE/4 for up to 10 steps, 4/3 SIZE/N above; fgsm: SIZE");
  flags.choice("random-start", options.start, {"auto", "yes", "no"},
               "begin at a random point of the ball; auto: the attack's own rule (pgd yes, the others no)");
  flags.integer("restarts", options.restarts, 1, 1000, "N",
                "tries from random starts; of each image the best is kept");
  flags.number("decay", options.decay, {.low = 0, .high = 10}, "MU", "of mim's momentum");
  flags.choice("ce-grad", options.ce_grad, {"stable", "torch"},
               "how cross-entropy's gradient is rounded: stable keeps its digits for confident networks, "
               "torch does as "
               "PyTorch");
}

AttackOptions attack_options(const AttackFlags& flags, Norm norm, int64_t seed) {
  AttackOptions options = attack_defaults(parse_attack(flags.kind));
  options.norm = norm;
  if (options.kind != AttackKind::fgsm) options.steps = flags.steps;
  if (flags.step_size) options.step_size = static_cast<float>(*flags.step_size);
  if (flags.start != "auto") options.random_start = flags.start == "yes";
  options.restarts = flags.restarts;
  if (options.restarts > 1 && !options.random_start) {
    usage_error("--restarts {} needs a random start; add --random-start yes", options.restarts);
  }
  options.predicted_labels = flags.labels == "predicted";
  options.decay = static_cast<float>(flags.decay);
  options.cross_entropy = flags.ce_grad == "stable" ? CrossEntropyGrad::stable : CrossEntropyGrad::torch;
  options.seed = static_cast<uint64_t>(seed);
  return options;
}

}  // namespace caltrop
