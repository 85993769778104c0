#include "apps/defend_flags.h"

#include <algorithm>

#include "engine/zoo.h"

namespace caltrop {
namespace {

// What --scale stands for. 0: all images.
struct Scale {
  int64_t train, test, epochs, bootstrap_epochs, adaptive, cw_steps, cw_rounds;
  double cw_constant, cw_rate;
};
Scale scale_of(const std::string& name) {
  if (name == "smoke") return {400, 200, 1, 1, 10, 20, 2, 1.0, 0.5};
  if (name == "quick") return {10000, 2000, 3, 6, 100, 100, 3, 1.0, 0.1};
  return {0, 0, 10, 50, 1000, 1000, 9, 1e-3, 0.01};
}

}  // namespace

void add_defend_flags(Flags& flags, DefendFlags& options, bool mia) {
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "train on the first N clean images; by --scale");
  flags.integer("test-images", options.test_images, 1, std::numeric_limits<int32_t>::max(), "N",
                "the first N clean test images", "by --scale");
  flags.group("Scale");
  flags.choice(
      "scale", options.scale, {"smoke", "quick", "paper"},
      "images, epochs and the effort of CW where flags are silent: smoke 400 + 200 images, 1 epoch; quick "
      "10,000 + 2,000, 3 epochs a cycle, 6 of bootstraps; paper all images, 10 and 50");
  flags.group("Training");
  flags.list("models", options.members, zoo_names(), "A,B,...",
             "the networks that are trained, one after the other");
  flags.numbers(
      "cycles", options.cycles, {.low = 0, .high = 100, .open_low = true}, "P,Q,...",
      mia ? "per cent of attacked images in each cycle; bootstraps are drawn from the last one's set"
          : "per cent of attacked images in each cycle");
  flags.choice("share-of", options.share_of, {"all", "clean"},
               "what they are per cent of: all images of the set, or its clean ones");
  flags.integer("epochs", options.epochs, 1, kMaxEpochs, "N", "passes over the set of each cycle",
                "by --scale");
  if (mia) {
    flags.integer("bootstrap-epochs", options.bootstrap_epochs, 1, kMaxEpochs, "N",
                  "passes of each network over its bootstrap", "by --scale");
  }
  flags.integer("batch", options.batch, 1, kMaxBatch, "N", "images in a mini-batch (the paper names none)");
  flags.number("lr", options.rate, {.low = 0, .high = 100, .open_low = true}, "RATE",
               "Adam's (the paper names none)");
  flags.text("schedule", options.schedule, "SHAPE",
             "factor on the rate over all epochs, as in 'caltrop train'");
  flags.choice(
      "optimizer-state", options.optimizer_state, {"carry", "fresh"},
      "carry Adam's moments from cycle to cycle, as Keras does, or begin each anew; weights are always "
      "carried");
  flags.group("Attacked images");
  flags.list("attacks", options.attacks, pool_attacks(), "A,B,...", "drawn evenly");
  flags.integer("pool", options.pool, 1, std::numeric_limits<int32_t>::max(), "N", "training images attacked",
                "as many as the last cycle needs");
  flags.integer("test-attacked", options.test_attacked, 1, std::numeric_limits<int32_t>::max(), "N",
                "attacked test images", "as many as clean ones");
  if (mia) {
    flags.integer(
        "adaptive", options.adaptive, 0, std::numeric_limits<int32_t>::max(), "N",
        "attack the vote itself on the first N test images, with APGD that avoids the class of attacked "
        "images; 0 for not",
        "by --scale: 10, 100, 1000");
  }
  flags.choice("gma-norm", options.gma_norm, {"both", "linf", "l2"}, "how GMA's sizes are measured");
  flags.choice("gma-base", options.gma_base, {"e", "10"}, "sizes V e^-i, or V 10^-i");
  flags.choice("gma-grid", options.gma_grid, {"full", "literal"},
               "all 30 sizes, or the 26 that Algorithm 1 visits");
  flags.choice("gma-scale", options.gma_scale, {"1", "255"}, "255 divides each of these sizes by 255");
  flags.choice("norm", options.norm, {"l2", "linf"}, "how the sizes of PGD and FGSM are measured");
  flags.numbers("big-sizes", options.big_sizes, {.low = 0, .high = kMaxSize, .open_low = true}, "E,F,...",
                "sizes of PGD and FGSM beside those of GMA (Table 2)");
  flags.integer("cw-steps", options.cw_steps, 1, kMaxSteps, "N", "steps of CW in a round; it has no size",
                "by --scale: 20, 100, 1000");
  flags.integer("cw-rounds", options.cw_rounds, 1, 30, "N", "rounds of the search for CW's constant",
                "by --scale: 2, 3, 9");
  flags.number("cw-constant", options.cw_constant, {.low = 0, .high = 1e9, .open_low = true}, "C",
               "CW's constant of the first round", "by --scale: 1, 1, 0.001");
  flags.number("cw-rate", options.cw_rate, {.low = 0, .high = 10, .open_low = true}, "RATE",
               "CW's: few steps must be long ones to move black and white pixels",
               "by --scale: 0.5, 0.1, 0.01");
  flags.toggle(
      "eight-bits", options.eight_bits,
      "round attacked images to 8 bits before training and test: the control for detectors that see the "
      "rounding alone");
  flags.choice(
      "unchanged", options.unchanged, {"drop", "keep"},
      "attacked images equal to their clean image: leave them out, or call them attacked all the same");
  add_common_flags(flags, options.common, true,
                   fmt::format("runs/{}-DATASET, the first that is free", mia ? "mia" : "eat"));
  flags.text("cache", options.cache, "DIR", "folder of attacked images that runs share; made if missing");
}

