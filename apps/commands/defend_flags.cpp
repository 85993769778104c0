#include <algorithm>
#include <type_traits>

#include "apps/commands/defend.h"
#include "apps/core/flags.h"

namespace caltrop {
namespace {

// What --scale stands for, beside what a defence makes of it. 0: all images.
struct Scale {
  int64_t train, test, cw_steps, cw_rounds;
  double cw_constant, cw_rate;
  int64_t unseen, adaptive, adaptive_steps, adaptive_queries;
};
Scale scale_of(const std::string& name) {
  const auto& q = kQuickCw;
  if (name == "smoke") return {400, 200, 20, 2, 1.0, 0.5, 40, 10, 10, 50};
  if (name == "quick") return {10000, 2000, q.steps, q.rounds, q.constant, q.rate, 1000, 100, 100, 500};
  if (name == "demo") return {10000, 1000, q.steps, q.rounds, q.constant, q.rate, 0, 100, 100, 500};
  return {0, 0, 1000, 9, 1e-3, 0.01, 10000, 1000, 100, 5000};
}

// A flag of a defence's own.
void add_flag(Flags& flags, const DefenceOption& o) {
  const Range range{.low = o.low, .high = o.high, .open_low = o.open_low};
  std::visit(
      [&](auto* value) {
        using T = std::remove_pointer_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool>) {
          flags.toggle(o.name, *value, o.what);
        } else if constexpr (std::is_same_v<T, int64_t>) {
          flags.integer(o.name, *value, static_cast<int64_t>(o.low), static_cast<int64_t>(o.high),
                        o.value_name, o.what);
        } else if constexpr (std::is_same_v<T, std::optional<int64_t>>) {
          flags.integer(o.name, *value, static_cast<int64_t>(o.low), static_cast<int64_t>(o.high),
                        o.value_name, o.what, o.otherwise);
        } else if constexpr (std::is_same_v<T, double>) {
          flags.number(o.name, *value, range, o.value_name, o.what);
        } else if constexpr (std::is_same_v<T, std::optional<double>>) {
          flags.number(o.name, *value, range, o.value_name, o.what, o.otherwise);
        } else if constexpr (std::is_same_v<T, std::vector<double>>) {
          flags.numbers(o.name, *value, range, o.value_name, o.what, o.otherwise);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          flags.list(o.name, *value, o.choices, o.value_name, o.what, o.otherwise);
        } else if (o.choices.empty()) {
          flags.text(o.name, *value, o.value_name, o.what, o.otherwise);
        } else {
          flags.choice(o.name, *value, o.choices, o.what);
        }
      },
      o.value);
}

void add_test_flags(Flags& flags, DefendFlags& options) {
  flags.group("Tests");
  flags.integer("unseen", options.unseen, 0, std::numeric_limits<int32_t>::max(), "N",
                "test images under attacks that are not trained on; 0 for none",
                "by --scale: 40, 1000, 0, 10000");
  flags.list(
      "unseen-attacks", options.unseen_attacks, unseen_attacks(), "A,B,...",
      "those attacks; other-norm and other-sizes are trained ones under another norm or of --unseen-sizes",
      "bim,mim,deepfool,other-norm,other-sizes, but those of --attacks");
  flags.numbers("unseen-sizes", options.unseen_sizes, {.low = 0, .high = kMaxSize, .open_low = true},
                "E,F,...", "sizes of other-sizes");
  flags.integer("adaptive", options.adaptive, 0, std::numeric_limits<int32_t>::max(), "N",
                "attack the defence itself on the first N test images, avoiding its alarm; 0 for not",
                options.info.attacked ? "by --scale: 10, 100, 100, 1000" : "0");
  flags.list(
      "adaptive-attacks", options.adaptive_attacks, kAdaptiveAttacks, "A,B,...",
      "how: pgd climbs the margin of the wrong classes, cw minimises the distance under it, square asks for "
      "scores alone");
  flags.numbers("adaptive-linf", options.adaptive_linf, {.low = 0, .high = 1, .open_low = true}, "E,F,...",
                "its sizes under L-inf");
  flags.numbers("adaptive-l2", options.adaptive_l2, {.low = 0, .high = kMaxSize, .open_low = true}, "E,F,...",
                "and under L2");
  flags.integer("adaptive-steps", options.adaptive_steps, 1, kMaxSteps, "N", "steps of pgd and apgd",
                "by --scale: 10, then 100");
  flags.integer("adaptive-queries", options.adaptive_queries, 1, kMaxSteps, "N", "queries of square",
                "by --scale: 50, 500, 500, 5000");
}

}  // namespace

