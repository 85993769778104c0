#include "apps/commands/defend_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/metrics.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

// What became of attacked images. Those that had fooled the undefended network are the ones that matter.
struct Recall {
  int64_t images = 0, detected = 0, fooled = 0, fooled_detected = 0, wrong = 0;
  void add(const PoolItem& item, const Images& clean, int32_t answer, int32_t attacked) {
    const int32_t truth = clean.labels()[static_cast<size_t>(item.image)];
    ++images;
    detected += answer == attacked;
    fooled += item.fooled;
    fooled_detected += item.fooled && answer == attacked;
    wrong += answer != attacked && answer != truth;
  }
};

// Labels and answers with classes: the clean images, then those of the pool that `takes` accepts.
template <typename Takes>
Metrics metrics_over(const Answers& answers, const Images& clean, const AttackedPool& pool, int32_t attacked,
                     const Takes& takes) {
  std::vector<int32_t> labels = clean.labels(),
                       said(answers.predictions.begin(), answers.predictions.begin() + clean.count());
  for (size_t i = 0; i < pool.items.size(); ++i) {
    if (!takes(pool.items[i])) continue;
    labels.push_back(attacked);
    said.push_back(answers.predictions[static_cast<size_t>(clean.count()) + i]);
  }
  return summarize(Confusion(attacked + 1, labels, said));
}

template <typename Takes>
Recall recall_over(const Answers& answers, const Images& clean, const AttackedPool& pool, int32_t attacked,
                   const Takes& takes) {
  Recall recall;
  for (size_t i = 0; i < pool.items.size(); ++i) {
    const int32_t answer = answers.predictions[static_cast<size_t>(clean.count()) + i];
    if (takes(pool.items[i])) recall.add(pool.items[i], clean, answer, attacked);
  }
  return recall;
}

bool knows_classes(const Answers& answers) {
  return std::none_of(answers.predictions.begin(), answers.predictions.end(),
                      [](int32_t p) { return p < 0; });
}

}  // namespace

DetectionReport::DetectionReport(const std::vector<PoolLane>& lanes, int32_t attacked)
    : lanes_(lanes),
      attacked_(attacked),
      summary_({{"model", "model"},
                {"stage", "stage"},
                {"test", "test"},
                {"clean", "clean", Kind::count},
                {"attacked", "attacked", Kind::count},
                {"accuracy", "accuracy", Kind::percent},
                {"f1", "F1", Kind::percent},
                {"detection_accuracy", "detection acc.", Kind::percent},
                {"detection_f1", "its F1", Kind::percent},
                {"detection_rate", "detected", Kind::percent},
                {"fooling_detected", "of fooling", Kind::percent},
                {"wrong", "wrong class", Kind::percent},
                {"false_alarms", "false alarms", Kind::percent},
                {"clean_accuracy", "clean accuracy", Kind::percent}}),
      attacks_({{"model", "model"},
                {"stage", "stage"},
                {"test", "test"},
                {"attack", "attack"},
                {"images", "images", Kind::count},
                {"fooled", "fool the undefended", Kind::percent},
                {"recall", "detected", Kind::percent},
                {"fooling_recall", "of fooling", Kind::percent},
                {"wrong", "wrong class", Kind::percent},
                {"accuracy", "accuracy", Kind::percent},
                {"f1", "F1", Kind::percent},
                {"detection_accuracy", "detection acc.", Kind::percent},
                {"detection_f1", "its F1", Kind::percent}}),
      sizes_({{"model", "model"},
              {"stage", "stage"},
              {"test", "test"},
              {"attack", "attack"},
              {"norm", "norm"},
              {"size", "size", Kind::general, 4},
              {"images", "images", Kind::count},
              {"fooled", "fool the undefended", Kind::percent},
              {"recall", "detected", Kind::percent}}) {}

