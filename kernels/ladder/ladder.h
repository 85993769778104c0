// Three ladders of kernels for reading: matmul, conv2d and softmax, from the first version that anybody would
// write to the one the product runs. Each version is correct for every size and differs from the one before
// by one idea, named in its table. `caltrop bench kernels` checks and times them; docs/kernels.md tells the
// story.
#pragma once

#include <span>

#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD::ladder {

// Pointers are device pointers; shapes and formulas are those of kernels/backend.h.
template <class... Arguments>
struct Version {
  int number;
  const char* technique;
  const char* why;  // what it mends in the version before it
  void (*run)(GpuBackend& device, Arguments... arguments);
};

// c (m,n) = a (m,k) b (k,n)
using MatmulVersion = Version<int64_t /*m*/, int64_t /*n*/, int64_t /*k*/, const float* /*a*/,
                              const float* /*b*/, float* /*c*/>;
using Conv2dVersion = Version<const Conv2d&, const float* /*x*/, const float* /*w*/, float* /*y*/>;
using SoftmaxVersion = Version<int64_t /*rows*/, int64_t /*cols*/, const float* /*x*/, float* /*y*/>;

std::span<const MatmulVersion> matmul_versions();
std::span<const Conv2dVersion> conv2d_versions();
std::span<const SoftmaxVersion> softmax_versions();

}  // namespace caltrop::CALTROP_WORLD::ladder
