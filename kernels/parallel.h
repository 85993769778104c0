// Worker threads of the CPU backend, on OpenMP. A parallel_for inside another runs on its caller's thread.
// Which thread runs which index is not fixed; bodies must write to places of their own.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>

namespace caltrop {

int cpu_threads();

// body(i) for i in [0, count).
template <typename Body>
void parallel_for(int64_t count, const Body& body) {
  if (count <= 1 || cpu_threads() == 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::exception_ptr error;
  std::mutex mutex;
#pragma omp parallel for schedule(dynamic, 1) num_threads(cpu_threads())
  for (int64_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

// body(begin, end) over [0, count) in ranges of `grain`: for light work per element.
template <typename Body>
void parallel_ranges(int64_t count, int64_t grain, const Body& body) {
  const int64_t ranges = (count + grain - 1) / grain;
  parallel_for(ranges, [&](int64_t r) { body(r * grain, std::min(count, (r + 1) * grain)); });
}

}  // namespace caltrop
