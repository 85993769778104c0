// Kernels with one fault each, and their faultless siblings: what the access checker is for.
#pragma once

#include <string>
#include <vector>

namespace caltrop::test {

struct FaultyKernel {
  std::string name;
  // What the checker must say: "race", "between blocks", "uninitialised", "in flight"; empty for nothing. The
  // lines at fault are marked in faulty_kernels.cu by "// NAME: first" and "// NAME: second".
  std::string fault;
  void (*run)();
};
const std::vector<FaultyKernel>& faulty_kernels();

}  // namespace caltrop::test
