// where: a thread for each element of y, which reads the one element that is chosen. Bound by memory; the index
// is 32 bits wide where the sizes allow, since a 64-bit division costs more than the rest.

#include "kernels/gpu.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;

template <typename Index>
__global__ void where_kernel(Index cols, int64_t count, const float* mask, const float* a, const float* b,
                             float* y) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    y[i] = mask[static_cast<Index>(i) / cols] != 0.0f ? a[i] : b[i];
  }
}

}  // namespace

void GpuBackend::where(int64_t rows, int64_t cols, const float* mask, const float* a, const float* b,
                       float* y) {
  const Stream::Op range(stream_, "where");
  const int64_t count = rows * cols;
  const auto run = [&](auto narrow) {
    using Index = decltype(narrow);
    launch("where", where_kernel<Index>, grid_for(count, kThreads), kThreads, 0, stream_,
           static_cast<Index>(cols), count, mask, a, b, y);
  };
  count < int64_t{1} << 32 ? run(uint32_t()) : run(uint64_t());
}

}  // namespace caltrop::CALTROP_WORLD
