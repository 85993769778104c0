// Worker threads of the CPU backend, on oneTBB. A parallel_for inside another runs on its caller's thread.
// Which thread runs which index is not fixed; bodies must write to places of their own. The calling thread
// works too, so that a busy machine slows a loop down but never stalls it behind a worker that is not
// running.
#pragma once

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstdint>

#include "kernels/backend.h"

namespace caltrop {

tbb::task_arena& cpu_arena();  // of cpu_threads() threads

// Whether this thread is inside a parallel_for.
inline bool& inside_parallel() {
  static thread_local bool inside = false;
  return inside;
}

// body(i) for i in [0, count).
template <typename Body>
void parallel_for(int64_t count, const Body& body) {
  if (count <= 1 || cpu_threads() == 1 || inside_parallel()) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  struct Inside {
    Inside() { inside_parallel() = true; }
    ~Inside() { inside_parallel() = false; }
  };
  const auto run = [&](const tbb::blocked_range<int64_t>& range) {
    const Inside mark;
    for (int64_t i = range.begin(); i < range.end(); ++i) body(i);
  };
  cpu_arena().execute(
      [&] { tbb::parallel_for(tbb::blocked_range<int64_t>(0, count), run, tbb::simple_partitioner()); });
}

// body(begin, end) over [0, count) in ranges of `grain`: for light work per element.
template <typename Body>
void parallel_ranges(int64_t count, int64_t grain, const Body& body) {
  const int64_t ranges = (count + grain - 1) / grain;
  parallel_for(ranges, [&](int64_t r) { body(r * grain, std::min(count, (r + 1) * grain)); });
}

}  // namespace caltrop
