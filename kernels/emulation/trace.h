// What one thread of one block did: its accesses and its stops, in order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/emulation/access.h"
#include "kernels/emulation/shadow.h"

namespace caltrop::emu {

struct TraceStep {
  SourceLine line;
  std::string kernel;
  std::string what;  // "read", "write", "atomic", "copy", or the name of a stop: "__syncthreads"
  Space space = Space::other;
  uint32_t bytes = 0;  // 0 for stops
  std::string memory;  // "tile+12"
  uintptr_t address = 0;
};

class ThreadTrace final : public Watcher {
 public:
  ThreadTrace(Shadow& shadow, uint3 thread, uint3 block) : shadow_(shadow), thread_(thread), block_(block) {}

  const std::vector<TraceStep>& steps() const { return steps_; }
  bool ran() const { return ran_; }  // some launch had this thread

  void launch_begins(const KernelCall& call) override;
  bool wants_accesses() const override { return true; }
  void access(const Access& access) override;
  void arrives(const char* name, Site site) override;
  void copy_issued(void* to, const void* from, size_t bytes, size_t valid, Site site) override;
  void reads(const void* from, size_t bytes, Site site) override;

 private:
  bool is_it();
  void add(const std::string& what, Place place, uintptr_t address, uint32_t bytes);

  Shadow& shadow_;
  uint3 thread_, block_;
  std::string kernel_;
  std::vector<TraceStep> steps_;
  bool ran_ = false;
};

}  // namespace caltrop::emu
