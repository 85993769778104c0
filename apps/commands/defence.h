// A defence of the paper from attacked images to tables: what `defend eat`, `defend mia` and `paper gma-mia` run.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/commands/defend_courses.h"
#include "apps/commands/defend_data.h"
#include "apps/commands/defend_flags.h"
#include "apps/commands/defend_report.h"

namespace caltrop {

class Defence {
 public:
  // An Error where pools or networks do not fit, before any work. `options` are resolved; all must outlive it.
  Defence(const DefendFlags& options, const TrainedWithData& target, Console& console);

  // Crafts, trains and judges, going on where the folder's checkpoint stands. Writes the tables and STEM.json,
  // which is returned: pool, summary, attacks, sizes, vote_curve, leave_out, adaptive, stop_rule, metrics.
  Json run(const RunFolder& folder, const std::string& stem);

 private:
  // Networks that answer together or alone, at the end of one of their stages.
  struct Judged {
    size_t course, stage;
  };

  std::string line_of(const std::string& model) const;
  void plan_courses(const AugmentedImages& train);
  void add_member(size_t member, const std::vector<std::vector<int64_t>>& cycles,
                  const AugmentedImages& train);
  void add_same_size();
  void add_leave_out(const AugmentedImages& train);
  const ChosenImages* keep(const AugmentedImages& train, std::vector<int64_t> rows);
  size_t bootstrap_stage() const;  // of the main courses: the cycle that bootstraps follow

  std::vector<float> logits_of(const Judged& judged, const ImageSource& images) const;
  void judge(DetectionReport& report, size_t test) const;
  Table vote_curve() const;
  Table leave_out_table() const;
  Table attack_vote() const;

  const DefendFlags& options_;
  const TrainedWithData& target_;
  Console& console_;
  int32_t attacked_;  // the class of attacked images
  PoolSizes sizes_;
  DefenceData data_;
  std::vector<std::unique_ptr<AugmentedImages>> tests_;
  std::vector<std::unique_ptr<ChosenImages>> sets_;
  std::vector<Course> courses_;
  std::vector<size_t> mains_, bootstraps_, controls_;  // courses
  std::vector<std::pair<LeftOut, size_t>> left_out_;
  const RunFolder* folder_ = nullptr;
};

}  // namespace caltrop
