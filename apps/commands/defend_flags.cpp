#include "apps/commands/defend_flags.h"

#include <algorithm>

#include "engine/zoo.h"

namespace caltrop {
namespace {

// What --scale stands for. 0: all images.
struct Scale {
  int64_t train, test, epochs, bootstrap_epochs, cw_steps, cw_rounds;
  double cw_constant, cw_rate;
  int64_t unseen, adaptive, adaptive_steps, adaptive_queries;
};
Scale scale_of(const std::string& name) {
  if (name == "smoke") return {400, 200, 1, 1, 20, 2, 1.0, 0.5, 40, 10, 10, 50};
  if (name == "quick") return {10000, 2000, 3, 6, 100, 3, 1.0, 0.1, 1000, 100, 100, 500};
  return {0, 0, 10, 50, 1000, 9, 1e-3, 0.01, 10000, 1000, 100, 5000};
}

void add_control_flags(Flags& flags, DefendFlags& options) {
  flags.group("Controls");
  flags.toggle(
      "eight-bits", options.eight_bits,
      "round attacked images to 8 bits before training and test: the control for detectors that see the "
      "rounding alone");
  flags.list(
      "controls", options.controls, kControls, "A,B,...",
      "networks trained beside the others: without one attack, the big sizes or one norm at a time "
      "(leave-out); one as large as all together (same-size, for mia); the last cycle but one again for as "
      "many updates as the last (updates)",
      "none");
  flags.text("control-model", options.control_model, "NAME", "the network of leave-out and same-size",
             "the last of --models");
  flags.integer("unseen", options.unseen, 0, std::numeric_limits<int32_t>::max(), "N",
                "test images under attacks that are not trained on; 0 for none",
                "by --scale: 40, 1000, 10000");
  flags.list(
      "unseen-attacks", options.unseen_attacks, unseen_attacks(), "A,B,...",
      "those attacks; other-norm and other-sizes are trained ones under another norm or of --unseen-sizes",
      "bim,mim,deepfool,other-norm,other-sizes, but those of --attacks");
  flags.numbers("unseen-sizes", options.unseen_sizes, {.low = 0, .high = kMaxSize, .open_low = true},
                "E,F,...", "sizes of other-sizes");
  if (!options.bootstraps) return;
  flags.integer(
      "adaptive", options.adaptive, 0, std::numeric_limits<int32_t>::max(), "N",
      "attack the vote itself on the first N test images, avoiding the class of attacked images; 0 for "
      "not",
      "by --scale: 10, 100, 1000");
  flags.list(
      "adaptive-attacks", options.adaptive_attacks, kAdaptiveAttacks, "A,B,...",
      "how: pgd climbs the margin of the wrong classes, cw minimises the distance under it, square asks for "
      "scores alone");
  flags.choice(
      "adaptive-mean", options.adaptive_mean, {"logits", "probabilities"},
      "what they see of the networks together: the mean of the logits, or the log of the mean softmax");
  flags.numbers("adaptive-linf", options.adaptive_linf, {.low = 0, .high = 1, .open_low = true}, "E,F,...",
                "its sizes under L-inf");
  flags.numbers("adaptive-l2", options.adaptive_l2, {.low = 0, .high = kMaxSize, .open_low = true}, "E,F,...",
                "and under L2");
  flags.integer("adaptive-steps", options.adaptive_steps, 1, kMaxSteps, "N", "steps of pgd and apgd",
                "by --scale: 10, 100, 100");
  flags.integer("adaptive-queries", options.adaptive_queries, 1, kMaxSteps, "N", "queries of square",
                "by --scale: 50, 500, 5000");
}

// A UsageError where the controls do not fit the rest.
void check_controls(const DefendFlags& options) {
  if (has_control(options, "same-size") && !options.bootstraps)
    usage_error("--controls same-size is compared with the vote of defend mia");
  if (has_control(options, "updates") && options.cycles.size() < 2)
    usage_error("--controls updates compares the last two cycles: --cycles names one");
  if (has_control(options, "leave-out") && options.attacks.size() < 2)
    usage_error("--controls leave-out needs two attacks or more: --attacks names one");
  if (std::find(options.members.begin(), options.members.end(), control_model(options)) ==
      options.members.end())
    usage_error("--control-model {} is none of --models", control_model(options));
  if (options.bootstrap_cycle && std::find(options.cycles.begin(), options.cycles.end(),
                                           *options.bootstrap_cycle) == options.cycles.end())
    usage_error("--bootstrap-cycle {:g} is none of --cycles", *options.bootstrap_cycle);
  try {
    (void)unseen_of(options);
  } catch (const Error& problem) {
    usage_error("--unseen-attacks: {}", problem.what());
  }
}

}  // namespace

void add_defend_flags(Flags& flags, DefendFlags& options) {
  const bool mia = options.bootstraps;
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
  flags.numbers("cycles", options.cycles, {.low = 0, .high = 100, .open_low = true}, "P,Q,...",
                "per cent of attacked images in each cycle");
  flags.choice("share-of", options.share_of, {"all", "clean"},
               "what they are per cent of: all images of the set, or its clean ones");
  flags.integer("epochs", options.epochs, 1, kMaxEpochs, "N", "passes over the set of each cycle",
                "by --scale");
  if (mia) {
    flags.number("bootstrap-cycle", options.bootstrap_cycle, {.low = 0, .high = 100}, "P",
                 "the cycle whose set bootstraps are drawn from, and after which they begin", "the last");
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
  flags.choice(
      "unchanged", options.unchanged, {"drop", "keep"},
      "attacked images equal to their clean image: leave them out, or call them attacked all the same");
  add_control_flags(flags, options);
  add_common_flags(flags, options.common, true,
                   fmt::format("runs/{}-DATASET, the first that is free", mia ? "mia" : "eat"));
  flags.text("cache", options.cache, "DIR", "folder of attacked images that runs share; made if missing");
}

void resolve(DefendFlags& options) {
  const Scale scale = scale_of(options.scale);
  if (!options.data.limit && scale.train > 0) options.data.limit = scale.train;
  if (!options.test_images && scale.test > 0) options.test_images = scale.test;
  if (!options.unseen) options.unseen = scale.unseen;
  if (!options.adaptive) options.adaptive = scale.adaptive;
  if (!options.adaptive_steps) options.adaptive_steps = scale.adaptive_steps;
  if (!options.adaptive_queries) options.adaptive_queries = scale.adaptive_queries;
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
  check_controls(options);
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

bool has_control(const DefendFlags& options, const std::string& name) {
  return std::find(options.controls.begin(), options.controls.end(), name) != options.controls.end();
}

std::string control_model(const DefendFlags& options) {
  return options.control_model.empty() ? options.members.back() : options.control_model;
}

double bootstrap_cycle(const DefendFlags& options) {
  return options.bootstrap_cycle.value_or(options.cycles.back());
}

std::vector<PoolLane> unseen_of(const DefendFlags& options) {
  if (options.unseen == 0) return {};
  std::vector<std::string> names = options.unseen_attacks;
  if (names.empty()) {
    std::copy_if(kUnseenAttacks.begin(), kUnseenAttacks.end(), std::back_inserter(names),
                 [&](const std::string& name) {
                   return std::find(options.attacks.begin(), options.attacks.end(), name) ==
                          options.attacks.end();
                 });
  }
  return unseen_recipe(recipe_of(options), names, {options.unseen_sizes.begin(), options.unseen_sizes.end()});
}

AdaptiveOptions adaptive_of(const DefendFlags& options) {
  AdaptiveOptions adaptive;
  adaptive.attacks = options.adaptive_attacks;
  adaptive.linf.assign(options.adaptive_linf.begin(), options.adaptive_linf.end());
  adaptive.l2.assign(options.adaptive_l2.begin(), options.adaptive_l2.end());
  adaptive.mean = parse_ensemble_mean(options.adaptive_mean);
  adaptive.images = options.adaptive.value_or(0);
  adaptive.steps = options.adaptive_steps.value_or(adaptive.steps);
  adaptive.queries = options.adaptive_queries.value_or(adaptive.queries);
  const PoolRecipeOptions recipe = recipe_of(options);
  adaptive.cw.steps = recipe.cw_steps;
  adaptive.cw.cw.rounds = recipe.cw_rounds;
  adaptive.cw.cw.first_constant = recipe.cw_constant;
  adaptive.cw.cw.learning_rate = recipe.cw_rate;
  adaptive.seed = recipe.seed;
  return adaptive;
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
