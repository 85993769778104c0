// The kernels that `caltrop emulate` runs, and their sizes: known to the command, which reads the flags, and
// to caltrop-emulate, which runs them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace caltrop {

struct EmulatedSize {
  std::string name;  // of the flag
  int64_t value;     // without it
};
struct EmulatedKernel {
  std::string name;
  std::string work;  // what runs, in a few words
  std::vector<EmulatedSize> sizes;
};
const std::vector<EmulatedKernel>& emulated_kernels();
const EmulatedKernel& emulated_kernel(const std::string& name);  // an Error where there is none

// What each size means, for --help; every size of every kernel is here.
struct SizeHelp {
  std::string name, value_name, help;
  int64_t low = 0;
};
const std::vector<SizeHelp>& emulated_sizes();

}  // namespace caltrop
