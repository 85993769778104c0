// The flags that `defend eat` and `defend mia` share: every choice that the paper leaves open, with its
// default, and the controls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/commands/defend_adaptive.h"
#include "apps/core/options.h"
#include "defense/eat.h"

namespace caltrop {

// Controls that train more networks.
//   leave-out  each attack, the big sizes and one of GMA's norms in turn are left out of training
//   same-size  one network with as many parameters as all together, trained as long
//   updates    the last cycle but one again, for as many updates as the last
inline const std::vector<std::string> kControls = {"leave-out", "same-size", "updates"};
inline const std::vector<std::string> kUnseenAttacks = {"bim", "mim", "deepfool", "other-norm",
                                                        "other-sizes"};

struct DefendFlags {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;  // the undefended network that is attacked
  std::string scale = "quick";
  std::vector<std::string> members = {"eat-1", "eat-2", "eat-3"};
  std::vector<double> cycles;  // percent
  std::string share_of = "all", optimizer_state = "carry", schedule = "constant", unchanged = "drop";
  std::optional<int64_t> epochs, bootstrap_epochs, test_images, test_attacked, pool;
  bool bootstraps = false;                // MIA
  std::optional<double> bootstrap_cycle;  // one of the cycles: its set is drawn from, its networks go on
  int64_t batch = 128;
  double rate = 1e-3;
  std::vector<std::string> attacks = {"gma", "pgd", "fgsm", "cw"};
  std::string gma_norm = "both", norm = "l2", gma_base = "e", gma_grid = "full", gma_scale = "1";
  std::vector<double> big_sizes = {1, 2, 3};
  std::optional<int64_t> cw_steps, cw_rounds;
  std::optional<double> cw_constant, cw_rate;
  bool eight_bits = false;
  std::vector<std::string> controls;  // of kControls
  std::string control_model;          // of leave-out and same-size; "": the last of `members`
  std::optional<int64_t> unseen;
  std::vector<std::string> unseen_attacks;  // empty: kUnseenAttacks, but those that are trained on
  std::vector<double> unseen_sizes = {0.75, 1.5, 2.5, 4};
  std::optional<int64_t> adaptive, adaptive_steps, adaptive_queries;
  std::vector<std::string> adaptive_attacks = kAdaptiveAttacks;
  std::string adaptive_mean = "logits";
  std::vector<double> adaptive_linf = {0.01, 0.03, 0.1, 0.3}, adaptive_l2 = {0.5, 1, 2, 3};
  std::string cache = "runs/crafted";
};

// With options.bootstraps the flags of MIA too.
void add_defend_flags(Flags& flags, DefendFlags& options);

// The flags with what --scale says where they are silent: from here on the optionals hold values, but those
// that mean "all". A UsageError where they contradict one another.
void resolve(DefendFlags& options);

std::vector<double> shares_of(const DefendFlags& options);  // fractions
bool has_control(const DefendFlags& options, const std::string& name);
std::string control_model(const DefendFlags& options);
double bootstrap_cycle(const DefendFlags& options);  // per cent; without bootstraps the last cycle
PoolRecipeOptions recipe_of(const DefendFlags& options);
std::vector<PoolLane> unseen_of(const DefendFlags& options);  // none with --unseen 0
AdaptiveOptions adaptive_of(const DefendFlags& options);
StagedOptions staged_of(const DefendFlags& options);
// "eat-1", and "eat-1.2" for the second of that name.
std::vector<std::string> member_names(const DefendFlags& options);

}  // namespace caltrop