void add_defend_flags(Flags& flags, DefendFlags& options, const DefenceInfo& info) {
  options.info = info;
  options.defence = info.make();
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "train on the first N clean images; by --scale");
  flags.integer("test-images", options.test_images, 1, std::numeric_limits<int32_t>::max(), "N",
                "the first N clean test images", "by --scale");
  flags.group("Scale");
  flags.choice("scale", options.scale, kScales,
               "images, epochs and the effort of CW where flags are silent: smoke 400 + 200 images; quick "
               "10,000 + 2,000; demo 10,000 + 1,000, as 'caltrop demo'; paper all images");
  flags.group("Defence");
  for (const DefenceOption& option : options.defence->options()) add_flag(flags, option);
  flags.group("Attacked images");
  flags.list("attacks", options.attacks, pool_attacks(), "A,B,...", "drawn evenly");
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
                "by --scale: 20, 100, 100, 1000");
  flags.integer("cw-rounds", options.cw_rounds, 1, 30, "N", "rounds of the search for CW's constant",
                "by --scale: 2, 3, 3, 9");
  flags.number("cw-constant", options.cw_constant, {.low = 0, .high = 1e9, .open_low = true}, "C",
               "CW's constant of the first round", "by --scale: 1, 1, 1, 0.001");
  flags.number("cw-rate", options.cw_rate, {.low = 0, .high = 10, .open_low = true}, "RATE",
               "CW's: few steps must be long ones to move black and white pixels",
               "by --scale: 0.5, 0.1, 0.1, 0.01");
  flags.choice(
      "unchanged", options.unchanged, {"drop", "keep"},
      "attacked images equal to their clean image: leave them out, or call them attacked all the same");
  flags.toggle(
      "eight-bits", options.eight_bits,
      "round attacked images to 8 bits before training and test: the control for detectors that see the "
      "rounding alone");
  add_test_flags(flags, options);
  add_common_flags(flags, options.common, true,
                   fmt::format("runs/{}-DATASET, the first that is free", info.name));
  flags.text("cache", options.cache, "DIR", "folder of attacked images that runs share; made if missing");
}

void resolve(DefendFlags& options) {
  const Scale scale = scale_of(options.scale);
  if (!options.data.limit && scale.train > 0) options.data.limit = scale.train;
  if (!options.test_images && scale.test > 0) options.test_images = scale.test;
  if (!options.unseen) options.unseen = scale.unseen;
  if (!options.adaptive) options.adaptive = options.info.attacked ? scale.adaptive : 0;
  if (!options.adaptive_steps) options.adaptive_steps = scale.adaptive_steps;
  if (!options.adaptive_queries) options.adaptive_queries = scale.adaptive_queries;
  if (!options.cw_steps) options.cw_steps = scale.cw_steps;
  if (!options.cw_rounds) options.cw_rounds = scale.cw_rounds;
  if (!options.cw_constant) options.cw_constant = scale.cw_constant;
  if (!options.cw_rate) options.cw_rate = scale.cw_rate;
  if (options.attacks.empty()) usage_error("--attacks names no attack");
  const auto expect = [](const char* about, const std::function<void()>& check) {
    try {
      check();
    } catch (const Error& problem) {
      usage_error("{}{}", about, problem.what());
    }
  };
  expect("--attacks: ", [&] { (void)pool_recipe(recipe_of(options)); });
  expect("", [&] { options.defence->resolve(options.scale, recipe_of(options)); });
  expect("--unseen-attacks: ", [&] { (void)unseen_of(options); });
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

std::vector<PoolAttack> unseen_of(const DefendFlags& options) {
  if (options.unseen == 0) return {};
  std::vector<std::string> names = options.unseen_attacks;
  if (names.empty()) {
    std::ranges::copy_if(kUnseenAttacks, std::back_inserter(names), [&](const std::string& name) {
      return std::ranges::find(options.attacks, name) == options.attacks.end();
    });
  }
  return unseen_recipe(recipe_of(options), names, {options.unseen_sizes.begin(), options.unseen_sizes.end()});
}

AdaptiveOptions adaptive_of(const DefendFlags& options) {
  AdaptiveOptions adaptive;
  adaptive.attacks = options.adaptive_attacks;
  adaptive.linf.assign(options.adaptive_linf.begin(), options.adaptive_linf.end());
  adaptive.l2.assign(options.adaptive_l2.begin(), options.adaptive_l2.end());
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

}  // namespace caltrop
