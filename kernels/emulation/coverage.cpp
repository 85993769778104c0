#include "kernels/emulation/coverage.h"

#include <cstring>
#include <vector>

// The program's code, as the linker knows it.
extern "C" const char __executable_start, etext;  // NOLINT(bugprone-reserved-identifier)
extern "C" void __sanitizer_cov_trace_pc();       // NOLINT(bugprone-reserved-identifier)

namespace {

// One byte for each address of the program's code that a call may return to.
unsigned char* visited() {
  static auto* const marks = new unsigned char[static_cast<size_t>(&etext - &__executable_start) + 1]();
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

std::map<std::string, int64_t> Coverage::kernels() const {
  std::map<std::string, int64_t> named;
  for (const auto& [kernel, launches] : launches_) named[kernel_name(kernel)] += launches;
  return named;
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

}  // namespace caltrop::emu
