// What a run reached: kernels that were launched, barriers that were met, lines whose code ran.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "kernels/emulation/access.h"

namespace caltrop::emu {

class Coverage final : public Watcher {
 public:
  // Where a barrier, a __syncwarp or a wait for copies stands.
  struct Stop {
    std::string name;
    Site site;
    int64_t arrivals = 0;
  };

  void launch_begins(const KernelCall& call) override;
  void arrives(const char* name, Site site) override;

  struct Kernel {
    std::string name, file;  // kernel_name(); "pool.cu"
    int64_t launches = 0;
    bool operator<(const Kernel& other) const {
      return std::tie(file, name) < std::tie(other.file, other.name);
    }
  };
  // Every instantiation that was launched.
  std::set<Kernel> kernels() const;
  const std::map<std::pair<std::string, int>, Stop>& stops() const { return stops_; }

 private:
  std::map<const void*, int64_t> launches_;
  std::map<std::pair<std::string, int>, Stop> stops_;
};

// Lines of .cu and .cuh files at which a basic block of instrumented code begins, and those of them that have
// run since the program began. Only where calls can be found in the program's code: on x86-64.
struct LineCoverage {
  std::set<SourceLine> all, run;
};
LineCoverage line_coverage();

// Basic blocks that have run, to be told to another process of the same program.
std::vector<Place> blocks_run();
void mark_run(Place block);

}  // namespace caltrop::emu
