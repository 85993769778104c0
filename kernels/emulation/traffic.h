// How well a kernel's accesses fit the memory: for each line, the wavefronts that shared memory needs and the
// 32-byte sectors of global memory that are touched, per request of a warp, against the least that would do.
//
// The model: a request is what the lanes of a warp do at one place of the code, the n-th time each comes
// there since their last meeting at a barrier. Shared memory has 32 banks of 4 bytes; a wavefront serves one
// word of each bank, to any number of lanes. Requests of 8 bytes per lane are served in two halves of the
// warp, of 16 bytes in four quarters. (NVIDIA, "CUDA C++ Programming Guide", sections on shared and global
// memory of compute capability 5.x and later.) It is a count, not a measurement: no caches, no time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "kernels/emulation/access.h"
#include "kernels/emulation/shadow.h"

namespace caltrop::emu {

struct LineTraffic {
  SourceLine line;
  Space space;
  Kind kind;
  uint32_t bytes = 0;    // of one lane's widest access
  int64_t requests = 0;  // of warps
  int64_t moved = 0;     // wavefronts (shared) or sectors (global)
  int64_t ideal = 0;     // the least for the same bytes
};

// The lanes' parts of one request.
struct LaneAccess {
  uintptr_t address;
  uint32_t size;
};
struct Cost {
  int64_t moved = 0, ideal = 0;
};
Cost shared_cost(const std::vector<LaneAccess>& lanes);  // in the order of lanes
Cost global_cost(const std::vector<LaneAccess>& lanes);

class Traffic final : public Watcher {
 public:
  // `shadow` tells shared from global memory.
  explicit Traffic(Shadow& shadow) : shadow_(shadow) {}

  // By file and line.
  std::vector<LineTraffic> lines() const;

  bool wants_accesses() const override { return true; }
  void access(const Access& access) override;
  void launch_begins(const KernelCall& call) override;
  void launch_ends(bool failed) override;
  void block_begins() override;
  void block_synchronized() override;
  void warp_synchronized(int warp, uint32_t lanes) override;
  void copy_issued(void* to, const void* from, size_t bytes, size_t valid, Site site) override;
  void reads(const void* from, size_t bytes, Site site) override;

 private:
  struct Event {
    Place place;
    Kind kind;
    Space space;
    LaneAccess access;
  };
  void close_warp(size_t warp);
  void close_all();

  using Key = std::tuple<Place, Kind, Space>;
  Shadow& shadow_;
  std::vector<std::vector<Event>> threads_;  // since the last meeting
  std::map<Key, LineTraffic> places_;
};

}  // namespace caltrop::emu
