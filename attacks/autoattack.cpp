// AutoAttack (Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
// parameter-free attacks", ICML 2020): four attacks that fail in different ways, none of which has a
// parameter to tune. An image is robust when none fools it.

#include "attacks/attack.h"

namespace caltrop {

std::vector<AttackOptions> autoattack_stages(const AttackOptions& options) {
  using Kind = AttackKind;
  std::vector<Kind> kinds;
  switch (options.version) {
    case AutoAttackVersion::standard:
      kinds = {Kind::apgd_ce, Kind::apgd_t, Kind::fab_t, Kind::square};
      break;
    case AutoAttackVersion::plus:
      kinds = {Kind::apgd_ce, Kind::apgd_dlr, Kind::fab, Kind::square, Kind::apgd_t, Kind::fab_t};
      break;
    case AutoAttackVersion::rand:
      kinds = {Kind::apgd_ce, Kind::apgd_dlr};
      break;
  }
  std::vector<AttackOptions> stages;
  for (const Kind kind : kinds) {
    AttackOptions stage = options;
    const AttackOptions defaults = attack_defaults(kind);
    stage.kind = kind;
    stage.steps = defaults.steps;
    stage.random_start = defaults.random_start;
    // Five tries of the attacks that begin at random; the targeted ones differ by their targets.
    const bool directed = kind == Kind::apgd_t || kind == Kind::fab_t || kind == Kind::square;
    stage.restarts = options.version == AutoAttackVersion::plus && !directed ? 5 : 1;
    stage.first_try =
        options.first_try + static_cast<int64_t>(stages.size()) * 64;  // random starts of its own
    stages.push_back(stage);
  }
  return stages;
}

}  // namespace caltrop
