// The vendor's libraries as yardsticks, where CMake found them: cuBLAS for matmul, cuDNN for conv2d and
// softmax. fp32 throughout (no TF32), as everything they are compared with. Under nvcc only.
#pragma once

#include <memory>
#include <string>

#include "kernels/gpu_runtime.h"
#include "kernels/ladder/lab.h"

namespace caltrop::gpu::ladder {

class Library {
 public:
  virtual ~Library() = default;
  // On device pointers. The weights of a convolution are Caltrop's; the implementation keeps them in its own
  // layout from the first call with them on, outside of what is timed.
  virtual void run(const float* left, const float* right, float* result) = 0;
};

std::string library_name(Ladder ladder);  // "" without one
// For one problem, on the stream; null without a library.
std::unique_ptr<Library> open_library(Stream& stream, const LadderProblem& problem,
                                      const LadderOperands& operands);

}  // namespace caltrop::gpu::ladder
