// Which attacks a pool of attacked images is made of (Sanapala & Gondi, "GMA/MIA 2025", Table 2).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "attacks/gma.h"

namespace caltrop {

// One attack under one norm. A pool with "gma" under two norms has two of that name, one after the other.
struct PoolAttack {
  std::string name;
  AttackOptions options;
  std::vector<float> sizes;  // {infinity}: the smallest perturbation that the attack finds
};

// CW where time is short: fewer steps than its authors', and longer ones.
inline constexpr struct {
  int64_t steps, rounds;
  double constant, rate;
} kQuickCw = {.steps = 100, .rounds = 3, .constant = 1.0, .rate = 0.1};

struct PoolRecipeOptions {
  std::vector<std::string> attacks = {"gma", "pgd", "fgsm", "cw"};  // of pool_attacks()
  std::vector<Norm> gma_norms = {Norm::linf, Norm::l2};             // the paper names none
  Norm norm = Norm::l2;  // of all others with sizes: 1 to 3 permit any image under L-inf
  GmaSizeOptions gma = {};
  std::vector<float> big_sizes = {1, 2, 3};  // Table 2: all but GMA have these beside the sizes of GMA
  std::vector<float> sizes = {};             // of all but GMA, in place of both
  int64_t cw_steps = 1000, cw_rounds = 9;    // Table 2: 1000
  float cw_constant = 1e-3f, cw_rate = 0.01f;
  uint64_t seed = 0;
};
// An Error for an unknown attack, one named twice, or none.
std::vector<PoolAttack> pool_recipe(const PoolRecipeOptions& options);
// gma, pgd, fgsm, bim, mim, and cw and deepfool, which look for the nearest adversarial image.
std::vector<std::string> pool_attacks();

// Attacks to test a defence with that it was not trained on: names of pool_attacks(), and of those that it was
// trained on and that have a norm and sizes, "other-norm" (under L-inf GMA's sizes alone) and "other-sizes",
// which are then called "pgd-other-norm" and so on. An Error for an attack that `trained` holds.
std::vector<PoolAttack> unseen_recipe(const PoolRecipeOptions& trained,
                                      const std::vector<std::string>& attacks,
                                      const std::vector<float>& other_sizes);
std::vector<std::string> unseen_attacks();  // the names that it knows

}  // namespace caltrop
