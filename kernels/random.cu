// Philox streams (kernels/philox.h) written to memory, and the gather of a mini-batch from a data set that is
// resident on the device.
//
// random: one thread per Philox group of four elements. A counter-based generator needs no state and no
// order, so thread i computes group i of its row; the bits are those of the CPU. gather: four pixels per
// thread.

#include "kernels/gpu_backend.h"
#include "kernels/philox.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;

__device__ float4 uniform_group(const Philox4& four) {
  return make_float4(unit_float(four.word[0]), unit_float(four.word[1]), unit_float(four.word[2]),
                     unit_float(four.word[3]));
}
__device__ float4 normal_group(const Philox4& four) {
  const NormalPair low = normal_pair(four.word[0], four.word[1]);
  const NormalPair high = normal_pair(four.word[2], four.word[3]);
  return make_float4(low.cosine, low.sine, high.cosine, high.sine);
}

// The first `count` of four values; all at once where y is aligned for it.
__device__ void store_some(float* y, int64_t count, float4 value) {
  if (count >= 4 && is_aligned16(y)) {
    *reinterpret_cast<float4*>(y) = value;
    return;
  }
  if (count > 0) y[0] = value.x;
  if (count > 1) y[1] = value.y;
  if (count > 2) y[2] = value.z;
  if (count > 3) y[3] = value.w;
}

template <bool kNormal>
__global__ void random_kernel(uint64_t seed, const uint64_t* streams, int64_t rows, int64_t cols, float* y) {
  const int64_t groups = (cols + 3) / 4;
  for (int64_t i = first_index(); i < rows * groups; i += index_step()) {
    const int64_t row = i / groups, group = i - row * groups;
    const Philox4 four = philox4x32(seed, streams[row], static_cast<uint64_t>(group));
    store_some(y + row * cols + group * 4, cols - group * 4,
               kNormal ? normal_group(four) : uniform_group(four));
  }
}

// A true division: k * (1 / 255) rounds twice, and images must not differ from those of the CPU.
__device__ float pixel(uint8_t value) {
  return static_cast<float>(value) / 255.0f;
}

__global__ void gather_images_kernel(const uint8_t* set, const int64_t* rows, int64_t count, int64_t cols,
                                     float* y) {
  const int64_t groups = (cols + 3) / 4;
  for (int64_t i = first_index(); i < count * groups; i += index_step()) {
    const int64_t row = i / groups, column = (i - row * groups) * 4, rest = cols - column;
    const uint8_t* from = set + rows[row] * cols + column;
    float4 value;
    value.x = pixel(from[0]);
    value.y = rest > 1 ? pixel(from[1]) : 0.0f;
    value.z = rest > 2 ? pixel(from[2]) : 0.0f;
    value.w = rest > 3 ? pixel(from[3]) : 0.0f;
    store_some(y + row * cols + column, rest, value);
  }
}

}  // namespace

void GpuBackend::random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
                        float* y) {
  const Stream::Op range(stream_, "random");
  const auto rows = static_cast<int64_t>(streams.size());
  const Staged<uint64_t> list(stream_, streams.data(), rows);
  launch("random", kind == Distribution::uniform ? random_kernel<false> : random_kernel<true>,
         grid_for(rows * ((cols + 3) / 4), kThreads), kThreads, 0, stream_, seed, list.data(), rows, cols, y);
}

void GpuBackend::gather_images(const uint8_t* set, std::span<const int64_t> rows, int64_t cols, float* y) {
  const Stream::Op range(stream_, "gather_images");
  const auto count = static_cast<int64_t>(rows.size());
  const Staged<int64_t> list(stream_, rows.data(), count);
  launch("gather_images", gather_images_kernel, grid_for(count * ((cols + 3) / 4), kThreads), kThreads, 0,
         stream_, set, list.data(), count, cols, y);
}

}  // namespace caltrop::CALTROP_WORLD
