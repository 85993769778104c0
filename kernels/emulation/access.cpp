#include "kernels/emulation/access.h"

#include <algorithm>
#include <cstring>
#include <utility>

// The first byte of the program, wherever it was loaded.
extern "C" const char __executable_start;  // NOLINT(bugprone-reserved-identifier): the linker's

namespace caltrop::emu {
namespace {

constexpr Place kFirstSite = 0xF0000000u;

std::vector<Watcher*> watchers;
Watcher* listeners[4];  // those of them that want accesses
size_t listener_count = 0;
bool inside = false;  // a launch runs that someone listens to
// Set while a watcher works: its own containers may be compiled from instrumented templates, as the linker
// keeps one copy of each.
bool busy = false;

struct Busy {
  Busy() { busy = true; }
  ~Busy() { busy = false; }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
};

template <typename Tell>
void tell_all(const Tell& tell) {
  const Busy working;
  for (Watcher* watcher : watchers) tell(*watcher);
}

class Fan final : public Observer {
 public:
  void launch_begins(const KernelCall& call) override {
    tell_all([&](Watcher& watcher) { watcher.launch_begins(call); });
    inside = listener_count > 0;
  }
  void launch_ends(bool failed) override {
    inside = false;
    tell_all([&](Watcher& watcher) { watcher.launch_ends(failed); });
  }
  void block_begins() override {
    tell_all([](Watcher& watcher) { watcher.block_begins(); });
  }
  void arrives(const char* name, Site site) override {
    tell_all([&](Watcher& watcher) { watcher.arrives(name, site); });
  }
  void block_synchronized() override {
    tell_all([](Watcher& watcher) { watcher.block_synchronized(); });
  }
  void warp_synchronized(int warp, uint32_t lanes) override {
    tell_all([&](Watcher& watcher) { watcher.warp_synchronized(warp, lanes); });
  }
  void copy_issued(void* to, const void* from, size_t bytes, size_t valid, Site site) override {
    tell_all([&](Watcher& watcher) { watcher.copy_issued(to, from, bytes, valid, site); });
  }
  void copy_arrived(void* to, size_t bytes) override {
    tell_all([&](Watcher& watcher) { watcher.copy_arrived(to, bytes); });
  }
  void reads(const void* from, size_t bytes, Site site) override {
    tell_all([&](Watcher& watcher) { watcher.reads(from, bytes, site); });
  }
};

uintptr_t program_start() {
  return reinterpret_cast<uintptr_t>(&__executable_start);
}

std::vector<Site>& sites() {
  static std::vector<Site> known;
  return known;
}

}  // namespace

Place place_of(uintptr_t return_address) {
  return static_cast<Place>(return_address - program_start());
}

Place place_of(Site site) {
  std::vector<Site>& known = sites();
  const auto found = std::find_if(known.begin(), known.end(), [&](const Site& one) {
    return one.line == site.line && std::strcmp(one.file, site.file) == 0;
  });
  const auto index = static_cast<Place>(found - known.begin());
  if (found == known.end()) known.push_back(site);
  return kFirstSite + index;
}

SourceLine line_of(Place place) {
  if (place < kFirstSite) return kernel_line(place + program_start());
  const Site& site = sites()[place - kFirstSite];
  return {site.file, site.line, ""};
}

void watch(std::vector<Watcher*> new_watchers) {
  static Fan fan;
  watchers = std::move(new_watchers);
  listener_count = 0;
  for (Watcher* watcher : watchers) {
    if (watcher->wants_accesses()) listeners[listener_count++] = watcher;
  }
  set_observer(watchers.empty() ? nullptr : &fan);
}

void note_access(uintptr_t return_address, uintptr_t address, uint32_t size, Kind kind) {
  if (!inside || busy) return;
  const Busy working;
  const Access access{place_of(return_address), address, size, kind};
  for (size_t i = 0; i < listener_count; ++i) listeners[i]->access(access);
}

}  // namespace caltrop::emu
