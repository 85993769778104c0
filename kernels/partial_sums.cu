// Adds the partial sums that blocks of another kernel left: y[i] = epilogue(p[0,i] + p[1,i] + ...), in that
// order. One thread for each element; a warp reads a row of neighbouring floats of each part.

#include "kernels/partial_sums.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

__global__ void add_kernel(int64_t parts, int64_t count, int64_t columns, const float* partial,
                           Epilogue epilogue, float* y) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    float sum = partial[i];
#pragma unroll 8
    for (int64_t part = 1; part < parts; ++part) sum += partial[part * count + i];
    y[i] = finished(epilogue, sum, epilogue.bias ? i % columns : 0);
  }
}

}  // namespace

void add_partial_sums(Stream& stream, const char* op, int64_t parts, int64_t count, int64_t columns,
                      const float* partial, const Epilogue& epilogue, float* y) {
  constexpr int kThreads = 128;
  launch(op, add_kernel, grid_for(count, kThreads), kThreads, 0, stream, parts, count, columns, partial,
         epilogue, y);
}

}  // namespace caltrop::CALTROP_WORLD
