#include "defense/eat.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {

namespace {

void expect_rising(const std::vector<double>& shares) {
  if (shares.empty()) fail("[eat] expected at least one cycle");
  double before = 0;
  for (const double share : shares) {
    if (!(share > before))
      fail("the shares of the cycles must rise, got {:g} % after {:g} %", 100 * share, 100 * before);
    before = share;
  }
}

}  // namespace

std::vector<std::vector<int64_t>> cycle_rows(int64_t clean, const AttackedPool& pool,
                                             const std::vector<double>& shares, ShareOf of) {
  expect_rising(shares);
  std::vector<std::vector<int64_t>> cycles;
  for (const double share : shares) {
    cycles.push_back(row_range(0, clean + pool.prefix(attacked_count(clean, share, of))));
  }
  return cycles;
}

std::vector<std::vector<int64_t>> cycle_rows_without(int64_t clean, const AttackedPool& pool,
                                                     const std::vector<double>& shares, ShareOf of,
                                                     const PoolFilter& out) {
  expect_rising(shares);
  std::vector<int64_t> left;  // positions
  for (const PlannedImage& planned : pool.plan) {
    if (!out(planned)) left.push_back(planned.position);
  }
  std::vector<std::vector<int64_t>> cycles;
  for (const double share : shares) {
    const int64_t needed = attacked_count(clean, share, of);
    if (needed > static_cast<int64_t>(left.size())) {
      fail("without what is left out the pool has {} attacked images, but a cycle needs {}", left.size(),
           needed);
    }
    cycles.push_back(row_range(0, clean));
    for (int64_t k = 0; k < pool.prefix(left[static_cast<size_t>(needed) - 1] + 1); ++k) {
      const auto position = static_cast<size_t>(pool.images[static_cast<size_t>(k)].position);
      if (!out(pool.plan[position])) cycles.back().push_back(clean + k);
    }
  }
  return cycles;
}

std::vector<int64_t> refilled(std::span<const int64_t> rows, int64_t count, uint64_t seed) {
  const auto n = static_cast<int64_t>(rows.size());
  if (count < n || (n == 0 && count > 0)) fail("[eat] expected at least {} rows to fill, got {}", n, count);
  std::vector<int64_t> filled(rows.begin(), rows.end());
  for (uint64_t round = 0; static_cast<int64_t>(filled.size()) < count; ++round) {
    for (const int64_t k : Random(seed, Purpose::refill, round).permutation(n)) {
      if (static_cast<int64_t>(filled.size()) == count) break;
      filled.push_back(rows[static_cast<size_t>(k)]);
    }
  }
  return filled;
}

uint64_t member_seed(uint64_t seed, uint64_t member) {
  Random random(seed, Purpose::member, member);
  const uint64_t high = random.bits();
  return (high << 32) | random.bits();
}

StagedTraining::StagedTraining(Model& model, std::vector<Stage> stages, const StagedOptions& options)
    : model_(model), stages_(std::move(stages)), options_(options) {
  for (const Stage& stage : stages_) {
    if (stage.images == nullptr || stage.epochs < 1) fail("[eat] expected images and epochs in each stage");
    epochs_ += stage.epochs;
  }
  if (stages_.empty()) fail("[eat] expected at least one stage");
  optimizer_.emplace(options_.rule, model_.parameters());
}

std::pair<size_t, int64_t> StagedTraining::place() const {
  if (done_ >= epochs_) fail("[eat] expected at most {} epochs", epochs_);
  size_t stage = 0;
  int64_t first = 0;
  while (done_ >= first + stages_[stage].epochs) first += stages_[stage++].epochs;
  return {stage, first};
}

int64_t StagedTraining::images(int64_t epochs) const {
  int64_t sum = 0;
  for (const Stage& stage : stages_) {
    const int64_t here = std::min(epochs, stage.epochs);
    sum += here * stage.images->count();
    epochs -= here;
  }
  return sum;
}

void StagedTraining::run(const std::function<void(const StageEpoch&)>& on_epoch,
                         const std::function<void(int64_t images)>& progress) {
  while (done_ < epochs_) {
    const auto [s, first] = place();
    const Stage& stage = stages_[s];
    if (done_ == first) {
      above_ = false;
      if (s > 0 && !options_.carry_optimizer) optimizer_.emplace(options_.rule, model_.parameters());
    }
    const TrainingOptions how{.epochs = epochs_,
                              .batch = options_.batch,
                              .seed = options_.seed,
                              .schedule = options_.schedule,
                              .done = done_,
                              .last = first + stage.epochs};
    // fit() counts as if all epochs had been on the images of this stage.
    const int64_t before = images(first) - first * stage.images->count();
    TrainingCallbacks callbacks;
    if (progress)
      callbacks.progress = [&](int64_t, int64_t done) {
        progress(before + done);
      };
    callbacks.epoch = [&, s = s, first = first](const EpochResult& result) {
      const StageEpoch epoch = finished(result, s, first);
      if (on_epoch) on_epoch(epoch);
      return true;
    };
    fit(model_, *optimizer_, *stage.images, objective_, how, callbacks);
  }
}

StageEpoch StagedTraining::finished(const EpochResult& epoch, size_t stage, int64_t first) {
  done_ = epoch.epoch;
  const bool stop_rule = !above_ && epoch.accuracy > kStopRule;
  above_ = above_ || stop_rule;
  return {.stage = stage,
          .epoch = done_ - first,
          .loss = epoch.loss,
          .accuracy = epoch.accuracy,
          .stop_rule = stop_rule,
          .last = done_ == first + stages_[stage].epochs};
}

void StagedTraining::save(SafeTensorFile& file) const {
  file = checkpoint(model_, *optimizer_, objective_);
  file.metadata["stage_epochs"] = std::to_string(done_);
  file.metadata["stop_rule"] = above_ ? "met" : "open";
}

void StagedTraining::load(const SafeTensorFile& file, const std::string& name) {
  const int64_t done = file.number("stage_epochs").value_or(0);
  const auto rule = file.metadata.find("stop_rule");
  if (done < 1 || done > epochs_ || rule == file.metadata.end()) {
    fail("{}: expected stage_epochs from 1 to {} and stop_rule in its metadata", name, epochs_);
  }
  load_checkpoint(file, model_, *optimizer_, objective_);
  done_ = done;
  above_ = rule->second == "met";
}

}  // namespace caltrop
