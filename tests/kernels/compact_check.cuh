#pragma once

#include <cstdint>
#include <string>

#include "kernels/gpu.cuh"

namespace caltrop::CALTROP_WORLD {

struct CompactResult {
  int64_t compared = 0;
  std::string failure;  // what is wrong first; empty when all is right
};
// compact, permutation and top_k against loops of the host.
CompactResult check_compact();

}  // namespace caltrop::CALTROP_WORLD
