// The flags that `defend eat` and `defend mia` share: every choice that the paper leaves open, with its
// default.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/options.h"
#include "defense/eat.h"

namespace caltrop {

struct DefendFlags {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;  // the undefended network that is attacked
  std::string scale = "quick";
  std::vector<std::string> members = {"eat-1", "eat-2", "eat-3"};
  std::vector<double> cycles;  // percent
  std::string share_of = "all", optimizer_state = "carry", schedule = "constant", unchanged = "drop";
  std::optional<int64_t> epochs, bootstrap_epochs, test_images, test_attacked, pool, adaptive;
  int64_t batch = 128;
  double rate = 1e-3;
  std::vector<std::string> attacks = {"gma", "pgd", "fgsm", "cw"};
  std::string gma_norm = "both", norm = "l2", gma_base = "e", gma_grid = "full", gma_scale = "1";
  std::vector<double> big_sizes = {1, 2, 3};
  std::optional<int64_t> cw_steps, cw_rounds;
  std::optional<double> cw_constant, cw_rate;
  bool eight_bits = false;
  std::string cache = "runs/crafted";
};

// `mia`: with the flags of the bootstraps.
void add_defend_flags(Flags& flags, DefendFlags& options, bool mia);

// The flags with what --scale says where they are silent: from here on the optionals hold values, but those
// that mean "all". A UsageError where they contradict one another.
void resolve(DefendFlags& options);

std::vector<double> shares_of(const DefendFlags& options);  // fractions
PoolRecipeOptions recipe_of(const DefendFlags& options);
StagedOptions staged_of(const DefendFlags& options);
// "eat-1", and "eat-1.2" for the second of that name.
std::vector<std::string> member_names(const DefendFlags& options);

}  // namespace caltrop
