// Every field of AttackOptions by its name: for whoever writes them down, compares or checks them.
#pragma once

#include "attacks/attack.h"

namespace caltrop {

// visit(name, field) for each. A structured binding names all members: one that is added to AttackOptions or to a
// part of it does not compile until it is named here.
template <typename Options, typename Visit>
void for_each_option(Options& options, const Visit& visit) {
  auto& [kind, norm, steps, step_size, step_share, random_start, restarts, first_try, targeted,
         predicted_labels, decay, cross_entropy, target_classes, cw, deepfool, apgd, fab, square, version,
         seed, low, high] = options;
  visit("kind", kind);
  visit("norm", norm);
  visit("steps", steps);
  visit("step_size", step_size);
  visit("step_share", step_share);
  visit("random_start", random_start);
  visit("restarts", restarts);
  visit("first_try", first_try);
  visit("targeted", targeted);
  visit("predicted_labels", predicted_labels);
  visit("decay", decay);
  visit("cross_entropy", cross_entropy);
  visit("target_classes", target_classes);
  auto& [rounds, first_constant, confidence, learning_rate, abort_early] = cw;
  visit("cw.rounds", rounds);
  visit("cw.first_constant", first_constant);
  visit("cw.confidence", confidence);
  visit("cw.learning_rate", learning_rate);
  visit("cw.abort_early", abort_early);
  auto& [candidates, overshoot] = deepfool;
  visit("deepfool.candidates", candidates);
  visit("deepfool.overshoot", overshoot);
  auto& [rho, authors_quirks] = apgd;
  visit("apgd.rho", rho);
  visit("apgd.authors_quirks", authors_quirks);
  auto& [alpha_max, eta, beta] = fab;
  visit("fab.alpha_max", alpha_max);
  visit("fab.eta", eta);
  visit("fab.beta", beta);
  auto& [share, schedule] = square;
  visit("square.share", share);
  visit("square.schedule", schedule);
  visit("version", version);
  visit("seed", seed);
  visit("low", low);
  visit("high", high);
}

}  // namespace caltrop
