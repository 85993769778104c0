#include "apps/commands/defend_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/report/table.h"
#include "engine/metrics.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

bool knows_classes(const JudgedTest& judged) {
  return std::none_of(judged.answers.begin(), judged.answers.end(), [](int32_t p) { return p < 0; });
}

}  // namespace

// What became of attacked images. Those that had fooled the undefended network are the ones that matter.
struct DetectionReport::Recall {
  int64_t images = 0, detected = 0, fooled = 0, fooled_detected = 0, wrong = 0;
  void add(const PoolImage& item, const Images& clean, int32_t answer, int32_t attacked) {
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
Metrics DetectionReport::metrics_over(const JudgedTest& judged, const Images& clean, const AttackedPool& pool,
                                      Takes takes) const {
  std::vector<int32_t> labels = clean.labels(),
                       said(judged.answers.begin(), judged.answers.begin() + clean.count());
  for (size_t i = 0; i < pool.images.size(); ++i) {
    if (!takes(pool.images[i])) continue;
    labels.push_back(detects_ ? attacked_ : clean.labels()[static_cast<size_t>(pool.images[i].image)]);
    said.push_back(judged.answers[static_cast<size_t>(clean.count()) + i]);
  }
  return summarize(Confusion(attacked_ + 1, labels, said));
}

template <typename Takes>
DetectionReport::Recall DetectionReport::recall_over(const JudgedTest& judged, const Images& clean,
                                                     const AttackedPool& pool, Takes takes) const {
  Recall recall;
  for (size_t i = 0; i < pool.images.size(); ++i) {
    const int32_t answer = judged.answers[static_cast<size_t>(clean.count()) + i];
    if (takes(pool.images[i])) recall.add(pool.images[i], clean, answer, attacked_);
  }
  return recall;
}

DetectionReport::DetectionReport(int32_t attacked, std::vector<float> sizes, bool detects)
    : attacked_(attacked),
      all_sizes_(std::move(sizes)),
      detects_(detects),
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

void DetectionReport::add(const JudgedTest& judged, const Images& clean, const std::string& test,
                          const AttackedPool& pool) {
  const int64_t n = clean.count(), attacked = pool.count();
  if (static_cast<int64_t>(judged.answers.size()) != n + attacked) {
    fail("[report] expected answers to {} images, got {}", n + attacked, judged.answers.size());
  }
  std::vector<int32_t> truth(static_cast<size_t>(n + attacked)), alarms(truth.size());
  int64_t right = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    truth[i] = i >= static_cast<size_t>(n);
    alarms[i] = judged.answers[i] == attacked_;
    if (truth[i] == 0) right += judged.answers[i] == clean.labels()[i];
  }
  const Confusion detection(2, truth, alarms);
  const ClassMetrics positive = class_metrics(detection, 1);
  const auto all_items = [](const PoolImage&) {
    return true;
  };
  const Recall recall = recall_over(judged, clean, pool, all_items);
  Cell accuracy, f1, clean_accuracy, wrong;
  if (knows_classes(judged)) {
    const Metrics all = metrics_over(judged, clean, pool, all_items);
    accuracy = all.accuracy;
    f1 = all.f1;
    wrong = quotient(recall.wrong, recall.images);
    clean_accuracy = quotient(right, n);
  }
  summary_.row({judged.model, judged.stage, test, n, attacked, accuracy, f1,
                quotient(detection.correct(), detection.count()), positive.f1, positive.recall,
                quotient(recall.fooled_detected, recall.fooled), wrong, quotient(detection.at(0, 1), n),
                clean_accuracy});
  add_attacks(judged, clean, test, pool);
  add_sizes(judged, clean, test, pool);
}

void DetectionReport::add_attacks(const JudgedTest& judged, const Images& clean, const std::string& test,
                                  const AttackedPool& pool) {
  std::vector<std::string> names;
  for (const PoolAttack& attack : pool.attacks) {
    if (names.empty() || names.back() != attack.name) names.push_back(attack.name);
  }
  int64_t alarms = 0;
  for (int64_t i = 0; i < clean.count(); ++i) alarms += judged.answers[static_cast<size_t>(i)] == attacked_;
  for (const std::string& name : names) {
    const auto takes = [&](const PoolImage& item) {
      return pool.attacks[static_cast<size_t>(item.attack)].name == name;
    };
    const Recall recall = recall_over(judged, clean, pool, takes);
    Cell accuracy, f1, wrong;
    if (knows_classes(judged)) {
      const Metrics all = metrics_over(judged, clean, pool, takes);
      wrong = quotient(recall.wrong, recall.images);
      accuracy = all.accuracy;
      f1 = all.f1;
    }
    attacks_.row({judged.model, judged.stage, test, name, recall.images,
                  quotient(recall.fooled, recall.images), quotient(recall.detected, recall.images),
                  quotient(recall.fooled_detected, recall.fooled), wrong, accuracy, f1,
                  quotient(recall.detected + clean.count() - alarms, recall.images + clean.count()),
                  quotient(2 * recall.detected, recall.images + recall.detected + alarms)});
  }
}

void DetectionReport::add_sizes(const JudgedTest& judged, const Images& clean, const std::string& test,
                                const AttackedPool& pool) {
  std::map<std::pair<int64_t, float>, Recall> cells;
  for (size_t i = 0; i < pool.images.size(); ++i) {
    const PoolImage& item = pool.images[i];
    float size = item.size;
    if (!std::isfinite(size)) {
      const auto fits = std::lower_bound(all_sizes_.begin(), all_sizes_.end(), item.l2);
      if (fits != all_sizes_.end()) size = *fits;
    }
    cells[{item.attack, size}].add(item, clean, judged.answers[static_cast<size_t>(clean.count()) + i],
                                   attacked_);
  }
  for (const auto& [key, recall] : cells) {
    const PoolAttack& attack = pool.attacks[static_cast<size_t>(key.first)];
    sizes_.row({judged.model, judged.stage, test, attack.name, to_string(attack.options.norm),
                std::isfinite(key.second) ? Cell(static_cast<double>(key.second)) : Cell(), recall.images,
                quotient(recall.fooled, recall.images), quotient(recall.detected, recall.images)});
  }
}

std::vector<float> sizes_of(const std::vector<TestSet>& tests, const NamedPools& trained) {
  std::vector<float> all;
  const auto add = [&](const AttackedPool& pool) {
    for (const PoolAttack& attack : pool.attacks) {
      std::ranges::copy_if(attack.sizes, std::back_inserter(all), [](float s) { return std::isfinite(s); });
    }
  };
  for (const auto& [name, pool] : trained) add(pool);
  for (const TestSet& test : tests) add(test.pool);
  std::ranges::sort(all);
  return all;
}

Table pool_table(const std::vector<TestSet>& tests, const NamedPools& trained) {
  Table table({{"part", "part"},
               {"attack", "attack"},
               {"norm", "norm"},
               {"images", "attacked images", Kind::count},
               {"unchanged", "unchanged", Kind::count},
               {"fooled", "fool the network", Kind::percent}});
  const auto add = [&](const std::string& part, const AttackedPool& pool) {
    for (size_t k = 0; k < pool.attacks.size(); ++k) {
      int64_t images = 0, fooled = 0;
      for (const PoolImage& image : pool.images) {
        if (image.attack != static_cast<int64_t>(k)) continue;
        ++images;
        fooled += image.fooled;
      }
      table.row({part, pool.attacks[k].name, to_string(pool.attacks[k].options.norm), images,
                 pool.unchanged[k], quotient(fooled, images)});
    }
  };
  for (const auto& [name, of] : trained) add(name, of);
  for (const TestSet& test : tests) add("test, " + test.name, test.pool);
  return table;
}

Table leave_out_table(const std::vector<LeftOut>& rows) {
  Table table({{"left_out", "left out"},
               {"model", "network"},
               {"images", "test images of it", Kind::count},
               {"seen", "detected, trained on", Kind::percent},
               {"unseen", "detected, left out", Kind::percent},
               {"wrong", "wrong class, left out", Kind::percent},
               {"others", "others detected", Kind::percent},
               {"false_alarms", "false alarms", Kind::percent},
               {"seen_false_alarms", "false alarms, trained on", Kind::percent},
               {"clean_accuracy", "clean accuracy", Kind::percent}});
  for (const LeftOut& row : rows) {
    table.row({row.name, row.model, row.images, quotient(row.found_trained, row.images),
               quotient(row.found, row.images), quotient(row.wrong, row.images),
               quotient(row.found_others, row.others), quotient(row.alarms, row.clean),
               quotient(row.alarms_trained, row.clean), quotient(row.right, row.clean)});
  }
  return table;
}

Table vote_curve_table(const std::vector<VoteEpoch>& curve) {
  Table table({{"epoch", "epoch", Kind::count},
               {"attack", "attack"},
               {"loss", "loss", Kind::number, 4},
               {"accuracy", "accuracy", Kind::percent}});
  for (const VoteEpoch& one : curve) {
    table.row({one.epoch, "all", one.scores.all.loss, one.scores.all.accuracy});
    for (const auto& [attack, score] : one.scores.attacks)
      table.row({one.epoch, attack, score.loss, score.accuracy});
  }
  return table;
}

Table adaptive_table(const std::vector<AdaptiveRow>& rows) {
  Table table({{"attack", "attack"},
               {"norm", "norm"},
               {"size", "size", Kind::general, 4},
               {"images", "images", Kind::count},
               {"right", "right class", Kind::percent},
               {"detected", "detected", Kind::percent},
               {"wrong", "wrong class", Kind::percent},
               {"wrong_8_bits", "wrong after rounding", Kind::percent}});
  for (const AdaptiveRow& row : rows) {
    const Fates& exact = row.exact;
    const bool one = row.attack != "any";  // of several attacks only what one of them reaches is known
    table.row({row.attack, row.norm ? Cell(to_string(*row.norm)) : Cell(),
               row.norm ? Cell(static_cast<double>(row.size)) : Cell(), exact.images,
               one ? quotient(exact.right, exact.images) : Cell(),
               one ? quotient(exact.flagged, exact.images) : Cell(), quotient(exact.wrong, exact.images),
               quotient(row.rounded.wrong, row.rounded.images)});
  }
  return table;
}

}  // namespace caltrop
