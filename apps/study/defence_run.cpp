#include "apps/study/defence_run.h"

#include <algorithm>
#include <tuple>

#include "engine/error.h"

namespace caltrop {
namespace {

// A cell of a row; null is an absent one.
const Json& cell(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end()) fail("a defence's result lacks '{}' in {}", key, row.dump());
  return *found;
}
template <typename T>
void take(const Json& row, const char* key, T& to) {
  to = cell(row, key).get<T>();
}
template <typename T>
void take(const Json& row, const char* key, std::optional<T>& to) {
  const Json& value = cell(row, key);
  if (!value.is_null()) to = value.get<T>();
}
void take(const Json& row, Detector& who) {
  take(row, "model", who.model);
  take(row, "stage", who.stage);
  take(row, "test", who.test);
}

void take(const Json& json, Detection& row) {
  take(json, row.who);
  take(json, "clean", row.clean);
  take(json, "attacked", row.attacked);
  for (const Number<Detection>& number : kDetection) take(json, number.key, row.*number.value);
}
void take(const Json& json, UnderAttack& row) {
  take(json, row.who);
  take(json, "attack", row.attack);
  take(json, "images", row.images);
  for (const Number<UnderAttack>& number : kUnderAttack) take(json, number.key, row.*number.value);
}
void take(const Json& json, AtSize& row) {
  take(json, row.who);
  take(json, "attack", row.attack);
  take(json, "norm", row.norm);
  take(json, "size", row.size);
  take(json, "images", row.images);
  take(json, "fooled", row.fooled);
  take(json, "recall", row.recall);
}
void take(const Json& json, LeftOutOfTraining& row) {
  take(json, "left_out", row.what);
  take(json, "seen", row.seen);
  take(json, "unseen", row.unseen);
  take(json, "seen_false_alarms", row.seen_false_alarms);
  take(json, "false_alarms", row.false_alarms);
}
void take(const Json& json, AgainstDefence& row) {
  take(json, "attack", row.attack);
  take(json, "norm", row.norm);
  take(json, "size", row.size);
  take(json, "wrong", row.wrong);
}
void take(const Json& json, VotedEpoch& row) {
  take(json, "epoch", row.epoch);
  take(json, "attack", row.attack);
  take(json, "loss", row.scores.loss);
  take(json, "accuracy", row.scores.accuracy);
}
void take_test(const Json& json, EpochScores& scores) {
  take(json, "test_loss", scores.loss);
  take(json, "test_accuracy", scores.accuracy);
}
void take(const Json& json, TrainedEpoch& row) {
  take(json, "model", row.model);
  take(json, "stage", row.stage);
  take(json, "stage_epoch", row.epoch);
  take(json, "loss", row.training.loss);
  take(json, "train_accuracy", row.training.accuracy);
  take_test(json, row.test);
  for (const auto& [attack, scores] : json.at("attacks").items()) take_test(scores, row.attacks[attack]);
}

// The rows of a table; of one that was not asked for there are none.
template <typename Row>
void take_rows(const Json& result, const char* table, std::vector<Row>& rows) {
  for (const Json& json : result.value(table, Json::array())) take(json, rows.emplace_back());
}

}  // namespace

bool AtSize::same_place(const AtSize& other) const {
  return who == other.who && std::tie(attack, norm, size) == std::tie(other.attack, other.norm, other.size);
}

const Detection& DefenceRun::detection(const Detector& who) const {
  for (const Detection& row : summary) {
    if (row.who == who) return row;
  }
  fail("a defence's result says nothing of {} after {} on {} images", who.model, who.stage, who.test);
}

const UnderAttack& DefenceRun::under(const Detector& who, const std::string& attack) const {
  for (const UnderAttack& row : attacks) {
    if (row.who == who && row.attack == attack) return row;
  }
  fail("a defence's result says nothing of {} after {} on {} images under {}", who.model, who.stage, who.test,
       attack);
}

const LeftOutOfTraining& DefenceRun::without(const std::string& what) const {
  for (const LeftOutOfTraining& row : left_out) {
    if (row.what == what) return row;
  }
  fail("a defence's result says nothing of training without {}", what);
}

DefenceRun read_defence_run(const Json& result) {
  DefenceRun run;
  try {
    take_rows(result, "summary", run.summary);
    take_rows(result, "attacks", run.attacks);
    take_rows(result, "sizes", run.sizes);
    take_rows(result, "leave_out", run.left_out);
    take_rows(result, "adaptive", run.adaptive);
    take_rows(result, "vote_curve", run.vote_curve);
    take_rows(result, "metrics", run.epochs);
  } catch (const Json::exception& problem) {
    fail("a defence's result is damaged: {}", problem.what());
  }
  return run;
}

double known(const std::optional<double>& value, const char* what) {
  if (!value) fail("a defence's result has no {}", what);
  return *value;
}

}  // namespace caltrop
