#include "apps/paper/defence_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "apps/paper/defence_numbers.h"
#include "apps/paper/defence_tables.h"
#include "defense/evaluation.h"

namespace caltrop {
namespace {

// How far below what it is compared with a rate may lie and still count as the same.
constexpr double kSame = 0.02, kAlmost = 0.05;
constexpr double kHarmless = 0.05;  // images that an attacker may bring to a wrong class
constexpr double kAlarms = 0.10;    // clean images that a useful detector may call attacked
constexpr double kOnePoint = 0.01;  // the paper's "only 1 %"

// One number of each seed, and over seeds.
using OfRun = std::function<std::optional<double>(const Json& run)>;

std::optional<double> number(const Json& run, const std::string& table, const Match& match,
                             const std::string& field) {
  const auto value = over_runs({run}, table, match, field);
  return value ? std::optional(value->mean) : std::nullopt;
}
std::optional<MeanAndDeviation> over(const std::vector<Json>& runs, const OfRun& of_run) {
  std::vector<double> values;
  for (const Json& run : runs) {
    const std::optional<double> value = of_run(run);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  if (values.empty()) return std::nullopt;
  return over_seeds(values);
}

Match summary_of(const std::string& model, const std::string& stage, const std::string& test) {
  return {{"model", model}, {"stage", stage}, {"test", test}};
}
OfRun vote(const std::string& field, const std::string& test = "exact") {
  return [=](const Json& run) {
    return number(run, "summary", summary_of("vote", "bootstrap", test), field);
  };
}
OfRun off_grid(const std::string& test) {
  return [=](const Json& run) {
    return number(run, "summary", summary_of("off-grid pixel", "no training", test), "detection_accuracy");
  };
}
// Mean over the attacks of the paper.
OfRun attacks_mean(const std::string& field) {
  return [=](const Json& run) -> std::optional<double> {
    double sum = 0;
    for (const std::string& attack : kPaperAttacks) {
      Match match = summary_of("vote", "bootstrap", "exact");
      match["attack"] = attack;
      const auto value = number(run, "attacks", match, field);
      if (!value) return std::nullopt;
      sum += *value / static_cast<double>(kPaperAttacks.size());
    }
    return sum;
  };
}
template <typename Operation>
OfRun combined(const OfRun& a, const OfRun& b, const Operation& operation) {
  return [=](const Json& run) -> std::optional<double> {
    const auto left = a(run), right = b(run);
    if (!left || !right) return std::nullopt;
    return operation(*left, *right);
  };
}
OfRun constant(double value) {
  return [=](const Json&) {
    return std::optional(value);
  };
}
OfRun difference(const OfRun& a, const OfRun& b) {
  return combined(a, b, std::minus<>());
}
OfRun plus(const OfRun& a, double value) {
  return combined(a, constant(value), std::plus<>());
}
// How far it stays below the limit.
OfRun below(double limit, const OfRun& a) {
  return difference(constant(limit), a);
}
OfRun smaller(const OfRun& a, const OfRun& b) {
  return combined(a, b, [](double left, double right) { return std::min(left, right); });
}
// Recall less false alarms: 0 for a detector that says "attacked" of all images alike, be it never or always.
OfRun informed(const std::string& test) {
  return difference(vote("detection_rate", test), vote("false_alarms", test));
}
// What recall less false alarms gains, or loses, where this is left out of training.
OfRun without(const std::string& left_out) {
  return [=](const Json& run) -> std::optional<double> {
    for (const Json& row : run.value("leave_out", Json::array())) {
      if (row.at("left_out") != left_out || !row.at("seen").is_number() || !row.at("unseen").is_number())
        continue;
      const auto of = [&row](const char* field) {
        return row.at(field).get<double>();
      };
      return of("unseen") - of("false_alarms") - (of("seen") - of("seen_false_alarms"));
    }
    return std::nullopt;
  };
}
// Where most is lost in the mean over seeds; empty where nothing was left out.
std::string worst_left_out(const std::vector<Json>& runs) {
  std::string worst;
  double most = std::numeric_limits<double>::infinity();
  for (const Json& row : runs[0].value("leave_out", Json::array())) {
    const auto name = row.at("left_out").get<std::string>();
    const auto gain = over(runs, without(name));
    if (gain && gain->mean < most) {
      most = gain->mean;
      worst = name;
    }
  }
  return worst;
}
// The most that any attack which knows the defence adds, over all sizes, to what is wrong without one.
std::optional<double> worst_adaptive(const Json& run) {
  if (!run.contains("adaptive")) return std::nullopt;
  std::optional<double> worst, without;
  for (const Json& row : run.at("adaptive")) {
    if (row.at("attack") == "none") without = row.at("wrong").get<double>();
    if (row.at("attack") == "any") worst = std::max(worst.value_or(0), row.at("wrong").get<double>());
  }
  return worst ? std::optional(*worst - without.value_or(0)) : std::nullopt;
}
std::optional<double> best_member(const Json& run) {
  std::optional<double> best;
  for (const std::string& model : kPaperMembers) {
    const auto value = number(run, "summary", summary_of(model, "bootstrap", "exact"), "accuracy");
    if (value) best = std::max(best.value_or(0), *value);
  }
  return best;
}
std::optional<double> same_size(const Json& run) {
  return number(run, "summary", summary_of("eat-3 wide", "cycle 40 % on", "exact"), "accuracy");
}
// Mean over the networks of a stage.
OfRun members_mean(const std::string& stage) {
  return [=](const Json& run) -> std::optional<double> {
    double sum = 0;
    for (const std::string& model : kPaperMembers) {
      const auto value = number(run, "summary", summary_of(model, stage, "exact"), "accuracy");
      if (!value) return std::nullopt;
      sum += *value / static_cast<double>(kPaperMembers.size());
    }
    return sum;
  };
}

// Collects claims whose numbers are all there.
class Claims {
 public:
  explicit Claims(const DefenceStudy& study) : study_(study) {}

  std::optional<MeanAndDeviation> of(const OfRun& of_run) const { return over(study_.runs, of_run); }
  std::string show(const std::optional<MeanAndDeviation>& value) const { return in_percent(value) + " %"; }
  // Nothing where a number is missing in some run.
  void add(const std::string& claim, const std::string& paper, const std::string& ours,
           const std::optional<MeanAndDeviation>& margin) {
    if (margin) list_.push_back({claim, paper, ours, *margin, study_.runs.size()});
  }
  // "92.00 % against 93.00 %" of two rates of each run.
  void compare(const std::string& claim, const std::string& paper, const OfRun& ours,
               const std::string& against, const OfRun& other, const OfRun& margin) {
    add(claim, paper, fmt::format("{}, {} {}", show(of(ours)), against, show(of(other))), of(margin));
  }
  std::vector<DefenceClaim> take() { return std::move(list_); }

 private:
  const DefenceStudy& study_;
  std::vector<DefenceClaim> list_;
};

void add_value(Table& table, const DefenceStudy& study, const std::string& control, const std::string& what,
               const std::string& measure, Cell norm, Cell size,
               const std::optional<MeanAndDeviation>& value) {
  if (!value) return;
  table.row({study.dataset, control, what, measure, std::move(norm), std::move(size), value->mean,
             cell_of(value->deviation)});
}

}  // namespace

std::string DefenceClaim::verdict() const {
  // Student's t at 97.5 %, for 1, 2, ... degrees of freedom; beyond the table its last is a little too cautious.
  constexpr std::array kQuantiles = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262};
  if (margin.deviation) {
    const double quantile = kQuantiles[std::min(seeds - 2, kQuantiles.size() - 1)];
    if (std::abs(margin.mean) < quantile * *margin.deviation / std::sqrt(static_cast<double>(seeds)))
      return "undecided";
  }
  return margin.mean >= 0 ? "survives" : "does not survive";
}

std::vector<DefenceClaim> defence_claims(const DefenceStudy& study) {
  Claims claims(study);
  // How much better than that: by half a point at least.
  const auto better = [](const OfRun& ours, const OfRun& other) {
    return plus(difference(ours, other), -kOnePoint / 2);
  };
  double printed = 0;
  for (const std::string& attack : kPaperAttacks)
    printed += printed_vote(study.dataset, attack).accuracy / static_cast<double>(kPaperAttacks.size());
  const OfRun accuracy = attacks_mean("accuracy");
  claims.add("the vote's accuracy over eleven classes is the paper's", fmt::format("{:.2f} %", 100 * printed),
             fmt::format("{}, as a detector {}", claims.show(claims.of(accuracy)),
                         claims.show(claims.of(attacks_mean("detection_accuracy")))),
             claims.of(plus(accuracy, kSame - printed)));
  const OfRun detection = vote("detection_accuracy");
  claims.compare("a trained detector finds more than one comparison per pixel", "", detection,
                 "the comparison", off_grid("exact"), better(detection, off_grid("exact")));
  const OfRun exact = vote("detection_rate", kExactLeft), rounded = vote("detection_rate", "8 bits");
  claims.compare("rounding attacked images to 8 bits does not hide them from the vote", "", exact,
                 "the same rounded", rounded, plus(difference(rounded, exact), kSame));
  if (study.rounded.size() == study.runs.size()) {
    // The same seed trained on exact and on rounded images.
    const auto trained = over(study.rounded, informed("8 bits"));
    std::vector<double> margins;
    for (size_t i = 0; i < study.runs.size(); ++i) {
      const auto a = informed("8 bits")(study.rounded[i]), b = informed("8 bits")(study.runs[i]);
      if (a && b) margins.push_back(*a - *b + kSame);
    }
    if (margins.size() == study.runs.size()) {
      claims.add("training on rounded images tells them from clean ones no worse", "",
                 fmt::format("recall less false alarms {}, trained on exact ones {}", claims.show(trained),
                             claims.show(claims.of(informed("8 bits")))),
                 over_seeds(margins));
    }
  }
  const std::string left_out = worst_left_out(study.runs);
  claims.add("an attack, size or norm that is left out of training is told from clean images as well",
             "\"an unseen and advanced attack\"",
             fmt::format("without {} one network's recall less false alarms changes by {} points", left_out,
                         in_percent(claims.of(without(left_out)))),
             claims.of(plus(without(left_out), kAlmost)));
  const OfRun alarms = vote("false_alarms");
  claims.add("an attacker who knows the vote does not get past it", "\"robust\"",
             fmt::format("at the worst size {} of images get a wrong class that they did not get unattacked, "
                         "with {} false alarms",
                         claims.show(claims.of(worst_adaptive)), claims.show(claims.of(alarms))),
             claims.of(smaller(below(kHarmless, worst_adaptive), below(kAlarms, alarms))));
  double best_printed = 0;
  for (const std::string& attack : kPaperAttacks) {
    best_printed +=
        printed_network(study.dataset, kPaperMembers.back(), kPaperCycles.size() - 2, attack).accuracy /
        static_cast<double>(kPaperAttacks.size());
  }
  claims.compare("the vote is better than its best network",
                 fmt::format("{:.2f} % against {:.2f} %", 100 * printed, 100 * best_printed),
                 vote("accuracy"), "the best", best_member, better(vote("accuracy"), best_member));
  claims.compare("the vote is better than one network of the same total size", "", vote("accuracy"),
                 "that one", same_size, better(vote("accuracy"), same_size));
  const OfRun half = members_mean("cycle 50 %"), again = members_mean("cycle 40 % again");
  claims.compare("50 % attacked images are no more than a point better than 40 %, for the same updates",
                 "\"only 1%\"", half, "40 % again", again, plus(difference(again, half), kOnePoint));
  return claims.take();
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
  const auto add = [&](const std::string& control, const std::string& what, const std::string& measure,
                       const OfRun& of_run) {
    add_value(table, study, control, what, measure, {}, {}, over(study.runs, of_run));
  };
  add("1 off-grid pixel", "exact", "detection accuracy", off_grid("exact"));
  add("1 off-grid pixel", "8 bits", "detection accuracy", off_grid("8 bits"));
  add("2 8 bits", "trained and tested on exact images", "detected", vote("detection_rate"));
  add("2 8 bits", "trained on exact, tested on rounded", "detected", vote("detection_rate", "8 bits"));
  add_value(table, study, "2 8 bits", "trained and tested on rounded", "detected", {}, {},
            over(study.rounded, vote("detection_rate", "8 bits")));
  for (const Json& row : study.runs[0].at("attacks")) {
    if (row.at("model") != "vote" || row.at("stage") != "bootstrap" || row.at("test") != "unseen") continue;
    Match match = summary_of("vote", "bootstrap", "unseen");
    match["attack"] = row.at("attack");
    const auto name = row.at("attack").get<std::string>();
    for (const auto& [field, measure] : {std::pair{"recall", "detected"}, std::pair{"wrong", "wrong class"}})
      add_value(table, study, "3 never trained on", name, measure, {}, {},
                over_runs(study.runs, "attacks", match, field));
  }
  for (const Json& row : study.runs[0].value("leave_out", Json::array())) {
    const Match match = {{"left_out", row.at("left_out")}};
    const auto name = row.at("left_out").get<std::string>();
    for (const auto& [field, measure] :
         {std::pair{"seen", "detected, trained on"}, std::pair{"unseen", "detected, left out"}})
      add_value(table, study, "3 left out", name, measure, {}, {},
                over_runs(study.runs, "leave_out", match, field));
  }
  for (const Json& row : study.runs[0].value("adaptive", Json::array())) {
    const Match match = {{"attack", row.at("attack")}, {"norm", row.at("norm")}, {"size", row.at("size")}};
    Cell norm, size;
    if (row.at("norm").is_string()) norm = row.at("norm").get<std::string>();
    if (row.at("size").is_number()) size = row.at("size").get<double>();
    add_value(table, study, "4 adaptive", row.at("attack").get<std::string>(), "wrong class", norm, size,
              over_runs(study.runs, "adaptive", match, "wrong"));
  }
  add("5 vote against one", "vote", "accuracy", vote("accuracy"));
  add("5 vote against one", "best of its networks", "accuracy", best_member);
  add("5 vote against one", "one of the same size", "accuracy", same_size);
  for (const std::string& model : kPaperMembers) {
    for (const char* stage : {"cycle 40 %", "cycle 40 % again", "cycle 50 %"}) {
      add("6 share of attacked images", model + ", " + stage, "accuracy", [&](const Json& run) {
        return number(run, "summary", summary_of(model, stage, "exact"), "accuracy");
      });
    }
  }
  return table;
}

std::string report_text(const std::vector<DefenceStudy>& studies, const std::string& scale, bool vote,
                        const std::vector<ReportPart>& parts) {
  std::string text = "# The defence of GMA/MIA 2025, beside the paper\n\n";
  text += fmt::format(
      "Scale {} (see 'caltrop defend mia --help'); numbers in %, the paper's in brackets. {}\n\n", scale,
      studies[0].runs.size() > 1
          ? fmt::format("Means ± standard deviations over {} seeds of the defence; the undefended network is "
                        "the same for all.",
                        studies[0].runs.size())
          : "One seed: how far chance moves these numbers is not known, and a verdict that hangs on a few "
            "points may fall the other way with another.");
  for (const DefenceStudy& study : studies) {
    if (!vote) break;
    std::map<std::string, std::string> lists;
    for (const DefenceClaim& claim : defence_claims(study)) {
      std::string& list = lists[claim.verdict()];
      list += fmt::format("{}{}", list.empty() ? "" : "; ", claim.claim);
    }
    const auto named = [&](const char* verdict) {
      return lists[verdict].empty() ? "none" : lists[verdict];
    };
    text += fmt::format("On {} these claims survive: {}. These do not: {}.", study.dataset, named("survives"),
                        named("does not survive"));
    if (study.runs.size() > 1)
      text += fmt::format(" {} seeds do not decide: {}.", study.runs.size(), named("undecided"));
    text += "\n\n";
  }
  for (const auto& [title, body] : parts) text += fmt::format("## {}\n\n{}\n", title, body);
  text.pop_back();
  return text;
}

}  // namespace caltrop
