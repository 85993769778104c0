#include "apps/commands/attack_flags.h"

#include <cmath>

#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "attacks/attack_info.h"
#include "attacks/option_fields.h"

namespace caltrop {

void add_attack_flags(Flags& flags, AttackFlags& options) {
  flags.integer("steps", options.counts["steps"], 1, kMaxSteps, "N", "steps, of square: queries",
                "10; fgsm 1, cw 1000, deepfool 50, apgd and fab 100, square 5000");
  flags.number("step-size", options.numbers["step_size"], {.low = 0, .high = kMaxSize, .open_low = true},
               "SIZE", "length of a step, in the norm", "SIZE/4, or 4 SIZE/N from 16 steps on; fgsm: SIZE");
  flags.number("step-share", options.numbers["step_share"], {.low = 0, .high = 1000, .open_low = true},
               "SHARE", "length of a step as a share of the size", "as --step-size");
  flags.exclusive({"step-size", "step-share"});
  flags.choice("random-start", options.start, {"auto", "yes", "no"},
               "begin at a random point of the ball; auto: the attack's own rule (pgd yes, the others no)");
  flags.integer("restarts", options.counts["restarts"], 1, 1000, "N",
                "tries from random starts; of each image the best is kept", "1, or the preset's");
  flags.number("decay", options.decay, {.low = 0, .high = 10}, "MU", "of mim's momentum");
  flags.choice("ce-grad", options.ce_grad, {"stable", "torch"},
               "how cross-entropy's gradient is rounded: stable keeps its digits for confident networks, "
               "torch does as PyTorch");
}

void add_suite_flags(Flags& flags, AttackFlags& options) {
  std::vector<std::string> presets = preset_names();
  presets.insert(presets.begin(), "none");
  flags.choice("preset", options.preset, presets,
               "take the defaults that this library has for the attack; other flags change them");
  flags.choice("version", options.version, {"standard", "plus", "rand"}, "of autoattack");
  flags.integer("targets", options.counts["target_classes"], 1, 1000, "N",
                "of apgd-t and fab-t: likeliest classes to try", "9");
  flags.number("confidence", options.numbers["cw.confidence"], {.low = 0, .high = 1e6}, "KAPPA",
               "of cw: the lead that the wrong class must have", "0");
  flags.integer("cw-rounds", options.counts["cw.rounds"], 1, 30, "N",
                "of cw: rounds of the search for its constant", "9");
  flags.number("cw-constant", options.numbers["cw.first_constant"], {.low = 0, .high = 1e9, .open_low = true},
               "C", "of cw: the constant of the first round", "0.001");
  flags.number("cw-rate", options.numbers["cw.learning_rate"], {.low = 0, .high = 10, .open_low = true},
               "RATE", "of cw: Adam's learning rate", "0.01");
  flags.choice("cw-abort", options.abort, {"auto", "yes", "no"},
               "of cw: end a round of an image whose loss stands still; auto: yes, or the preset's");
  flags.choice("square-schedule", options.schedule, {"auto", "paper", "rescaled"},
               "of square: windows shrink as in the paper, for 10,000 queries, or stretched to --steps; "
               "auto: rescaled "
               "below 5,000, or the preset's");
  flags.integer("candidates", options.counts["deepfool.candidates"], 2, 1000000, "N",
                "of deepfool: likeliest classes to look at", "10");
  flags.number("overshoot", options.numbers["deepfool.overshoot"], {.low = 0, .high = 10}, "SHARE",
               "of deepfool", "0.02");
}

namespace {

void apply(const AttackFlags& flags, AttackOptions& options, int64_t seed) {
  for_each_option(options, [&](const char* name, auto& option) {
    using Option = std::decay_t<decltype(option)>;
    const auto take = [&](const auto& given) {
      const auto found = given.find(name);
      if (found != given.end() && found->second) option = static_cast<Option>(*found->second);
    };
    if constexpr (std::is_same_v<Option, int64_t>) take(flags.counts);
    if constexpr (std::is_same_v<Option, float>) take(flags.numbers);
  });
  if (flags.start != "auto") options.random_start = flags.start == "yes";
  if (flags.schedule != "auto") options.square.schedule = parse_schedule(flags.schedule);
  if (flags.numbers.contains("step_size") && flags.numbers.at("step_size"))
    options.step_share = 0;  // over a preset's
  if (flags.numbers.contains("step_share") && flags.numbers.at("step_share")) options.step_size = 0;
  if (flags.abort != "auto") options.cw.abort_early = flags.abort == "yes";
  if (options.restarts > 1 && is_ascent(options.kind) && !options.random_start) {
    usage_error("--restarts {} needs a random start; add --random-start yes", options.restarts);
  }
  options.predicted_labels = flags.labels == "predicted";
  options.decay = static_cast<float>(flags.decay);
  options.cross_entropy = flags.ce_grad == "stable" ? CrossEntropyGrad::stable : CrossEntropyGrad::torch;
  options.version = parse_version(flags.version);
  options.seed = static_cast<uint64_t>(seed);
}

}  // namespace

AttackOptions attack_options(const AttackFlags& flags, Norm norm, int64_t seed) {
  AttackOptions options = attack_defaults(parse_attack(flags.kind));
  options.norm = norm;
  apply(flags, options, seed);
  return options;
}

namespace {

// The flag of each option that has one, and of those that not every attack reads, who does. The last are no
// options: they are about gradients.
struct OptionFlag {
  const char *option, *flag, *readers = nullptr;
};
constexpr OptionFlag kOptionFlags[] = {
    {"eps", "eps"},
    {"norm", "norm"},
    {"targeted", "target"},
    {"steps", "steps", "attacks of more than one step"},
    {"step_size", "step-size", "fgsm, bim, pgd, mim"},
    {"step_share", "step-share", "fgsm, bim, pgd, mim"},
    {"square.schedule", "square-schedule", "square, autoattack"},
    {"random_start", "random-start", "fgsm, bim, pgd, mim"},
    {"restarts", "restarts", "attacks that begin at random"},
    {"decay", "decay", "mim"},
    {"cross_entropy", "ce-grad", "attacks that climb cross-entropy"},
    {"version", "version", "autoattack"},
    {"target_classes", "targets", "apgd-t, fab-t, autoattack"},
    {"cw.confidence", "confidence", "cw"},
    {"cw.rounds", "cw-rounds", "cw"},
    {"cw.first_constant", "cw-constant", "cw"},
    {"cw.learning_rate", "cw-rate", "cw"},
    {"cw.abort_early", "cw-abort", "cw"},
    {"deepfool.candidates", "candidates", "deepfool"},
    {"deepfool.overshoot", "overshoot", "deepfool"},
    {nullptr, "eot", "attacks by gradient"},
    {nullptr, "bpda", "attacks by gradient"},
};

}  // namespace

std::string of_flag(const BadOption& problem) {
  for (const OptionFlag& known : kOptionFlags) {
    if (known.option && problem.option() == known.option)
      return fmt::format("--{} {}", known.flag, problem.problem());
  }
  return fmt::format("{} {}", problem.option(), problem.problem());
}

void expect_read(const Flags& flags, AttackKind kind) {
  const Json values = flags.recipe();
  const AttackInfo& info = info_of(kind);
  for (const auto& [option, flag, readers] : kOptionFlags) {
    if (!readers || !flags.given(flag)) continue;
    const bool share = option && std::string_view(option) == "step_share";  // reads as the step size does
    if (option ? info.reads_option(share ? "step_size" : option) : info.gradients) continue;
    const bool is_default = values.value(flag, Json()) == flags.defaults().value(flag, Json());
    if (is_default && !flags.on_command_line(flag)) continue;
    usage_error("--{} is for {}: {} does not read it", flag, readers, info.name);
  }
}

ChosenAttack choose_attack(AttackFlags& attack, const Flags& flags, const std::optional<Size>& eps,
                           bool targeted, int64_t seed) {
  const AttackKind kind = parse_attack(attack.kind);
  expect_read(flags, kind);
  if (!flags.given("norm")) attack.norm = to_string(attack_defaults(kind).norm);
  const Norm norm = parse_norm(attack.norm);
  PresetAttack preset{.options = attack_defaults(kind), .eps = {}, .step_share = {}, .differs = {}};
  if (attack.preset != "none") preset = preset_attack(parse_preset(attack.preset), kind, norm);
  ChosenAttack chosen{preset.options, preset.eps.value_or(default_eps(kind, norm)), {}, preset.differs};
  if (eps) chosen.eps = eps->used();
  if (std::isfinite(chosen.eps)) chosen.asked = eps ? *eps : size_of(chosen.eps);
  AttackOptions& options = chosen.options;
  options.step_share = preset.step_share.value_or(0.0f);
  options.norm = norm;
  apply(attack, options, seed);
  options.targeted = targeted;
  try {
    check_attack(options);
  } catch (const BadOption& problem) {
    const bool by_file = problem.option() == "targeted" && flags.given("target-file");
    usage_error("{}", by_file ? "--target-file " + problem.problem() : of_flag(problem));
  }
  return chosen;
}

}  // namespace caltrop
