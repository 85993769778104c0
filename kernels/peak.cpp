// What the cores can do at most: multiply-adds on registers alone, which every product is measured against.

#include <algorithm>
#include <chrono>
#include <numeric>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/peak.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// Chains that hide one another's latency, as many as a product keeps. Returns the operations of a round. `result`: where
// each chain begins, then what it came to, so that the compiler leaves none out.
int64_t multiply_add(int64_t rounds, float* result) {
  constexpr int kRows = 6;
  const Floats d;
  const Vec factor = hn::Set(d, 0.999f), term = hn::Set(d, 0.001f);
  Sums<kRows, kTileVectors> sums;
  for (auto& row : sums.at) {
    for (Vec& sum : row) sum = hn::Set(d, *result++);  // each its own: equal chains would be computed once
  }
  result -= kRows * kTileVectors;
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 8
    for (auto& row : sums.at) {
#pragma GCC unroll 8
      for (Vec& sum : row) sum = hn::MulAdd(sum, factor, term);
    }
  }
  tile_store(sums, result, kTileColumns, kTileColumns);
  return 2 * kRows * kTileColumns;
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

HWY_EXPORT(multiply_add);

double cpu_peak() {
  constexpr int64_t kRounds = 1 << 20, kMostFloats = 6 * 64;
  constexpr int kSamples = 8;
  const auto threads =
      static_cast<int64_t>(std::min(cpu_threads(), static_cast<int>(cpu_arena().max_concurrency())));
  const auto run = [](int64_t rounds) {
    float result[kMostFloats];
    std::iota(std::begin(result), std::end(result), 1.0f);
    return rounds * HWY_DYNAMIC_DISPATCH(multiply_add)(rounds, result);
  };
  double best = 0;
  for (int i = 0; i < kSamples; ++i) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(threads, [&](int64_t) { run(kRounds); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(threads * kRounds * run(1)) / seconds.count());
  }
  return best;
}

}  // namespace caltrop
#endif
