// What watches a launch of instrumented kernels sees: every load and store, beside the events of the runtime.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/emulation/execution.h"
#include "kernels/emulation/source_lines.h"

namespace caltrop::emu {

// Where an access stands, in 32 bits, to keep many of them: a return address of this program, or a line that
// the runtime was told (for copies and loads that it carries out itself).
using Place = uint32_t;
Place place_of(uintptr_t return_address);
Place place_of(Site site);
SourceLine line_of(Place place);

enum class Kind : uint8_t { read, write, atomic };
enum class Space : uint8_t { unknown, shared, global, other };

struct Access {
  Place place;
  uintptr_t address;
  uint32_t size;
  Kind kind;
};

class Watcher : public Observer {
 public:
  virtual bool wants_accesses() const { return false; }
  virtual void access(const Access&) {}
};

// From now on these, in this order, see every launch; an empty list ends it.
void watch(std::vector<Watcher*> watchers);

// Called by the hooks (tsan_hooks.cpp) for every access of instrumented code that may be shared, in kernels or not.
void note_access(uintptr_t return_address, uintptr_t address, uint32_t size, Kind kind);

}  // namespace caltrop::emu
