// The jobs of `caltrop bench`: the same shapes and settings as bench/peers/cpu_peers.py has.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/setup.h"

namespace caltrop {

struct TimedWork {
  std::function<void()> prepare = {};  // before each run, untimed
  std::function<void()> run = {};      // what is timed
  std::function<std::string()> check =
      {};  // what the last run's result is worth, in words; an Error if it is wrong
};

// What the jobs share.
struct BenchBed {
  const TrainingData& data;
  uint64_t seed = 0;
  std::optional<Model> target = {};

  // The zoo's network with fresh weights; those of the paper's EAT have an eleventh output.
  Model network(const std::string& name) const;
  // Target after one epoch, trained when first asked for.
  const Model& trained_target();
};

struct BenchJob {
  std::string name, work;
  TimedWork (*make)(BenchBed& bed, const std::string& network, int64_t images);
  std::string network;
  int64_t images;
};
const std::vector<BenchJob>& bench_jobs();

// The vote of EAT-1, -2, -3 on the test images: fused (the images are read once), or network by network.
TimedWork ensemble_work(BenchBed& bed, bool fused);

}  // namespace caltrop