void DetectionReport::add(const Answers& answers, const Images& clean, const DefenceData::Test& test) {
  const int64_t n = clean.count(), attacked = test.pool.count();
  if (static_cast<int64_t>(answers.predictions.size()) != n + attacked) {
    fail("[report] expected answers to {} images, got {}", n + attacked, answers.predictions.size());
  }
  std::vector<int32_t> truth(static_cast<size_t>(n + attacked)), alarms(truth.size());
  int64_t right = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    truth[i] = i >= static_cast<size_t>(n);
    alarms[i] = answers.predictions[i] == attacked_;
    if (truth[i] == 0) right += answers.predictions[i] == clean.labels()[i];
  }
  const Confusion detection(2, truth, alarms);
  const ClassMetrics positive = class_metrics(detection, 1);
  const auto all_items = [](const PoolItem&) {
    return true;
  };
  const Recall recall = recall_over(answers, clean, test.pool, attacked_, all_items);
  Cell accuracy, f1, clean_accuracy, wrong;
  if (knows_classes(answers)) {
    const Metrics all = metrics_over(answers, clean, test.pool, attacked_, all_items);
    accuracy = all.accuracy;
    f1 = all.f1;
    wrong = quotient(recall.wrong, recall.images);
    clean_accuracy = quotient(right, n);
  }
  summary_.row({answers.model, answers.stage, test.name, n, attacked, accuracy, f1,
                quotient(detection.correct(), detection.count()), positive.f1, positive.recall,
                quotient(recall.fooled_detected, recall.fooled), wrong, quotient(detection.at(0, 1), n),
                clean_accuracy});
  add_attacks(answers, clean, test);
  add_sizes(answers, clean, test);
}

void DetectionReport::add_attacks(const Answers& answers, const Images& clean,
                                  const DefenceData::Test& test) {
  std::vector<std::string> names;
  for (size_t k = test.first_lane; k < std::min(test.end_lane, lanes_.size()); ++k) {
    if (names.empty() || names.back() != lanes_[k].attack) names.push_back(lanes_[k].attack);
  }
  int64_t alarms = 0;
  for (int64_t i = 0; i < clean.count(); ++i)
    alarms += answers.predictions[static_cast<size_t>(i)] == attacked_;
  for (const std::string& name : names) {
    const auto takes = [&](const PoolItem& item) {
      return lanes_[static_cast<size_t>(item.lane)].attack == name;
    };
    const Recall recall = recall_over(answers, clean, test.pool, attacked_, takes);
    Cell accuracy, f1, wrong;
    if (knows_classes(answers)) {
      const Metrics all = metrics_over(answers, clean, test.pool, attacked_, takes);
      wrong = quotient(recall.wrong, recall.images);
      accuracy = all.accuracy;
      f1 = all.f1;
    }
    attacks_.row({answers.model, answers.stage, test.name, name, recall.images,
                  quotient(recall.fooled, recall.images), quotient(recall.detected, recall.images),
                  quotient(recall.fooled_detected, recall.fooled), wrong, accuracy, f1,
                  quotient(recall.detected + clean.count() - alarms, recall.images + clean.count()),
                  quotient(2 * recall.detected, recall.images + recall.detected + alarms)});
  }
}

void DetectionReport::add_sizes(const Answers& answers, const Images& clean, const DefenceData::Test& test) {
  std::vector<float> thresholds;  // for attacks without sizes
  for (const PoolLane& lane : lanes_) {
    for (const float size : lane.sizes) {
      if (std::isfinite(size)) thresholds.push_back(size);
    }
  }
  std::sort(thresholds.begin(), thresholds.end());
  std::map<std::pair<int64_t, float>, Recall> cells;
  for (size_t i = 0; i < test.pool.items.size(); ++i) {
    const PoolItem& item = test.pool.items[i];
    float size = item.size;
    if (!std::isfinite(size)) {
      const auto fits = std::lower_bound(thresholds.begin(), thresholds.end(), item.l2);
      if (fits != thresholds.end()) size = *fits;
    }
    cells[{item.lane, size}].add(item, clean, answers.predictions[static_cast<size_t>(clean.count()) + i],
                                 attacked_);
  }
  for (const auto& [key, recall] : cells) {
    const PoolLane& lane = lanes_[static_cast<size_t>(key.first)];
    sizes_.row({answers.model, answers.stage, test.name, lane.attack, to_string(lane.options.norm),
                std::isfinite(key.second) ? Cell(static_cast<double>(key.second)) : Cell(), recall.images,
                quotient(recall.fooled, recall.images), quotient(recall.detected, recall.images)});
  }
}

}  // namespace caltrop