void resolve(DefendFlags& options) {
  const Scale scale = scale_of(options.scale);
  if (!options.data.limit && scale.train > 0) options.data.limit = scale.train;
  if (!options.test_images && scale.test > 0) options.test_images = scale.test;
  if (!options.adaptive) options.adaptive = scale.adaptive;
  if (!options.epochs) options.epochs = scale.epochs;
  if (!options.bootstrap_epochs) options.bootstrap_epochs = scale.bootstrap_epochs;
  if (!options.cw_steps) options.cw_steps = scale.cw_steps;
  if (!options.cw_rounds) options.cw_rounds = scale.cw_rounds;
  if (!options.cw_constant) options.cw_constant = scale.cw_constant;
  if (!options.cw_rate) options.cw_rate = scale.cw_rate;
  if (options.members.empty()) usage_error("--models names no network");
  if (options.attacks.empty()) usage_error("--attacks names no attack");
  const double top = options.share_of == "all" ? 100 : 100.0000001;
  double before = 0;
  for (const double cycle : options.cycles) {
    if (!(cycle > before)) usage_error("--cycles must rise, got {:g} after {:g}", cycle, before);
    if (!(cycle < top)) usage_error("--cycles: {:g} % attacked of all leaves no clean image", cycle);
    before = cycle;
  }
  try {
    (void)pool_recipe(recipe_of(options));
  } catch (const Error& problem) {
    usage_error("--attacks: {}", problem.what());
  }
  try {
    (void)Schedule::parse(options.schedule);
  } catch (const Error& problem) {
    usage_error("--schedule: {}", problem.what());
  }
}

std::vector<double> shares_of(const DefendFlags& options) {
  std::vector<double> shares;
  for (const double cycle : options.cycles) shares.push_back(cycle / 100);
  return shares;
}

PoolRecipeOptions recipe_of(const DefendFlags& options) {
  PoolRecipeOptions recipe;
  recipe.attacks = options.attacks;
  if (options.gma_norm != "both") recipe.gma_norms = {parse_norm(options.gma_norm)};
  recipe.norm = parse_norm(options.norm);
  recipe.gma = {parse_gma_base(options.gma_base), parse_gma_grid(options.gma_grid),
                options.gma_scale == "255" ? 255 : 1};
  recipe.big_sizes.assign(options.big_sizes.begin(), options.big_sizes.end());
  recipe.cw_steps = options.cw_steps.value_or(recipe.cw_steps);
  recipe.cw_rounds = options.cw_rounds.value_or(recipe.cw_rounds);
  recipe.cw_constant = static_cast<float>(options.cw_constant.value_or(1e-3));
  recipe.cw_rate = static_cast<float>(options.cw_rate.value_or(0.01));
  recipe.seed = static_cast<uint64_t>(options.common.seed);
  return recipe;
}

StagedOptions staged_of(const DefendFlags& options) {
  StagedOptions staged;
  staged.batch = options.batch;
  staged.rule.rate = static_cast<float>(options.rate);
  staged.schedule = Schedule::parse(options.schedule);
  staged.carry_optimizer = options.optimizer_state == "carry";
  return staged;
}

std::vector<std::string> member_names(const DefendFlags& options) {
  std::vector<std::string> names;
  for (size_t k = 0; k < options.members.size(); ++k) {
    const auto end = options.members.begin() + static_cast<int64_t>(k);
    const auto twins = std::count(options.members.begin(), end, options.members[k]);
    names.push_back(twins == 0 ? options.members[k] : fmt::format("{}.{}", options.members[k], twins + 1));
  }
  return names;
}

}  // namespace caltrop
