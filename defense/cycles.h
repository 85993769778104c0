// EAT and MIA as defences (Sanapala & Gondi, "GMA/MIA 2025", section 4), with the controls that they are compared
// with: networks that are trained in cycles on clean images and a growing share of attacked ones, which have a
// class of their own (eat.h), and for MIA go on on bootstraps and vote (mia.h).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "defense/courses.h"
#include "defense/defence.h"

namespace caltrop {

// Controls that train more networks.
//   leave-out  each attack, the big sizes and one of GMA's norms in turn are left out of training
//   same-size  one network with as many parameters as all together, trained as long
//   updates    the last cycle but one again, for as many updates as the last
inline const std::vector<std::string> kControls = {"leave-out", "same-size", "updates"};

struct CyclesOptions {
  std::vector<std::string> members = {"eat-1", "eat-2", "eat-3"};
  std::vector<double> cycles = {15, 25, 40, 50};  // per cent
  std::string share_of = "all", optimizer_state = "carry", schedule = "constant";
  std::optional<int64_t> epochs = {}, bootstrap_epochs = {}, pool = {};
  bool bootstraps = false;                     // MIA
  std::optional<double> bootstrap_cycle = {};  // one of the cycles: its set is drawn from, its networks go on
  int64_t batch = 128;
  double rate = 1e-3;
  std::vector<std::string> controls = {};  // of kControls
  std::string control_model = {};          // of leave-out and same-size; "": the last of `members`
  std::string mean = "logits";             // of the networks that vote: what attacks see (mia.h)
};

class Cycles final : public Defence {
 public:
  explicit Cycles(CyclesOptions options) : options_(std::move(options)) {}

  std::vector<DefenceOption> options() override;
  void resolve(std::string_view scale, const PoolRecipeOptions& known) override;
  void check(const DefenceTask& task) const override;
  // Without controls.
  DefenceCost cost(const DefenceTask& task) const override;
  Defended train(const DefenceTask& task, const TestSet& watched) override;

  std::vector<VoteEpoch> vote_curve(const TestSet& watched) const override;
  std::vector<LeftOut> leave_out(const TestSet& watched) const override;
  void remove_working_files() const override { caltrop::remove_working_files(courses_, folder_); }

 private:
  bool has_control(std::string_view name) const;
  const std::string& control_model() const;
  size_t control_member() const;
  double bootstrap_cycle() const;  // per cent; without bootstraps the last cycle
  size_t bootstrap_stage() const;  // that cycle's
  std::vector<double> shares() const;
  int64_t pool_size(const DefenceTask& task) const;
  std::string line_of(const DefenceTask& task, const std::string& model) const;

  void plan_courses(const DefenceTask& task, const AttackedPool& pool);
  void add_member(const DefenceTask& task, size_t member, const std::vector<std::vector<int64_t>>& cycles);
  void add_same_size(const DefenceTask& task);
  void add_leave_out(const DefenceTask& task, const AttackedPool& pool);
  const ChosenImages* keep(std::vector<int64_t> rows);
  Defended defended(const DefenceTask& task) const;

  CyclesOptions options_;
  std::filesystem::path folder_;
  std::unique_ptr<AugmentedImages> train_;
  std::vector<std::unique_ptr<ChosenImages>> sets_;
  std::vector<Course> courses_;
  std::vector<size_t> mains_, bootstraps_, controls_;  // courses
  struct Control {
    std::string name;
    PoolFilter out;
    size_t course = 0;
  };
  std::vector<Control> left_out_;
};

DefenceInfo eat_info();
DefenceInfo mia_info();

}  // namespace caltrop
