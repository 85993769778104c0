#include "apps/paper/defence_claims.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "apps/paper/defence_tables.h"
#include "apps/paper/printed.h"
#include "apps/report/table.h"
#include "defense/evaluation.h"

namespace caltrop {
namespace {

// How far below what it is compared with a rate may lie and still count as the same.
constexpr double kSame = 0.02, kAlmost = 0.05;
constexpr double kHarmless = 0.05;  // images that an attacker may bring to a wrong class
constexpr double kAlarms = 0.10;    // clean images that a useful detector may call attacked
constexpr double kOnePoint = 0.01;  // the paper's "only 1 %"
constexpr double kBetter = kOnePoint / 2;

// A number of one seed.
using OfRun = std::function<double(const DefenceRun& run)>;

MeanAndDeviation over(const std::vector<DefenceRun>& runs, const OfRun& of_run) {
  return *over_runs(runs, [&](const DefenceRun& run) { return std::optional(of_run(run)); });
}

const Detection& vote(const DefenceRun& run, const std::string& test = kExact) {
  return run.detection({kVote, kBootstrap, test});
}
double accuracy_of(const DefenceRun& run, const std::string& model, const std::string& stage) {
  return known(run.detection({model, stage, kExact}).accuracy, "accuracy");
}
double vote_accuracy(const DefenceRun& run) {
  return accuracy_of(run, kVote, kBootstrap);
}
double detected(const DefenceRun& run, const std::string& test) {
  return known(vote(run, test).detection_rate, "detection rate");
}
double alarms(const DefenceRun& run, const std::string& test = kExact) {
  return known(vote(run, test).false_alarms, "false alarms");
}
// Recall less false alarms: 0 for a detector that says "attacked" of all images alike, be it never or always.
double informed_of_rounded(const DefenceRun& run) {
  return detected(run, kRounded) - alarms(run, kRounded);
}
double vote_detection(const DefenceRun& run) {
  return known(vote(run).detection_accuracy, "detection accuracy");
}
double off_grid(const DefenceRun& run, const std::string& test = kExact) {
  return known(run.detection({kOffGrid, kUntrained, test}).detection_accuracy, "detection accuracy");
}

// Means over the attacks of the paper, over the networks of a stage.
double attacks_mean(const DefenceRun& run, std::optional<double> UnderAttack::*value) {
  double sum = 0;
  for (const std::string& attack : kPaperAttacks) {
    sum += known(run.under({kVote, kBootstrap, kExact}, attack).*value, "accuracy") /
           static_cast<double>(kPaperAttacks.size());
  }
  return sum;
}
double members_mean(const DefenceRun& run, const std::string& stage) {
  double sum = 0;
  for (const std::string& model : kPaperMembers)
    sum += accuracy_of(run, model, stage) / static_cast<double>(kPaperMembers.size());
  return sum;
}
double best_member(const DefenceRun& run) {
  double best = 0;
  for (const std::string& model : kPaperMembers) best = std::max(best, accuracy_of(run, model, kBootstrap));
  return best;
}
double same_size(const DefenceRun& run) {
  return accuracy_of(run, kPaperMembers.back() + " wide", kThirdLonger);
}

// What recall less false alarms gains, or loses, where this is left out of training. Absent where the test images
// hold none of it.
std::optional<double> gain_without(const DefenceRun& run, const std::string& what) {
  const LeftOutOfTraining& row = run.without(what);
  if (!row.seen || !row.unseen) return std::nullopt;
  return *row.unseen - known(row.false_alarms, "false alarms") -
         (*row.seen - known(row.seen_false_alarms, "false alarms"));
}
// Where most is lost in the mean over seeds.
std::string worst_left_out(const std::vector<DefenceRun>& runs) {
  std::string worst;
  double most = HUGE_VAL;
  for (const LeftOutOfTraining& row : runs[0].left_out) {
    const Mean gain = over_runs(runs, [&](const DefenceRun& run) { return gain_without(run, row.what); });
    if (!gain || gain->mean >= most) continue;
    most = gain->mean;
    worst = row.what;
  }
  if (worst.empty()) fail("a defence's result has no attack that was left out of training");
  return worst;
}

// The most that any attack which knows the defence adds, over all sizes, to what is wrong without one.
double worst_adaptive(const DefenceRun& run) {
  std::optional<double> worst;
  double without = 0;
  for (const AgainstDefence& row : run.adaptive) {
    if (row.attack == "none") without = row.wrong;
    if (row.attack == "any") worst = std::max(worst.value_or(0), row.wrong);
  }
  return known(worst, "attack that knows the vote") - without;
}

std::string show(const MeanAndDeviation& value) {
  return in_percent(value) + " %";
}

// "92.00 % against 93.00 %" of two numbers of each run, and by how much the first exceeds the second and a threshold.
DefenceClaim compared(const DefenceStudy& study, const std::string& claim, const std::string& paper,
                      const OfRun& ours, const std::string& against, const OfRun& other,
                      const OfRun& margin) {
  return {claim, paper,
          fmt::format("{}, {} {}", show(over(study.runs, ours)), against, show(over(study.runs, other))),
          over(study.runs, margin)};
}

}  // namespace

std::string DefenceClaim::verdict() const {
  const std::optional<double> half = margin.half_width();
  if (half && std::abs(margin.mean) < *half) return "undecided";
  return margin.mean >= 0 ? "survives" : "does not survive";
}

std::vector<DefenceClaim> defence_claims(const DefenceStudy& study) {
  if (study.runs.empty() || study.rounded.size() != study.runs.size())
    fail("the claims of {} are about runs trained on exact and on rounded images", study.dataset);
  const auto of = [&](const OfRun& of_run) {
    return over(study.runs, of_run);
  };
  // How much better than that: by half a point at least.
  const auto better = [](const OfRun& ours, const OfRun& other) -> OfRun {
    return [=](const DefenceRun& run) {
      return ours(run) - other(run) - kBetter;
    };
  };
  double printed = 0, best_printed = 0;
  for (const std::string& attack : kPaperAttacks) {
    const auto attacks = static_cast<double>(kPaperAttacks.size());
    printed += printed_vote(study.dataset, attack).accuracy / attacks;
    best_printed +=
        printed_network(study.dataset, kPaperMembers.back(), kPaperCycles.size() - 2, attack).accuracy /
        attacks;
  }
  std::vector<DefenceClaim> claims;
  const auto attacks_accuracy = [](const DefenceRun& run) {
    return attacks_mean(run, &UnderAttack::accuracy);
  };
  claims.push_back(
      {"the vote's accuracy over eleven classes is the paper's", fmt::format("{:.2f} %", 100 * printed),
       fmt::format("{}, as a detector {}", show(of(attacks_accuracy)), show(of([](const DefenceRun& run) {
                     return attacks_mean(run, &UnderAttack::detection_accuracy);
                   }))),
       of([&](const DefenceRun& run) { return attacks_accuracy(run) + (kSame - printed); })});
  const OfRun comparison = [](const DefenceRun& run) {
    return off_grid(run);
  };
  claims.push_back(compared(study, "a trained detector finds more than one comparison per pixel", "",
                            vote_detection, "the comparison", comparison,
                            better(vote_detection, comparison)));
  const OfRun exact = [](const DefenceRun& run) {
    return detected(run, kExactLeft);
  };
  const OfRun rounded = [](const DefenceRun& run) {
    return detected(run, kRounded);
  };
  claims.push_back(compared(study, "rounding attacked images to 8 bits does not hide them from the vote", "",
                            exact, "the same rounded", rounded,
                            [&](const DefenceRun& run) { return rounded(run) - exact(run) + kSame; }));
  // The same seed trained on exact and on rounded images.
  std::vector<double> gained;
  for (size_t i = 0; i < study.runs.size(); ++i)
    gained.push_back(informed_of_rounded(study.rounded[i]) - informed_of_rounded(study.runs[i]) + kSame);
  claims.push_back(
      {"training on rounded images tells them from clean ones no worse", "",
       fmt::format("recall less false alarms {}, trained on exact ones {}",
                   show(over(study.rounded, informed_of_rounded)), show(of(informed_of_rounded))),
       over_seeds(gained)});
  const std::string left_out = worst_left_out(study.runs);
  const OfRun without = [&](const DefenceRun& run) {
    return known(gain_without(run, left_out), "detection of what was left out");
  };
  claims.push_back({"an attack, size or norm that is left out of training is told from clean images as well",
                    "\"an unseen and advanced attack\"",
                    fmt::format("without {} one network's recall less false alarms changes by {} points",
                                left_out, in_percent(of(without))),
                    of([&](const DefenceRun& run) { return without(run) + kAlmost; })});
  claims.push_back(
      {"an attacker who knows the vote does not get past it", "\"robust\"",
       fmt::format("at the worst size {} of images get a wrong class that they did not get unattacked, "
                   "with {} false alarms",
                   show(of(worst_adaptive)), show(of([](const DefenceRun& run) { return alarms(run); }))),
       of([](const DefenceRun& run) {
         return std::min(kHarmless - worst_adaptive(run), kAlarms - alarms(run));
       })});
  claims.push_back(compared(study, "the vote is better than its best network",
                            fmt::format("{:.2f} % against {:.2f} %", 100 * printed, 100 * best_printed),
                            vote_accuracy, "the best", best_member, better(vote_accuracy, best_member)));
  claims.push_back(compared(study, "the vote is better than one network of the same total size", "",
                            vote_accuracy, "that one", same_size, better(vote_accuracy, same_size)));
  const OfRun half = [](const DefenceRun& run) {
    return members_mean(run, kFourthCycle);
  };
  const OfRun again = [](const DefenceRun& run) {
    return members_mean(run, kThirdAgain);
  };
  claims.push_back(
      compared(study, "50 % attacked images are no more than a point better than 40 %, for the same updates",
               "\"only 1%\"", half, "40 % again", again,
               [&](const DefenceRun& run) { return again(run) - half(run) + kOnePoint; }));
  return claims;
}

Table claims_table(const std::vector<DefenceStudy>& studies) {
  Table table({{"dataset", "data"},
               {"claim", "claim"},
               {"paper", "paper"},
               {"ours", "ours"},
               {"verdict", "verdict"}});
  for (const DefenceStudy& study : studies) {
    for (const DefenceClaim& claim : defence_claims(study)) {
      table.row({study.dataset, claim.claim, claim.paper.empty() ? Cell() : Cell(claim.paper), claim.ours,
                 claim.verdict()});
    }
  }
  return table;
}

Table controls_table(const DefenceStudy& study) {
  using Kind = Column::Kind;
  Table table({{"dataset", "data"},
               {"control", "control"},
               {"what", "what"},
               {"measure", "measure"},
               {"norm", "norm"},
               {"size", "size", Kind::general, 4},
               {"value", "value", Kind::percent},
               {"sd", "±", Kind::deviation}});
  const auto row = [&](const std::string& control, const std::string& what, const std::string& measure,
                       const Mean& value, Cell norm = {}, Cell size = {}) {
    if (!value) return;
    table.row({study.dataset, control, what, measure, std::move(norm), std::move(size), value->mean,
               cell_of(value->deviation)});
  };
  const auto of = [&](const OfRun& of_run) {
    return Mean(over(study.runs, of_run));
  };
  for (const std::string& test : {kExact, kRounded}) {
    row("1 off-grid pixel", test, "detection accuracy",
        of([&](const DefenceRun& run) { return off_grid(run, test); }));
  }
  const OfRun rounded = [](const DefenceRun& run) {
    return detected(run, kRounded);
  };
  row("2 8 bits", "trained and tested on exact images", "detected",
      of([](const DefenceRun& run) { return detected(run, kExact); }));
  row("2 8 bits", "trained on exact, tested on rounded", "detected", of(rounded));
  row("2 8 bits", "trained and tested on rounded", "detected", over(study.rounded, rounded));
  for (const UnderAttack& first : study.runs[0].attacks) {
    if (first.who != Detector{kVote, kBootstrap, kUnseen}) continue;
    const auto value = [&](std::optional<double> UnderAttack::*number) {
      return over_runs(study.runs,
                       [&](const DefenceRun& run) { return run.under(first.who, first.attack).*number; });
    };
    row("3 never trained on", first.attack, "detected", value(&UnderAttack::recall));
    row("3 never trained on", first.attack, "wrong class", value(&UnderAttack::wrong));
  }
  for (const LeftOutOfTraining& first : study.runs[0].left_out) {
    const auto value = [&](std::optional<double> LeftOutOfTraining::*number) {
      return over_runs(study.runs, [&](const DefenceRun& run) { return run.without(first.what).*number; });
    };
    row("3 left out", first.what, "detected, trained on", value(&LeftOutOfTraining::seen));
    row("3 left out", first.what, "detected, left out", value(&LeftOutOfTraining::unseen));
  }
  for (size_t k = 0; k < study.runs[0].adaptive.size(); ++k) {
    const AgainstDefence& first = study.runs[0].adaptive[k];
    // The same attacks, norms and sizes in every run, in the same order.
    row("4 adaptive", first.attack, "wrong class",
        of([&](const DefenceRun& run) { return run.adaptive.at(k).wrong; }),
        first.norm ? Cell(*first.norm) : Cell(), cell_of(first.size));
  }
  row("5 vote against one", "vote", "accuracy", of(vote_accuracy));
  row("5 vote against one", "best of its networks", "accuracy", of(best_member));
  row("5 vote against one", "one of the same size", "accuracy", of(same_size));
  for (const std::string& model : kPaperMembers) {
    for (const std::string& stage : {kThirdCycle, kThirdAgain, kFourthCycle}) {
      row("6 share of attacked images", model + ", " + stage, "accuracy",
          of([&](const DefenceRun& run) { return accuracy_of(run, model, stage); }));
    }
  }
  return table;
}

}  // namespace caltrop
