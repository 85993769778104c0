// What `caltrop defend NAME`, the studies and the demonstration run: a defence, from attacked images to tables.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "defense/defence.h"
#include "defense/evaluation.h"
#include "defense/settings.h"

namespace caltrop {

struct DefendFlags : DefenceSettings {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;  // the undefended network that is attacked
  DefenceInfo info;
  std::shared_ptr<Defence> defence;
  std::string cache = "runs/crafted";  // "": keeps nothing
};

// The flags of a defence, whose own options are among them.
void add_defend_flags(Flags& flags, DefendFlags& options, const DefenceInfo& info);
// The flags with what --scale says where they are silent. A UsageError where they contradict one another.
void resolve(DefendFlags& options);

// Says on a console what a defence does, and keeps metrics.jsonl.
class DefendWatch final : public Watch {
 public:
  // `brief`: a line for each stage instead of each epoch.
  DefendWatch(Console& console, bool brief) : console_(console), brief_(brief) {}

  void begin(const std::string& what, int64_t images, int64_t done) override;
  void at(const std::string& what, int64_t done) override;
  void begin_training(int64_t done, int64_t epochs) override;
  void epoch(const WatchedEpoch& epoch) override;
  void pool(const std::string& name, const AttackedPool& pool) override;
  void note(const std::string& text) override { console_.note("{}", text); }
  void warn(const std::string& text) override { console_.warn("{}", text); }

  const RunFolder* folder = nullptr;
  std::vector<std::pair<std::string, AttackedPool>> pools;
  void finish() { progress_.reset(); }
  Json lines() const { return log_ ? log_->lines() : Json::array(); }

 private:
  Console& console_;
  bool brief_;
  std::unique_ptr<ProgressLine> progress_;
  std::unique_ptr<MetricsLog> log_;
};

// What is defended, and with which images.
struct DefendTarget {
  const Model& model;
  const Images &train, &test;
  const DataInfo& info;
  Json facts;  // for make_config
};

class DefendRun {
 public:
  // An Error where pools or networks do not fit, before any work. `options` are resolved; all but the target's
  // struct must outlive it.
  DefendRun(const DefendFlags& options, DefendTarget target, Console& console, bool brief = false);

  // Crafts, trains and judges, going on where the folder's checkpoint stands. Writes the tables and STEM.json,
  // which is returned: pool, summary, attacks, sizes, vote_curve, leave_out, adaptive, stop_rule, metrics.
  Json run(const RunFolder& folder, const std::string& stem);

  // Its parts.
  Defended& train(const RunFolder& folder);
  const DefenceEvaluation& evaluate();
  const std::vector<TestSet>& tests() const { return tests_; }
  int32_t attacked() const { return static_cast<int32_t>(target_.info.classes); }
  int64_t attacked_train() const;
  Json metrics() const { return watch_.lines(); }  // of metrics.jsonl

 private:
  DefenceTask task(const RunFolder* folder);
  uint64_t seed() const { return static_cast<uint64_t>(options_.common.seed); }

  const DefendFlags& options_;
  DefendTarget target_;
  Console& console_;
  DefendWatch watch_;
  Crafter crafter_;
  const RunFolder* folder_ = nullptr;
  std::vector<TestSet> tests_;
  Defended defended_;
  DefenceEvaluation evaluation_;
};

}  // namespace caltrop
