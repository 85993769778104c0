// Runs one of emulated_kernels() on the emulated device.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace caltrop {

// An array that the kernel was given, to name addresses by.
struct NamedArray {
  std::string name;
  uintptr_t address;
  size_t bytes;
};

using SizeValues = std::map<std::string, int64_t>;
std::vector<NamedArray> run_emulated(const std::string& kernel, const SizeValues& sizes, uint64_t seed);

}  // namespace caltrop
