#include "defense/pool/recipe.h"

#include <algorithm>
#include <limits>
#include <span>

#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

// The sizes of GMA, then the big ones: Table 2's list for the attacks that are not GMA.
std::vector<float> all_sizes(const PoolRecipeOptions& options) {
  if (!options.sizes.empty()) return options.sizes;
  std::vector<float> sizes = eps_of(gma_sizes(options.gma));
  sizes.insert(sizes.end(), options.big_sizes.begin(), options.big_sizes.end());
  return sizes;
}

PoolAttack attack_of(const std::string& attack, AttackOptions options, Norm norm, std::vector<float> sizes,
                     uint64_t seed) {
  options.norm = norm;
  options.seed = seed;
  return {attack, options, std::move(sizes)};
}

bool contains(std::span<const std::string> names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// One of pool_attacks(), under each of its norms.
void add_attacks(const std::string& name, const PoolRecipeOptions& options, std::vector<PoolAttack>& recipe) {
  if (!contains(pool_attacks(), name)) {
    fail("[pool] unknown attack '{}': expected gma, pgd, fgsm, cw, bim, mim or deepfool", shown(name));
  }
  if (name == "gma") {
    for (const Norm norm : options.gma_norms) {
      recipe.push_back(attack_of(name, gma_attack(AttackKind::pgd, norm), norm,
                                 eps_of(gma_sizes(options.gma)), options.seed));
    }
    return;
  }
  AttackOptions how = attack_defaults(parse_attack(name));
  if (!is_minimum_norm(how.kind)) {
    recipe.push_back(attack_of(name, how, options.norm, all_sizes(options), options.seed));
    return;
  }
  if (how.kind == AttackKind::cw) {
    how.steps = options.cw_steps;
    how.cw.rounds = options.cw_rounds;
    how.cw.first_constant = options.cw_constant;
    how.cw.learning_rate = options.cw_rate;
  }
  recipe.push_back(attack_of(name, how, Norm::l2, {std::numeric_limits<float>::infinity()}, options.seed));
}

}  // namespace

std::vector<std::string> pool_attacks() {
  return {"gma", "pgd", "fgsm", "cw", "bim", "mim", "deepfool"};
}
std::vector<std::string> unseen_attacks() {
  std::vector<std::string> names = pool_attacks();
  names.insert(names.end(), {"other-norm", "other-sizes"});
  return names;
}

std::vector<PoolAttack> pool_recipe(const PoolRecipeOptions& options) {
  if (options.attacks.empty()) fail("[pool] expected at least one attack");
  std::vector<PoolAttack> recipe;
  for (size_t k = 0; k < options.attacks.size(); ++k) {
    const std::string& name = options.attacks[k];
    if (contains(std::span(options.attacks).first(k), name)) {
      fail("[pool] the attack {} is named twice", shown(name));
    }
    add_attacks(name, options, recipe);
  }
  return recipe;
}

std::vector<PoolAttack> unseen_recipe(const PoolRecipeOptions& trained,
                                      const std::vector<std::string>& attacks,
                                      const std::vector<float>& other_sizes) {
  std::vector<PoolAttack> recipe;
  const Norm other = trained.norm == Norm::linf ? Norm::l2 : Norm::linf;
  for (size_t k = 0; k < attacks.size(); ++k) {
    const std::string& name = attacks[k];
    if (contains(trained.attacks, name)) fail("[pool] {} is no unseen attack: it is trained on", name);
    if (contains(std::span(attacks).first(k), name)) fail("[pool] the attack {} is named twice", shown(name));
    if (name != "other-norm" && name != "other-sizes") {
      add_attacks(name, trained, recipe);
      continue;
    }
    for (const std::string& seen : trained.attacks) {
      if (seen == "gma" || is_minimum_norm(parse_attack(seen))) continue;
      const bool norm = name == "other-norm";
      const std::vector<float> sizes = !norm                   ? other_sizes
                                       : other == Norm::linf   ? eps_of(gma_sizes(trained.gma))
                                       : trained.sizes.empty() ? all_sizes(trained)
                                                               : trained.big_sizes;
      if (sizes.empty()) fail("[pool] other-sizes names no size");
      recipe.push_back(attack_of(seen + "-" + name, attack_defaults(parse_attack(seen)),
                                 norm ? other : trained.norm, sizes, trained.seed));
    }
  }
  return recipe;
}

}  // namespace caltrop
