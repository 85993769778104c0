// A part of the program on a profiler's timeline: "forward", "update", "epoch". Phases nest, and hold the
// ranges of the ops inside them (docs/profiling.md). Nothing in a build without NVTX.
#pragma once

namespace caltrop {

class Phase {
 public:
  explicit Phase(const char* name);
  ~Phase();
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;
};

}  // namespace caltrop
