// What one run of a defence found: the rows of its tables (`caltrop defend`) as types, for tables, figures and claims of
// a study. A row or a number that should be there and is not is an Error that names it: nothing is left out in silence.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/json.h"
#include "engine/metrics.h"

namespace caltrop {

// Who was asked, after which stage of training, about which test images.
struct Detector {
  std::string model, stage, test;
  bool operator==(const Detector&) const = default;
};

// A number of a row, with its key in files and its title for people.
template <typename Row>
struct Number {
  const char *key, *title;
  std::optional<double> Row::*value;
};

// All as fractions. Absent: nothing to divide by, or a detector that knows no classes.
struct Detection {
  Detector who;
  int64_t clean = 0, attacked = 0;  // images
  std::optional<double> accuracy, f1, detection_accuracy, detection_f1, detection_rate, fooling_detected,
      wrong, false_alarms, clean_accuracy;
};
inline constexpr std::array<Number<Detection>, 9> kDetection = {
    {{"accuracy", "accuracy", &Detection::accuracy},
     {"f1", "F1", &Detection::f1},
     {"detection_accuracy", "detection acc.", &Detection::detection_accuracy},
     {"detection_f1", "its F1", &Detection::detection_f1},
     {"detection_rate", "detected", &Detection::detection_rate},
     {"fooling_detected", "of fooling", &Detection::fooling_detected},
     {"wrong", "wrong class", &Detection::wrong},
     {"false_alarms", "false alarms", &Detection::false_alarms},
     {"clean_accuracy", "clean accuracy", &Detection::clean_accuracy}}};

struct UnderAttack {
  Detector who;
  std::string attack;
  int64_t images = 0;
  std::optional<double> f1, accuracy, detection_accuracy, detection_f1, recall, fooling_recall, wrong;
};
inline constexpr std::array<Number<UnderAttack>, 7> kUnderAttack = {
    {{"f1", "F1", &UnderAttack::f1},
     {"accuracy", "accuracy", &UnderAttack::accuracy},
     {"detection_accuracy", "detection acc.", &UnderAttack::detection_accuracy},
     {"detection_f1", "its F1", &UnderAttack::detection_f1},
     {"recall", "detected", &UnderAttack::recall},
     {"fooling_recall", "of fooling", &UnderAttack::fooling_recall},
     {"wrong", "wrong class", &UnderAttack::wrong}}};

struct AtSize {
  Detector who;
  std::string attack, norm;
  std::optional<double> size;  // absent: of no bound
  int64_t images = 0;
  std::optional<double> fooled, recall;
  bool same_place(const AtSize& other) const;
};

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

struct EpochScores {
  double loss = 0, accuracy = 0;
};
struct TrainedEpoch {
  std::string model, stage;
  int64_t epoch = 0;  // of the stage
  EpochScores training, test;
  std::map<std::string, EpochScores> attacks;
};
struct VotedEpoch {
  int64_t epoch = 0;
  std::string attack;  // "all": of all together
  EpochScores scores;
};

struct DefenceRun {
  std::vector<Detection> summary = {};
  std::vector<UnderAttack> attacks = {};
  std::vector<AtSize> sizes = {};
  std::vector<LeftOutOfTraining> left_out = {};
  std::vector<AgainstDefence> adaptive = {};
  std::vector<VotedEpoch> vote_curve = {};
  std::vector<TrainedEpoch> epochs = {};

  // Errors where there is no such row.
  const Detection& detection(const Detector& who) const;
  const UnderAttack& under(const Detector& who, const std::string& attack) const;
  const LeftOutOfTraining& without(const std::string& what) const;
};

// Of what Defence::run returns.
DefenceRun read_defence_run(const Json& result);

// A number that must be there.
double known(const std::optional<double>& value, const char* what);

// A number of each run, over runs; absent where a run has none.
template <typename OfRun>
std::optional<MeanAndDeviation> over_runs(const std::vector<DefenceRun>& runs, const OfRun& of_run) {
  std::vector<double> values;
  for (const DefenceRun& run : runs) {
    const std::optional<double> value = of_run(run);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return values.empty() ? std::nullopt : std::optional(over_seeds(values));
}

}  // namespace caltrop
