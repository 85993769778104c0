// The access checker: names both source lines of a race. It watches kernels that were compiled with
// -fsanitize=thread, whose hooks (tsan_hooks.cpp) report every access, and knows the barriers from the
// runtime.
//
// Two accesses to one word, at least one a write and not both atomic, race
// - within a block, when neither __syncthreads() nor, in one warp, __syncwarp() stands between them;
// - between blocks of a launch, always: nothing orders blocks.
// Beside races it reports shared memory that is read but was not written by the block, and shared memory that
// a cp.async fills and that is touched before the copy was waited for.
//
// The verdict does not depend on the order in which the threads ran. It depends on the accesses that were
// made: what a test does not execute, it does not check.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "kernels/emulation/execution.h"
#include "kernels/emulation/shadow.h"
#include "kernels/emulation/source_lines.h"

namespace caltrop::emu {

struct Finding {
  enum class What : uint8_t { race, between_blocks, uninitialised, in_flight };
  What what;
  SourceLine first, second;  // in the order of the run; only `second` for uninitialised
  std::string text;          // a sentence with op, memory, threads and lines
};

class AccessChecker final : public Watcher {
 public:
  enum class Mode : uint8_t {
    fail,    // a launch with findings ends in an Error
    collect  // findings() has them
  };
  explicit AccessChecker(Mode mode) : mode_(mode) {}

  const std::vector<Finding>& findings() const { return findings_; }
  int64_t accesses() const { return accesses_; }
  Shadow& shadow() { return shadow_; }

  void access(const Access& access) override;

  bool wants_accesses() const override { return true; }
  void launch_begins(const KernelCall& call) override;
  void launch_ends(bool failed) override;
  void block_begins() override;
  void block_synchronized() override;
  void warp_synchronized(int warp, uint32_t lanes) override;
  void copy_issued(void* to, const void* from, size_t bytes, size_t valid, Site site) override;
  void copy_arrived(void* to, size_t bytes) override;
  void reads(const void* from, size_t bytes, Site site) override;

 private:
  struct Now {
    Place place;
    uint16_t thread;
    uint32_t meeting;
    uintptr_t address;
    uint32_t size;
    Kind kind;
  };
  // Whether an earlier access may happen at the same time as that of `now`.
  bool concurrent(uint32_t interval, uint32_t meeting, unsigned thread, const Now& now, Space space) const;
  void read(CellState& cell, const Now& now);
  void write(CellState& cell, const Now& now);
  void check_readers(CellState& cell, const Now& now);
  void note_reader(CellState& cell, const Now& now);
  void report(Finding::What what, Place first_place, unsigned first_thread, uint32_t first_interval,
              bool first_writes, const Now& now);
  void settle_unwritten();
  std::string thread_text(unsigned thread, uint32_t interval) const;

  Mode mode_;
  Shadow shadow_;
  std::string op_;
  dim3 grid_, block_;
  uint32_t interval_ = 1, launch_first_ = 1, block_first_ = 1;
  std::vector<std::pair<uint32_t, uint3>> blocks_;  // first interval of each block of the launch
  std::vector<uint32_t> meetings_;                  // of each thread's warp
  std::set<std::pair<uint64_t, int>> known_;        // pairs of lines that were reported
  std::vector<Finding> findings_, unwritten_;
  size_t reported_ = 0;  // findings that earlier launches had
  int64_t accesses_ = 0;
};

}  // namespace caltrop::emu
