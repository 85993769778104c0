#include "apps/paper/defence_shown.h"

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

Detector vote(const std::string& test = kExact) {
  return {kVote, kBootstrap, test};
}
OfRun accuracy(const std::string& model, const std::string& stage) {
  return {{model, stage, kExact}, &Judged::accuracy};
}
OfRun detected(const std::string& test) {
  return {vote(test), &Judged::detected};
}
OfRun alarms(const std::string& test = kExact) {
  return {vote(test), &Judged::false_alarms};
}
OfRun off_grid(const std::string& test = kExact) {
  return {{kOffGrid, kUntrained, test}, &Judged::detection_accuracy};
}
std::vector<OfRun> members(const std::string& stage) {
  std::vector<OfRun> all;
  for (const std::string& model : kPaperMembers) all.push_back(accuracy(model, stage));
  return all;
}
// The vote under the attacks of the paper.
OfRun attacks_mean(Share value) {
  std::vector<OfRun> all;
  for (const std::string& attack : kPaperAttacks) all.emplace_back(vote(), value, attack);
  return mean_of(all);
}
OfRun vote_accuracy() {
  return accuracy(kVote, kBootstrap);
}
OfRun best_member() {
  return highest_of(members(kBootstrap));
}
OfRun same_size() {
  return accuracy(kPaperMembers.back() + " wide", kThirdLonger);
}
double printed_accuracy(const PrintedRow& printed) {
  double sum = 0;
  for (const std::string& attack : kPaperAttacks)
    sum += printed.at(attack).accuracy / static_cast<double>(kPaperAttacks.size());
  return sum;
}

}  // namespace

std::vector<TestedClaim> defence_claims(const DefenceStudy& study) {
  if (study.runs.empty() || study.rounded.size() != study.runs.size())
    fail("the claims of {} are about runs trained on exact and on rounded images", study.dataset);
  const auto over = [&](const OfRun& number) {
    return *over_runs(study.runs, number);
  };
  const auto show = [](const Mean& value) {
    return in_percent(value) + " %";
  };
  // "92.00 % against 93.00 %" of two numbers of each run, and by how much the first exceeds the second and a threshold.
  const auto compared = [&](const std::string& claim, const std::string& paper, const OfRun& ours,
                            const std::string& against, const OfRun& other,
                            const OfRun& margin) -> TestedClaim {
    return {claim, paper, fmt::format("{}, {} {}", show(over(ours)), against, show(over(other))),
            over(margin)};
  };
  const double printed = printed_accuracy(printed_vote(study.dataset)),
               best_printed = printed_accuracy(
                   printed_network(study.dataset, kPaperMembers.back(), kPaperCycles.size() - 2));
  const OfRun under_attack = attacks_mean(&Judged::accuracy), detection(vote(), &Judged::detection_accuracy),
              exact = detected(kExactLeft), rounded = detected(kRounded),
              half = mean_of(members(kFourthCycle)), again = mean_of(members(kThirdAgain));
  // Recall less false alarms: 0 for a detector that says "attacked" of all images alike, be it never or always.
  const OfRun informed = rounded - alarms(kRounded);
  // The same seed trained on exact and on rounded images.
  std::vector<double> gained;
  for (size_t i = 0; i < study.runs.size(); ++i)
    gained.push_back(informed(study.rounded[i]) - informed(study.runs[i]) + kSame);
  const std::string left_out = worst_left_out(study.runs);
  const OfRun without = [&](const DefenceRun& run) {
    return run.gain_without(left_out).value();  // every run has it: worst_left_out() chose it
  };
  const OfRun adaptive = &DefenceRun::worst_adaptive;
  return {{"the vote's accuracy over eleven classes is the paper's", fmt::format("{:.2f} %", 100 * printed),
           fmt::format("{}, as a detector {}", show(over(under_attack)),
                       show(over(attacks_mean(&Judged::detection_accuracy)))),
           over(under_attack + (kSame - printed))},
          compared("a trained detector finds more than one comparison per pixel", "", detection,
                   "the comparison", off_grid(), detection - off_grid() - kBetter),
          compared("rounding attacked images to 8 bits does not hide them from the vote", "", exact,
                   "the same rounded", rounded, rounded - exact + kSame),
          {"training on rounded images tells them from clean ones no worse", "",
           fmt::format("recall less false alarms {}, trained on exact ones {}",
                       show(over_runs(study.rounded, informed)), show(over(informed))),
           over_seeds(gained)},
          {"an attack, size or norm that is left out of training is told from clean images as well",
           "\"an unseen and advanced attack\"",
           fmt::format("without {} one network's recall less false alarms changes by {} points", left_out,
                       in_percent(over(without))),
           over(without + kAlmost)},
          {"an attacker who knows the vote does not get past it", "\"robust\"",
           fmt::format(
               "at the worst size {} of images get a wrong class that they did not get unattacked, with {} "
               "false alarms",
               show(over(adaptive)), show(over(alarms()))),
           over(lowest_of({kHarmless - adaptive, kAlarms - alarms()}))},
          compared("the vote is better than its best network",
                   fmt::format("{:.2f} % against {:.2f} %", 100 * printed, 100 * best_printed),
                   vote_accuracy(), "the best", best_member(), vote_accuracy() - best_member() - kBetter),
          compared("the vote is better than one network of the same total size", "", vote_accuracy(),
                   "that one", same_size(), vote_accuracy() - same_size() - kBetter),
          compared("50 % attacked images are no more than a point better than 40 %, for the same updates",
                   "\"only 1%\"", half, "40 % again", again, again - half + kOnePoint)};
}

Table claims_table(const std::vector<DefenceStudy>& studies) {
  Table table({{"dataset", "data"},
               {"claim", "claim"},
               {"paper", "paper"},
               {"ours", "ours"},
               {"verdict", "verdict"}});
  for (const DefenceStudy& study : studies) {
    for (const TestedClaim& claim : defence_claims(study)) {
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
  const auto of = [&](const OfRun& number) {
    return over_runs(study.runs, number);
  };
  for (const std::string& test : {kExact, kRounded})
    row("1 off-grid pixel", test, "detection accuracy", of(off_grid(test)));
  row("2 8 bits", "trained and tested on exact images", "detected", of(detected(kExact)));
  row("2 8 bits", "trained on exact, tested on rounded", "detected", of(detected(kRounded)));
  row("2 8 bits", "trained and tested on rounded", "detected", over_runs(study.rounded, detected(kRounded)));
  for (const Judged& first : study.runs[0].attacks) {
    if (first.who != vote(kUnseen)) continue;
    const auto value = [&](Share number) {
      return over_runs(study.runs,
                       [&](const DefenceRun& run) { return run.judged(first.who, first.attack).*number; });
    };
    row("3 never trained on", first.attack, "detected", value(&Judged::detected));
    row("3 never trained on", first.attack, "wrong class", value(&Judged::wrong));
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
  row("5 vote against one", "vote", "accuracy", of(vote_accuracy()));
  row("5 vote against one", "best of its networks", "accuracy", of(best_member()));
  row("5 vote against one", "one of the same size", "accuracy", of(same_size()));
  for (const std::string& model : kPaperMembers) {
    for (const std::string& stage : {kThirdCycle, kThirdAgain, kFourthCycle})
      row("6 share of attacked images", model + ", " + stage, "accuracy", of(accuracy(model, stage)));
  }
  return table;
}

}  // namespace caltrop
