// What one run of a defence found, as types: for tables, figures and claims over several seeds. A row or a number that
// should be there and is not is an Error that names it: nothing is left out in silence.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "defense/scores.h"
#include "engine/metrics.h"

namespace caltrop {

// Who was asked, after which stage of training, about which test images.
struct Detector {
  std::string model, stage, test;
  bool operator==(const Detector&) const = default;
};

// Answers to clean and attacked images: all of them, those of one attack, or attacked ones of one size.
struct Judged {
  Detector who;
  std::string attack = {}, norm = {};  // empty: of all
  std::optional<double> size = {};     // absent: of no bound
  int64_t clean = 0, attacked = 0;     // images; the clean ones stand with all attacks alone
  // All as fractions. Absent: nothing to divide by, or a detector that knows no classes.
  std::optional<double> accuracy = {}, f1 = {}, detection_accuracy = {}, detection_f1 = {}, detected = {},
                        fooling_detected = {}, wrong = {}, false_alarms = {}, clean_accuracy = {},
                        fooled = {};
  bool same_place(const Judged& other) const;
};
using Share = std::optional<double> Judged::*;

// A number of a table's rows, with its key in files and its title for people.
struct Number {
  const char *key, *title;
  Share value;
};
inline constexpr std::array<Number, 9> kOfAll = {
    {{"accuracy", "accuracy", &Judged::accuracy},
     {"f1", "F1", &Judged::f1},
     {"detection_accuracy", "detection acc.", &Judged::detection_accuracy},
     {"detection_f1", "its F1", &Judged::detection_f1},
     {"detection_rate", "detected", &Judged::detected},
     {"fooling_detected", "of fooling", &Judged::fooling_detected},
     {"wrong", "wrong class", &Judged::wrong},
     {"false_alarms", "false alarms", &Judged::false_alarms},
     {"clean_accuracy", "clean accuracy", &Judged::clean_accuracy}}};
inline constexpr std::array<Number, 7> kUnderAttack = {
    {{"f1", "F1", &Judged::f1},
     {"accuracy", "accuracy", &Judged::accuracy},
     {"detection_accuracy", "detection acc.", &Judged::detection_accuracy},
     {"detection_f1", "its F1", &Judged::detection_f1},
     {"recall", "detected", &Judged::detected},
     {"fooling_recall", "of fooling", &Judged::fooling_detected},
     {"wrong", "wrong class", &Judged::wrong}}};
inline constexpr std::array<Number, 2> kAtSize = {
    {{"fooled", "fool the undefended", &Judged::fooled}, {"recall", "detected", &Judged::detected}}};

struct LeftOutOfTraining {
  std::string what;
  std::optional<double> seen, unseen, seen_false_alarms, false_alarms;
};

struct AgainstDefence {  // an attack that knows the defence
  std::string attack;    // "none", "any": without one, the best of all for each image
  std::optional<std::string> norm;
  std::optional<double> size;
  double wrong = 0;
};

// Of the vote after an epoch of the bootstraps there are tests alone.
struct TrainedEpoch {
  std::string model, stage;
  int64_t epoch = 0;  // of the stage
  std::optional<Score> training = {};
  std::map<std::string, Score> tests = {};  // by attack, and "all"
};

// The networks' vote and the stage in which it is trained, as a run names them.
inline const std::string kVote = "vote", kBootstrap = "bootstrap";

struct DefenceRun {
  std::vector<Judged> summary = {}, attacks = {}, sizes = {};
  std::vector<LeftOutOfTraining> left_out = {};
  std::vector<AgainstDefence> adaptive = {};
  std::vector<TrainedEpoch> epochs = {};

  // Errors where there is no such row, or no number in it. "" as attack: of all.
  const Judged& judged(const Detector& who, const std::string& attack = "") const;
  double number(const Detector& who, Share value, const std::string& attack = "") const;
  const LeftOutOfTraining& without(const std::string& what) const;

  // What recall less false alarms gains, or loses, where this is left out of training. Absent where the test images
  // hold none of it.
  std::optional<double> gain_without(const std::string& what) const;
  // The most that any attack which knows the defence adds, over all sizes, to what is wrong without one.
  double worst_adaptive() const;
};

using Mean = std::optional<MeanAndDeviation>;
// A number of each run, over runs; absent where a run has none.
template <typename Of>
Mean over_runs(const std::vector<DefenceRun>& runs, const Of& of_run) {
  std::vector<double> values;
  for (const DefenceRun& run : runs) {
    const std::optional<double> value = of_run(run);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return values.empty() ? std::nullopt : std::optional(over_seeds(values));
}

// What is lost most, in the mean over runs, where it is left out of training; an Error where nothing was.
std::string worst_left_out(const std::vector<DefenceRun>& runs);
// A detector's answers to all test images, whatever `who.test`, by attack, norm and size. An attack without sizes may
// come to stand at other ones in another run; its numbers are then absent.
struct SizeScore {
  Judged place;  // of the first run
  Mean fooled, detected;
};
std::vector<SizeScore> over_sizes(const std::vector<DefenceRun>& runs, const Detector& who);

// A score by epoch of a stage, over the runs: of `model` in training ("" for all networks, whose values count one by one),
// or in the tests with this attack ("all": with all).
using Curve = std::map<int64_t, MeanAndDeviation>;
Curve training_curve(const std::vector<DefenceRun>& runs, const std::string& stage, const std::string& model,
                     double Score::*value);
Curve test_curve(const std::vector<DefenceRun>& runs, const std::string& stage, const std::string& model,
                 const std::string& attack, double Score::*value);

// A number of one run, and what is computed of such numbers.
class OfRun {
 public:
  OfRun(double constant) : of_([=](const DefenceRun&) { return constant; }) {}
  template <std::invocable<const DefenceRun&> Of>
  OfRun(Of of) : of_(std::move(of)) {}
  // One that must be there; "" as attack: of all.
  OfRun(const Detector& who, Share value, const std::string& attack = "")
      : of_([=](const DefenceRun& run) { return run.number(who, value, attack); }) {}

  double operator()(const DefenceRun& run) const { return of_(run); }

 private:
  std::function<double(const DefenceRun&)> of_;
};
OfRun operator+(const OfRun& a, const OfRun& b);
OfRun operator-(const OfRun& a, const OfRun& b);
OfRun mean_of(const std::vector<OfRun>& numbers);
OfRun lowest_of(const std::vector<OfRun>& numbers);
OfRun highest_of(const std::vector<OfRun>& numbers);

struct TestedClaim {
  std::string claim;  // a clause: "the vote finds what one comparison per pixel does not"
  std::string paper;  // the paper's number or words; empty where it has none
  std::string ours;   // numbers, as a clause
  // How far the numbers lie on the claim's side of its threshold, over seeds. Where 0 lies within the mean's 95 %
  // interval (Student's t), the seeds do not decide; of one seed no interval is known, and the sign decides.
  MeanAndDeviation margin;
  std::string verdict() const;  // "survives", "does not survive", "undecided"
};

}  // namespace caltrop
