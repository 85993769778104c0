// Everything that the suite runs on emulated kernels: the check of each op, and each version of the ladders.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace caltrop::test {

struct SuiteResult {
  int64_t compared = 0;  // values
  std::string failure;   // empty where all is well
};
struct SuitePart {
  std::string name;
  std::function<SuiteResult()> run;
};
const std::vector<SuitePart>& suite_parts();

// The .cu and .cuh files of kernels/ and kernels/ladder/, with their folders.
std::vector<std::string> kernel_files();

// Every function in them that is marked __global__.
struct KernelSource {
  std::string name, file;
};
std::vector<KernelSource> kernels_in_sources();

// The part of a kernel's name that the source gives it: without namespaces and template arguments.
std::string plain_name(const std::string& kernel);

}  // namespace caltrop::test
