#include "defense/settings.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "engine/error.h"

namespace caltrop {
namespace {

constexpr double kMostImages = std::numeric_limits<int32_t>::max(), kMostSteps = 100000, kLargest = 1000;

// What a scale stands for, beside what a defence makes of it. 0: all images.
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

// What `check` throws, after the name of the option that it is about.
template <typename Check>
void expect(const std::string& option, const Check& check) {
  try {
    check();
  } catch (const Error& problem) {
    fail("{}: {}", option, problem.what());
  }
}

std::vector<float> floats(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

std::vector<DefenceOption> DefenceSettings::attack_options() {
  return {
      {.name = "attacks",
       .value = &attacks,
       .what = "drawn evenly",
       .value_name = "A,B,...",
       .choices = pool_attacks()},
      {.name = "test-attacked",
       .value = &test_attacked,
       .what = "attacked test images",
       .value_name = "N",
       .otherwise = "as many as clean ones",
       .low = 1,
       .high = kMostImages},
      {.name = "gma-norm",
       .value = &gma_norm,
       .what = "how GMA's sizes are measured",
       .choices = {"both", "linf", "l2"}},
      {.name = "gma-base", .value = &gma_base, .what = "sizes V e^-i, or V 10^-i", .choices = {"e", "10"}},
      {.name = "gma-grid",
       .value = &gma_grid,
       .what = "all 30 sizes, or the 26 that Algorithm 1 visits",
       .choices = {"full", "literal"}},
      {.name = "gma-scale",
       .value = &gma_scale,
       .what = "255 divides each of these sizes by 255",
       .choices = {"1", "255"}},
      {.name = "norm",
       .value = &norm,
       .what = "how the sizes of PGD and FGSM are measured",
       .choices = {"l2", "linf"}},
      {.name = "big-sizes",
       .value = &big_sizes,
       .what = "sizes of PGD and FGSM beside those of GMA (Table 2)",
       .value_name = "E,F,...",
       .low = 0,
       .high = kLargest,
       .open_low = true},
      {.name = "sizes",
       .value = &sizes,
       .what = "sizes of PGD and FGSM in place of both",
       .value_name = "E,F,...",
       .otherwise = "those of GMA and --big-sizes",
       .low = 0,
       .high = kLargest,
       .open_low = true},
      {.name = "cw-steps",
       .value = &cw_steps,
       .what = "steps of CW in a round; it has no size",
       .value_name = "N",
       .otherwise = "by --scale: 20, 100, 100, 1000",
       .low = 1,
       .high = kMostSteps},
      {.name = "cw-rounds",
       .value = &cw_rounds,
       .what = "rounds of the search for CW's constant",
       .value_name = "N",
       .otherwise = "by --scale: 2, 3, 3, 9",
       .low = 1,
       .high = 30},
      {.name = "cw-constant",
       .value = &cw_constant,
       .what = "CW's constant of the first round",
       .value_name = "C",
       .otherwise = "by --scale: 1, 1, 1, 0.001",
       .low = 0,
       .high = 1e9,
       .open_low = true},
      {.name = "cw-rate",
       .value = &cw_rate,
       .what = "CW's: few steps must be long ones to move black and white pixels",
       .value_name = "RATE",
       .otherwise = "by --scale: 0.5, 0.1, 0.1, 0.01",
       .low = 0,
       .high = 10,
       .open_low = true},
      {.name = "unchanged",
       .value = &unchanged,
       .what =
           "attacked images equal to their clean image: leave them out, or call them attacked all the same",
       .choices = {"drop", "keep"}},
      {.name = "eight-bits",
       .value = &eight_bits,
       .what =
           "round attacked images to 8 bits before training and test: the control for detectors that see the "
           "rounding alone"}};
}

std::vector<DefenceOption> DefenceSettings::test_options(const DefenceInfo& info) {
  return {{.name = "unseen",
           .value = &unseen,
           .what = "test images under attacks that are not trained on; 0 for none",
           .value_name = "N",
           .otherwise = info.pools ? "by --scale: 40, 1000, 0, 10000" : "0",
           .low = 0,
           .high = kMostImages},
          {.name = "unseen-attacks",
           .value = &unseen_attacks,
           .what = "those attacks; other-norm and other-sizes are trained ones under another norm or of "
                   "--unseen-sizes",
           .value_name = "A,B,...",
           .otherwise = "bim,mim,deepfool,other-norm,other-sizes, but those of --attacks",
           .choices = caltrop::unseen_attacks()},
          {.name = "unseen-sizes",
           .value = &unseen_sizes,
           .what = "sizes of other-sizes",
           .value_name = "E,F,...",
           .low = 0,
           .high = kLargest,
           .open_low = true},
          {.name = "adaptive",
           .value = &adaptive,
           .what = "attack the defence itself on the first N test images, avoiding its alarm; 0 for not",
           .value_name = "N",
           .otherwise = info.attacked ? "by --scale: 10, 100, 100, 1000" : "0",
           .low = 0,
           .high = kMostImages},
          {.name = "adaptive-attacks",
           .value = &adaptive_attacks,
           .what = "how: pgd climbs the margin of the wrong classes, cw minimises the distance under it, "
                   "square asks for "
                   "scores alone",
           .value_name = "A,B,...",
           .choices = kAdaptiveChoices},
          {.name = "adaptive-linf",
           .value = &adaptive_linf,
           .what = "its sizes under L-inf",
           .value_name = "E,F,...",
           .low = 0,
           .high = 1,
           .open_low = true},
          {.name = "adaptive-l2",
           .value = &adaptive_l2,
           .what = "and under L2",
           .value_name = "E,F,...",
           .low = 0,
           .high = kLargest,
           .open_low = true},
          {.name = "adaptive-steps",
           .value = &adaptive_steps,
           .what = "steps of pgd and apgd",
           .value_name = "N",
           .otherwise = "by --scale: 10, then 100",
           .low = 1,
           .high = kMostSteps},
          {.name = "adaptive-queries",
           .value = &adaptive_queries,
           .what = "queries of square",
           .value_name = "N",
           .otherwise = "by --scale: 50, 500, 500, 5000",
           .low = 1,
           .high = kMostSteps}};
}

void DefenceSettings::test_as_the_field_does() {
  attacks = {"fgsm", "pgd", "cw"};
  norm = "linf";
  sizes = {0.05, 0.1, 0.15, 0.2, 0.25, 0.3};
  unseen_sizes = {0.01, 0.03, 0.4};
}

void DefenceSettings::resolve(const DefenceInfo& info, Defence& defence) {
  const Scale of = scale_of(scale);
  if (!test_images && of.test > 0) test_images = of.test;
  if (!unseen) unseen = info.pools ? of.unseen : 0;
  if (!adaptive) adaptive = info.attacked ? of.adaptive : 0;
  if (!adaptive_steps) adaptive_steps = of.adaptive_steps;
  if (!adaptive_queries) adaptive_queries = of.adaptive_queries;
  if (!cw_steps) cw_steps = of.cw_steps;
  if (!cw_rounds) cw_rounds = of.cw_rounds;
  if (!cw_constant) cw_constant = of.cw_constant;
  if (!cw_rate) cw_rate = of.cw_rate;
  if (attacks.empty()) fail("--attacks names no attack");
  expect("--attacks", [&] { (void)pool_recipe(recipe(0)); });
  defence.resolve(scale, recipe(0));
  expect("--unseen-attacks", [&] { (void)unseen_recipe(0); });
}

std::optional<int64_t> DefenceSettings::train_images() const {
  const int64_t images = scale_of(scale).train;
  return images > 0 ? std::optional(images) : std::nullopt;
}

void DefenceSettings::check(const Images& train, const Images& test) const {
  check_planned("--test-attacked", test_attacked.value_or(test.count()), test.count());
  const auto check = [&](const char* option, const std::vector<double>& sizes, Norm under) {
    for (const double size : sizes) check_length(option, static_cast<float>(size), under, train.image_size());
  };
  if (sizes.empty()) check("--big-sizes", big_sizes, parse_norm(norm));
  check("--sizes", sizes, parse_norm(norm));
  if (*unseen > 0) check("--unseen-sizes", unseen_sizes, parse_norm(norm));
  if (*adaptive > 0) check("--adaptive-l2", adaptive_l2, Norm::l2);
}

PoolRecipeOptions DefenceSettings::recipe(uint64_t seed) const {
  PoolRecipeOptions recipe;
  recipe.attacks = attacks;
  if (gma_norm != "both") recipe.gma_norms = {parse_norm(gma_norm)};
  recipe.norm = parse_norm(norm);
  recipe.gma = {parse_gma_base(gma_base), parse_gma_grid(gma_grid), gma_scale == "255" ? 255 : 1};
  recipe.big_sizes = floats(big_sizes);
  recipe.sizes = floats(sizes);
  recipe.cw_steps = *cw_steps;
  recipe.cw_rounds = *cw_rounds;
  recipe.cw_constant = static_cast<float>(*cw_constant);
  recipe.cw_rate = static_cast<float>(*cw_rate);
  recipe.seed = seed;
  return recipe;
}

std::vector<PoolAttack> DefenceSettings::unseen_recipe(uint64_t seed) const {
  if (unseen == 0) return {};
  std::vector<std::string> names = unseen_attacks;
  if (names.empty()) {
    std::ranges::copy_if(kUnseenAttacks, std::back_inserter(names), [&](const std::string& name) {
      return std::ranges::find(attacks, name) == attacks.end();
    });
  }
  return caltrop::unseen_recipe(recipe(seed), names, floats(unseen_sizes));
}

TestOptions DefenceSettings::tests(int64_t clean, uint64_t seed) const {
  return {test_attacked.value_or(clean), *unseen, unseen_recipe(seed)};
}

AdaptiveOptions DefenceSettings::attacker(uint64_t seed) const {
  AdaptiveOptions options;
  options.attacks = adaptive_attacks;
  options.linf = floats(adaptive_linf);
  options.l2 = floats(adaptive_l2);
  options.images = *adaptive;
  options.steps = *adaptive_steps;
  options.queries = *adaptive_queries;
  const PoolRecipeOptions known = recipe(seed);
  options.cw.steps = known.cw_steps;
  options.cw.cw.rounds = known.cw_rounds;
  options.cw.cw.first_constant = known.cw_constant;
  options.cw.cw.learning_rate = known.cw_rate;
  options.seed = seed;
  return options;
}

}  // namespace caltrop
