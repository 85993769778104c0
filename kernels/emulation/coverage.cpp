#include "kernels/emulation/coverage.h"

#include <cstring>
#include <vector>

// The program's code, as the linker knows it.
extern "C" const char __executable_start, etext;  // NOLINT(bugprone-reserved-identifier)
extern "C" void __sanitizer_cov_trace_pc();       // NOLINT(bugprone-reserved-identifier)

namespace {

// One byte for each address of the program's code that a call may return to. A plain pointer: a guarded static would
// cost more than the mark.
unsigned char* marks = nullptr;
unsigned char* visited() {
  if (marks == nullptr) marks = new unsigned char[static_cast<size_t>(&etext - &__executable_start) + 1]();
  return marks;
}

}  // namespace

// Called at the begin of every basic block (-fsanitize-coverage=trace-pc).
extern "C" __attribute__((noinline)) void __sanitizer_cov_trace_pc() {
  visited()[static_cast<const char*>(__builtin_return_address(0)) - &__executable_start] = 1;
}

namespace caltrop::emu {

void Coverage::launch_begins(const KernelCall& call) {
  ++launches_[call.kernel];
}

void Coverage::arrives(const char* name, Site site) {
  Stop& stop = stops_[{site.file, site.line}];
  stop.name = name;
  stop.site = site;
  ++stop.arrivals;
}

std::set<Coverage::Kernel> Coverage::kernels() const {
  std::set<Kernel> all;
  for (const auto& [kernel, launches] : launches_) {
    const std::string file = source_lines(reinterpret_cast<uintptr_t>(kernel) + 1).front().file;
    all.insert({kernel_name(kernel), file.substr(file.rfind('/') + 1), launches});
  }
  return all;
}

LineCoverage line_coverage() {
  LineCoverage lines;
#ifdef __x86_64__
  constexpr unsigned char kCall = 0xE8;  // call with a 32-bit offset from the address of the next instruction
  constexpr std::ptrdiff_t kLength = 5;
  const auto target = reinterpret_cast<uintptr_t>(&__sanitizer_cov_trace_pc);
  for (const char* at = &__executable_start; at + kLength <= &etext; ++at) {
    if (static_cast<unsigned char>(*at) != kCall) continue;
    int32_t offset;
    std::memcpy(&offset, at + 1, sizeof offset);
    const auto after = reinterpret_cast<uintptr_t>(at + kLength);
    if (after + static_cast<uintptr_t>(static_cast<intptr_t>(offset)) != target) continue;
    const SourceLine line = kernel_line(after);
    if (!line.file.ends_with(".cu") && !line.file.ends_with(".cuh")) continue;
    const SourceLine place{line.file, line.line, ""};
    lines.all.insert(place);
    if (visited()[at + kLength - &__executable_start]) lines.run.insert(place);
  }
#endif
  return lines;
}

std::vector<Place> blocks_run() {
  std::vector<Place> places;
  for (std::ptrdiff_t i = 0; i <= &etext - &__executable_start; ++i) {
    if (visited()[i]) places.push_back(static_cast<Place>(i));
  }
  return places;
}

void mark_run(Place block) {
  visited()[block] = 1;
}

}  // namespace caltrop::emu
