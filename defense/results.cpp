#include "defense/results.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "engine/error.h"

namespace caltrop {
namespace {

OfRun chosen(const std::vector<OfRun>& numbers, bool highest) {
  return [=](const DefenceRun& run) {
    double best = numbers.at(0)(run);
    for (const OfRun& number : numbers)
      best = highest ? std::max(best, number(run)) : std::min(best, number(run));
    return best;
  };
}

// `take(line)`: the score that counts, or null.
template <typename Take>
Curve curve_of(const std::vector<DefenceRun>& runs, const std::string& stage, double Score::*value,
               const Take& take) {
  std::map<int64_t, std::vector<double>> values;
  for (const DefenceRun& run : runs) {
    for (const TrainedEpoch& line : run.epochs) {
      const Score* score = line.stage == stage ? take(line) : nullptr;
      if (score != nullptr) values[line.epoch].push_back(score->*value);
    }
  }
  Curve curve;
  for (const auto& [epoch, all] : values) curve[epoch] = over_seeds(all);
  return curve;
}

}  // namespace

bool Judged::same_place(const Judged& other) const {
  return who == other.who && std::tie(attack, norm, size) == std::tie(other.attack, other.norm, other.size);
}

const Judged& DefenceRun::judged(const Detector& who, const std::string& attack) const {
  for (const Judged& row : attack.empty() ? summary : attacks) {
    if (row.who == who && row.attack == attack) return row;
  }
  fail("a defence's result says nothing of {} after {} on {} images{}{}", who.model, who.stage, who.test,
       attack.empty() ? "" : " under ", attack);
}

double DefenceRun::number(const Detector& who, Share value, const std::string& attack) const {
  if (const std::optional<double>& found = judged(who, attack).*value) return *found;
  const auto named = std::ranges::find(kOfAll, value, &Number::value);
  fail("a defence's result has no {} of {} after {} on {} images",
       named == kOfAll.end() ? "number" : named->key, who.model, who.stage, who.test);
}

const LeftOutOfTraining& DefenceRun::without(const std::string& what) const {
  const auto row = std::ranges::find(left_out, what, &LeftOutOfTraining::what);
  if (row == left_out.end()) fail("a defence's result says nothing of training without {}", what);
  return *row;
}

std::optional<double> DefenceRun::gain_without(const std::string& what) const {
  const LeftOutOfTraining& row = without(what);
  if (!row.seen || !row.unseen) return std::nullopt;
  if (!row.false_alarms || !row.seen_false_alarms)
    fail("a defence's result has no false alarms of training without {}", what);
  return *row.unseen - *row.false_alarms - (*row.seen - *row.seen_false_alarms);
}

double DefenceRun::worst_adaptive() const {
  std::optional<double> worst;
  double none = 0;
  for (const AgainstDefence& row : adaptive) {
    if (row.attack == "none") none = row.wrong;
    if (row.attack == "any") worst = std::max(worst.value_or(0), row.wrong);
  }
  if (!worst) fail("a defence's result has no attack that knows the defence");
  return *worst - none;
}

std::string worst_left_out(const std::vector<DefenceRun>& runs) {
  std::string worst;
  double most = HUGE_VAL;
  for (const LeftOutOfTraining& row : runs.at(0).left_out) {
    const Mean gain = over_runs(runs, [&](const DefenceRun& run) { return run.gain_without(row.what); });
    if (!gain || gain->mean >= most) continue;
    most = gain->mean;
    worst = row.what;
  }
  if (worst.empty()) fail("a defence's result has no attack that was left out of training");
  return worst;
}

std::vector<SizeScore> over_sizes(const std::vector<DefenceRun>& runs, const Detector& who) {
  std::vector<SizeScore> scores;
  for (const Judged& first : runs.at(0).sizes) {
    if (first.who.model != who.model || first.who.stage != who.stage) continue;
    const auto mean = [&](Share value) {
      return over_runs(runs, [&](const DefenceRun& run) {
        const auto row =
            std::ranges::find_if(run.sizes, [&](const Judged& other) { return other.same_place(first); });
        return row == run.sizes.end() ? std::nullopt : (*row).*value;
      });
    };
    scores.push_back({first, mean(&Judged::fooled), mean(&Judged::detected)});
  }
  return scores;
}

Curve training_curve(const std::vector<DefenceRun>& runs, const std::string& stage, const std::string& model,
                     double Score::*value) {
  return curve_of(runs, stage, value, [&](const TrainedEpoch& line) {
    return line.training && (model.empty() || line.model == model) ? &*line.training : nullptr;
  });
}

Curve test_curve(const std::vector<DefenceRun>& runs, const std::string& stage, const std::string& model,
                 const std::string& attack, double Score::*value) {
  return curve_of(runs, stage, value, [&](const TrainedEpoch& line) -> const Score* {
    if (line.model != model) return nullptr;
    const auto tested = line.tests.find(attack);
    if (tested == line.tests.end()) fail("a defence's result has no test of {} with {}", model, attack);
    return &tested->second;
  });
}

OfRun operator+(const OfRun& a, const OfRun& b) {
  return [=](const DefenceRun& run) {
    return a(run) + b(run);
  };
}

OfRun operator-(const OfRun& a, const OfRun& b) {
  return [=](const DefenceRun& run) {
    return a(run) - b(run);
  };
}

OfRun mean_of(const std::vector<OfRun>& numbers) {
  return [=](const DefenceRun& run) {
    double sum = 0;
    for (const OfRun& number : numbers) sum += number(run) / static_cast<double>(numbers.size());
    return sum;
  };
}

OfRun lowest_of(const std::vector<OfRun>& numbers) {
  return chosen(numbers, false);
}

OfRun highest_of(const std::vector<OfRun>& numbers) {
  return chosen(numbers, true);
}

std::string TestedClaim::verdict() const {
  const std::optional<double> half = margin.half_width();
  if (half && std::abs(margin.mean) < *half) return "undecided";
  return margin.mean >= 0 ? "survives" : "does not survive";
}

}  // namespace caltrop
