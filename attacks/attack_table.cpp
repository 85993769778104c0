// One row for each attack, in the order in which they are listed to people.

#include <algorithm>

#include "attacks/attack_info.h"
#include "engine/error.h"

namespace caltrop {

// Each in the file that reads like its paper.
using Attack = Found(Workbench& bench, const Rows& rows, const Try& attempt);
Attack ascend;                                                               // ascent.cpp
Attack carlini_wagner;                                                       // cw.cpp
Attack deepfool;                                                             // deepfool.cpp
Attack apgd;                                                                 // apgd.cpp
Attack fab;                                                                  // fab.cpp
Attack square_attack;                                                        // square.cpp
std::vector<AttackOptions> autoattack_stages(const AttackOptions& options);  // autoattack.cpp

const std::vector<AttackInfo>& all_attacks() {
  using Kind = AttackKind;
  constexpr const char* kNearest = "which goes to the nearest class, whichever it is; cw takes a target";
  constexpr const char* kInTurn =
      "which tries the likeliest classes in turn; for one class take apgd-ce or cw";
  static const std::vector<Norm> linf_l2 = {Norm::linf, Norm::l2};
  static const std::vector<AttackInfo> all = {
      {.kind = Kind::fgsm,
       .name = "fgsm",
       .source = "Goodfellow, Shlens, Szegedy 2015, section 4",
       .norms = {Norm::linf, Norm::l2, Norm::l1},
       .steps = 1,
       .ascent = true,
       .starts = true,
       .reads = {"step_size", "random_start", "restarts", "cross_entropy"},
       .no_random_start = nullptr,
       .run = ascend},
      {.kind = Kind::bim,
       .name = "bim",
       .source = "Kurakin, Goodfellow, Bengio 2017, section 2.2",
       .norms = linf_l2,
       .steps = 10,
       .ascent = true,
       .starts = true,
       .reads = {"steps", "step_size", "random_start", "restarts", "cross_entropy"},
       .no_random_start = "which begins at the image; pgd is bim with a random start",
       .run = ascend},
      {.kind = Kind::pgd,
       .name = "pgd",
       .source = "Madry, Makelov, Schmidt, Tsipras, Vladu 2018, section 2.1",
       .norms = linf_l2,
       .steps = 10,
       .ascent = true,
       .starts = true,
       .random_start = true,
       .reads = {"steps", "step_size", "random_start", "restarts", "cross_entropy"},
       .no_random_start = nullptr,
       .run = ascend},
      {.kind = Kind::mim,
       .name = "mim",
       .source = "Dong et al. 2018, algorithm 1",
       .norms = linf_l2,
       .steps = 10,
       .ascent = true,
       .starts = true,
       .reads = {"steps", "step_size", "random_start", "restarts", "cross_entropy", "decay"},
       .no_random_start = nullptr,
       .run = ascend},
      {.kind = Kind::cw,
       .name = "cw",
       .source = "Carlini, Wagner 2017, section VI",
       .norms = {Norm::l2},
       .steps = 1000,
       .goal = Goal::nearest,
       .reads = {"steps", "cw"},
       .lead = [](const AttackOptions& options) { return options.cw.confidence; },
       .run = carlini_wagner},
      {.kind = Kind::deepfool,
       .name = "deepfool",
       .source = "Moosavi-Dezfooli, Fawzi, Frossard 2016, algorithm 2",
       .norms = {Norm::l2, Norm::linf},
       .steps = 50,
       .goal = Goal::nearest,
       .reads = {"steps", "deepfool"},
       .no_target = kNearest,
       .run = deepfool},
      {.kind = Kind::apgd_ce,
       .name = "apgd-ce",
       .source = "Croce, Hein 2020 (Reliable evaluation), algorithm 1",
       .norms = linf_l2,
       .steps = 100,
       .starts = true,
       .draws = true,
       .reads = {"steps", "restarts", "cross_entropy", "apgd"},
       .run = apgd},
      {.kind = Kind::apgd_dlr,
       .name = "apgd-dlr",
       .source = "Croce, Hein 2020 (Reliable evaluation), algorithm 1 and section 4",
       .norms = linf_l2,
       .steps = 100,
       .starts = true,
       .draws = true,
       .reads = {"steps", "restarts", "apgd"},
       .run = apgd},
      {.kind = Kind::apgd_t,
       .name = "apgd-t",
       .source = "Croce, Hein 2020 (Reliable evaluation), algorithm 1 and section 4",
       .norms = linf_l2,
       .steps = 100,
       .starts = true,
       .draws = true,
       .by_class = true,
       .reads = {"steps", "restarts", "target_classes", "apgd"},
       .no_target = kInTurn,
       .run = apgd},
      {.kind = Kind::fab,
       .name = "fab",
       .source = "Croce, Hein 2020 (Minimally distorted examples), algorithm 1",
       .norms = linf_l2,
       .steps = 100,
       .goal = Goal::nearest,
       .reads = {"steps", "restarts", "fab"},
       .no_target = kNearest,
       .run = fab},
      {.kind = Kind::fab_t,
       .name = "fab-t",
       .source = "Croce, Hein 2020 (Minimally distorted examples), algorithm 1, towards one class",
       .norms = linf_l2,
       .steps = 100,
       .goal = Goal::nearest,
       .by_class = true,
       .reads = {"steps", "restarts", "target_classes", "fab"},
       .no_target = kInTurn,
       .run = fab},
      {.kind = Kind::square,
       .name = "square",
       .source = "Andriushchenko, Croce, Flammarion, Hein 2020, algorithms 1 to 3",
       .norms = linf_l2,
       .steps = 5000,
       .gradients = false,
       .draws = true,
       .reads = {"steps", "restarts", "square"},
       .run = square_attack},
      {.kind = Kind::autoattack,
       .name = "autoattack",
       .source = "Croce, Hein 2020 (Reliable evaluation), section 5",
       .norms = linf_l2,
       .steps = 100,
       .reads = {"cross_entropy", "target_classes", "apgd", "fab", "square", "version"},
       .no_target = "which succeeds with any class; for one take apgd-ce, cw or square",
       .stages = autoattack_stages},
  };
  return all;
}

const AttackInfo& info_of(AttackKind kind) {
  for (const AttackInfo& info : all_attacks()) {
    if (info.kind == kind) return info;
  }
  fail("[attack] no row for attack {}", static_cast<int>(kind));
}

bool AttackInfo::knows(Norm norm) const {
  return std::find(norms.begin(), norms.end(), norm) != norms.end();
}

bool AttackInfo::reads_option(std::string_view option) const {
  const std::string_view group = option.substr(0, option.find('.'));
  return std::any_of(reads.begin(), reads.end(),
                     [&](std::string_view read) { return read == option || read == group; });
}

}  // namespace caltrop
