// The jobs of `caltrop bench`: the same shapes and settings as bench/peers/torch_cpu.py has.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/options.h"
#include "apps/core/setup.h"
#include "apps/report/table.h"

namespace caltrop {

class TimedWork {
 public:
  virtual ~TimedWork() = default;
  virtual void prepare() {}         // before each sample, untimed
  virtual void run() = 0;           // what is timed
  virtual std::string check() = 0;  // what the last run's result is worth, in words; an Error if it is wrong
};

// Prepares it, then the seconds of one run.
double seconds_of(TimedWork& work);
// A table of times: what was timed, its median, its fastest and slowest sample, and `last`.
Table timing_table(const std::string& what, Column last);
// Adds a row to it, and returns {seconds: the median, samples}.
Json add_times(Table& table, const std::string& what, const std::vector<double>& samples, Cell last);
// DIR/bench.json and bench.csv, where --out was given.
void write_bench(const CommonOptions& common, const Flags& flags, const Json& facts, const Json& result,
                 const Table& table);

// What the jobs share.
class BenchBed {
 public:
  BenchBed(const TrainingData& data, uint64_t seed) : data_(data), seed_(seed) {}

  const Images& train() const { return data_.train; }
  const Images& test() const { return data_.test; }
  Backend& backend() const { return data_.train.backend(); }
  uint64_t seed() const { return seed_; }
  // The zoo's network with fresh weights; those of the paper's EAT have an eleventh output.
  Model network(const std::string& name) const;
  // Target after one epoch, trained when first asked for.
  const Model& trained_target();

 private:
  const TrainingData& data_;
  uint64_t seed_;
  std::optional<Model> target_;
};

struct BenchJob {
  std::string name, work;
  std::function<std::unique_ptr<TimedWork>(BenchBed&)> make;
};
const std::vector<BenchJob>& bench_jobs();

// bench_ensemble.cpp: the vote of EAT-1, -2, -3 on the test images.
std::unique_ptr<TimedWork> ensemble_job(BenchBed& bed, bool fused);

}  // namespace caltrop
