#include "apps/study/defence_run.h"

#include <fstream>

#include "apps/core/run_folder.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

void read(const Json& value, std::optional<double>& to) {
  if (!value.is_null()) to = value.get<double>();
}
void read(const Json& value, std::optional<std::string>& to) {
  if (!value.is_null()) to = value.get<std::string>();
}
template <typename T>
void read(const Json& value, T& to) {
  to = value.get<T>();
}

// Cells of a row by their keys; null is an absent one.
template <typename T, typename... More>
void take(const Json& row, const char* key, T& to, More&&... more) {
  const auto found = row.find(key);
  if (found == row.end()) fail("a defence's result lacks '{}' in {}", key, row.dump());
  read(*found, to);
  if constexpr (sizeof...(more) > 0) take(row, std::forward<More>(more)...);
}
template <typename Numbers>
void take_numbers(const Json& json, Judged& row, const Numbers& numbers) {
  take(json, "model", row.who.model, "stage", row.who.stage, "test", row.who.test);
  for (const Number& number : numbers) take(json, number.key, row.*number.value);
}

// The rows of a table; of one that was not asked for there are none.
template <typename Row, typename Take>
void take_rows(const Json& result, const char* table, std::vector<Row>& rows, const Take& take_row) {
  for (const Json& json : result.value(table, Json::array())) take_row(json, rows.emplace_back());
}

void take_epoch(const Json& json, TrainedEpoch& row) {
  Score &training = row.training.emplace(), &all = row.tests["all"];
  take(json, "model", row.model, "stage", row.stage, "stage_epoch", row.epoch);
  take(json, "loss", training.loss, "train_accuracy", training.accuracy);
  take(json, "test_loss", all.loss, "test_accuracy", all.accuracy);
  for (const auto& [attack, scores] : json.at("attacks").items()) {
    Score& under = row.tests[attack];
    take(scores, "test_loss", under.loss, "test_accuracy", under.accuracy);
  }
}

// Rows of one epoch follow one another.
void take_votes(const Json& result, std::vector<TrainedEpoch>& rows) {
  for (const Json& json : result.value("vote_curve", Json::array())) {
    int64_t epoch = 0;
    std::string attack;
    Score scores;
    take(json, "epoch", epoch, "attack", attack, "loss", scores.loss, "accuracy", scores.accuracy);
    if (rows.empty() || rows.back().model != kVote || rows.back().epoch != epoch)
      rows.push_back({.model = kVote, .stage = kBootstrap, .epoch = epoch});
    rows.back().tests[attack] = scores;
  }
}

}  // namespace

Json metrics_line(const WatchedEpoch& epoch) {
  const StageEpoch& trained = epoch.trained;
  const Score& all = epoch.tested.all;
  Json line = {{"epoch", epoch.number},     {"model", epoch.model},
               {"stage", epoch.stage},      {"stage_epoch", trained.epoch},
               {"loss", trained.loss},      {"train_accuracy", trained.accuracy},
               {"test_loss", all.loss},     {"test_accuracy", all.accuracy},
               {"attacks", Json::object()}, {"stop_rule", trained.stop_rule}};
  for (const auto& [attack, score] : epoch.tested.attacks)
    line["attacks"][attack] = {{"test_loss", score.loss}, {"test_accuracy", score.accuracy}};
  if (!epoch.reported.empty()) line["reported"] = epoch.reported;
  return line;
}

DefenceRun read_defence_run(const Json& result) {
  DefenceRun run;
  try {
    take_rows(result, "summary", run.summary, [](const Json& json, Judged& row) {
      take(json, "clean", row.clean, "attacked", row.attacked);
      take_numbers(json, row, kOfAll);
    });
    take_rows(result, "attacks", run.attacks, [](const Json& json, Judged& row) {
      take(json, "attack", row.attack, "images", row.attacked);
      take_numbers(json, row, kUnderAttack);
    });
    take_rows(result, "sizes", run.sizes, [](const Json& json, Judged& row) {
      take(json, "attack", row.attack, "norm", row.norm, "size", row.size, "images", row.attacked);
      take_numbers(json, row, kAtSize);
    });
    take_rows(result, "leave_out", run.left_out, [](const Json& json, LeftOutOfTraining& row) {
      take(json, "left_out", row.what, "seen", row.seen, "unseen", row.unseen);
      take(json, "seen_false_alarms", row.seen_false_alarms, "false_alarms", row.false_alarms);
    });
    take_rows(result, "adaptive", run.adaptive, [](const Json& json, AgainstDefence& row) {
      take(json, "attack", row.attack, "norm", row.norm, "size", row.size, "wrong", row.wrong);
    });
    take_rows(result, "metrics", run.epochs, take_epoch);
    take_votes(result, run.epochs);
  } catch (const Json::exception& problem) {
    fail("a defence's result is damaged: {}", problem.what());
  }
  return run;
}

DefenceRun read_defence_run(const RunFolder& folder, const std::string& file) {
  Json result = folder.read_json(file);
  result["metrics"] = MetricsLog::read(folder.file("metrics.jsonl"));
  return read_defence_run(result);
}

}  // namespace caltrop
