// Runs of the suite's parts on the kernels as they are.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/emulation/suite.h"

namespace caltrop::test {

// Where a kernel, a barrier or a basic block stands: file name (without folders) and line or name.
struct Stop {
  std::string name, file;  // "__syncthreads"; the file as the compiler was given it
  int line = 0;
};
struct LaunchedKernel {
  std::string file, name;  // "pool.cu", "maxpool_kernel<unsigned int>"
  int64_t launches = 0;
};
struct PartRun {
  const SuitePart* part = nullptr;
  std::string failure;  // of the check or of the access checker; empty where all is well
  int64_t compared = 0, accesses = 0;
  double seconds = 0;
  std::vector<LaunchedKernel> kernels;
  std::vector<Stop> stops;
};

// What names of lines come from, read once here instead of in each process that is started afterwards.
void read_debug_information();

// Each part under both alignments of its arrays, in processes of their own, with the access checker where
// `checked`. The basic blocks that ran count for line_coverage() of this process.
std::vector<PartRun> run_parts(bool checked);

// Whether one of these parts fails, under the access checker, with the kernels as they are now.
bool rejected(const std::vector<const SuitePart*>& parts);

}  // namespace caltrop::test
