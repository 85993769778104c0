// The ladder of softmax over rows: y[r,i] = exp(x[r,i] - max x[r]) / sum_k exp(x[r,k] - max x[r]), any size.
//
// There is little arithmetic in it: the floor is the time to read x once and write y once. What changes from
// step to step is how many threads share a row, how often x is read, and how wide the loads are. A row of 10
// logits and one of 4096 want different versions, which is part of the lesson.
//
// Online maximum and sum: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
#include "kernels/ladder/ladder.h"

namespace caltrop::CALTROP_WORLD::ladder {
namespace {

// Below every logit but -infinity, and finite: its difference to -infinity is a number, not NaN.
constexpr float kLowest = -3.402823466e+38f;

// 1. A thread walks along its row three times. Its neighbours walk along other rows, so each load of a warp
// touches 32 lines of memory.
__global__ void softmax_thread_per_row(int64_t rows, int64_t cols, const float* x, float* y) {
  for (int64_t r = first_index(); r < rows; r += index_step()) {
    const float* row = x + r * cols;
    float highest = kLowest;
    for (int64_t i = 0; i < cols; ++i) highest = fmaxf(highest, row[i]);
    float sum = 0.0f;
    for (int64_t i = 0; i < cols; ++i) sum += expf(row[i] - highest);
    for (int64_t i = 0; i < cols; ++i) y[r * cols + i] = expf(row[i] - highest) / sum;
  }
}

// 2. A warp walks along a row, lane by lane: whole lines, and the lanes agree by shuffles, without shared
// memory.
constexpr int kWarps = 8;  // rows in a block

__global__ void softmax_warp_per_row(int64_t rows, int64_t cols, const float* x, float* y) {
  const int lane = static_cast<int>(threadIdx.x);
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y; r < rows;
       r += static_cast<int64_t>(gridDim.x) * kWarps) {
    const float* row = x + r * cols;
    float highest = kLowest;
    for (int64_t i = lane; i < cols; i += kWarp) highest = fmaxf(highest, row[i]);
    highest = warp_max(highest);
    float sum = 0.0f;
    for (int64_t i = lane; i < cols; i += kWarp) sum += expf(row[i] - highest);
    sum = warp_sum(sum);
    for (int64_t i = lane; i < cols; i += kWarp) y[r * cols + i] = expf(row[i] - highest) / sum;
  }
}

// 3. A block walks along a row: 256 threads have more loads under way than one warp, which counts where rows
// are long and few. The warps exchange their results in shared memory.
constexpr int kThreads = 256;
constexpr int kBlockWarps = kThreads / kWarp;

__global__ void __launch_bounds__(kThreads)
    softmax_block_per_row(int64_t rows, int64_t cols, const float* x, float* y) {
  __shared__ float shared[kBlockWarps];
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const float* row = x + r * cols;
    float highest = kLowest;
    for (int64_t i = threadIdx.x; i < cols; i += kThreads) highest = fmaxf(highest, row[i]);
    highest = block_max<kThreads>(highest, shared);
    float sum = 0.0f;
    for (int64_t i = threadIdx.x; i < cols; i += kThreads) sum += expf(row[i] - highest);
    sum = block_sum<kThreads>(sum, shared);
    for (int64_t i = threadIdx.x; i < cols; i += kThreads) y[r * cols + i] = expf(row[i] - highest) / sum;
  }
}

// 4. Maximum and sum in one pass: when a larger value comes, the sum so far is scaled down to it. x is read
// twice instead of three times.
struct Online {
  float highest = kLowest;
  float sum = 0.0f;  // of exp(x - highest)

  __device__ void add(float value) {
    if (value > highest) {
      sum = fmaf(sum, expf(highest - value), 1.0f);
      highest = value;
    } else {
      sum += expf(value - highest);  // a NaN comes here, and stays in the sum
    }
  }
  __device__ void merge(float other_highest, float other_sum) {
    const float both = fmaxf(highest, other_highest);
    sum = fmaf(sum, expf(highest - both), other_sum * expf(other_highest - both));
    highest = both;
  }
};

// All threads end with the block's maximum and sum. Partners merge the same two halves from opposite sides:
// they can differ in a last bit, so one lane's result stands for the warp, and the warps' are merged by each
// thread in order.
__device__ Online merge_block(Online mine, float* highests, float* sums) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const float highest = __shfl_xor_sync(kFullMask, mine.highest, offset);
    const float sum = __shfl_xor_sync(kFullMask, mine.sum, offset);
    mine.merge(highest, sum);
  }
  __syncthreads();  // an earlier row's values have been read
  if (thread % kWarp == 0) {
    highests[thread / kWarp] = mine.highest;
    sums[thread / kWarp] = mine.sum;
  }
  __syncthreads();
  Online all;
  for (int warp = 0; warp < kBlockWarps; ++warp) all.merge(highests[warp], sums[warp]);
  return all;
}

__global__ void __launch_bounds__(kThreads)
    softmax_online(int64_t rows, int64_t cols, const float* x, float* y) {
  __shared__ float highests[kBlockWarps], sums[kBlockWarps];
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const float* row = x + r * cols;
    Online mine;
    for (int64_t i = threadIdx.x; i < cols; i += kThreads) mine.add(row[i]);
    const Online all = merge_block(mine, highests, sums);
    for (int64_t i = threadIdx.x; i < cols; i += kThreads)
      y[r * cols + i] = expf(row[i] - all.highest) / all.sum;
  }
}

// 5. The same in loads and stores of 16 bytes: fewer instructions, and more bytes under way. Every row must
// begin on a multiple of 16 bytes; the host checks that, and takes version 4 where it does not hold.
__global__ void __launch_bounds__(kThreads)
    softmax_online_quads(int64_t rows, int64_t quads, const float4* x, float4* y) {
  __shared__ float highests[kBlockWarps], sums[kBlockWarps];
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const float4* row = x + r * quads;
    Online mine;
    for (int64_t i = threadIdx.x; i < quads; i += kThreads) {
      const float4 four = row[i];
      mine.add(four.x);
      mine.add(four.y);
      mine.add(four.z);
      mine.add(four.w);
    }
    const Online all = merge_block(mine, highests, sums);
    for (int64_t i = threadIdx.x; i < quads; i += kThreads) {
      const float4 four = row[i];
      y[r * quads + i] =
          make_float4(expf(four.x - all.highest) / all.sum, expf(four.y - all.highest) / all.sum,
                      expf(four.z - all.highest) / all.sum, expf(four.w - all.highest) / all.sum);
    }
  }
}

void run_thread_per_row(GpuBackend& device, int64_t rows, int64_t cols, const float* x, float* y) {
  launch("ladder softmax", softmax_thread_per_row, grid_for(rows, kThreads), kThreads, 0, device.stream(),
         rows, cols, x, y);
}
void run_warp_per_row(GpuBackend& device, int64_t rows, int64_t cols, const float* x, float* y) {
  launch("ladder softmax", softmax_warp_per_row, grid_for(rows, kWarps), dim3(kWarp, kWarps), 0,
         device.stream(), rows, cols, x, y);
}
void run_block_per_row(GpuBackend& device, int64_t rows, int64_t cols, const float* x, float* y) {
  launch("ladder softmax", softmax_block_per_row, grid_for(rows, 1), kThreads, 0, device.stream(), rows, cols,
         x, y);
}
void run_online(GpuBackend& device, int64_t rows, int64_t cols, const float* x, float* y) {
  launch("ladder softmax", softmax_online, grid_for(rows, 1), kThreads, 0, device.stream(), rows, cols, x, y);
}
void run_online_quads(GpuBackend& device, int64_t rows, int64_t cols, const float* x, float* y) {
  if (cols % 4 != 0 || !is_aligned16(x, y)) return run_online(device, rows, cols, x, y);
  launch("ladder softmax", softmax_online_quads, grid_for(rows, 1), kThreads, 0, device.stream(), rows,
         cols / 4, reinterpret_cast<const float4*>(x), reinterpret_cast<float4*>(y));
}
void run_product(GpuBackend& device, int64_t rows, int64_t cols, const float* x, float* y) {
  device.softmax(rows, cols, x, y);
}

}  // namespace

std::span<const SoftmaxVersion> softmax_versions() {
  static const SoftmaxVersion versions[] = {
      {1, "one thread per row", "the formula as it stands: three passes, each warp across 32 rows",
       run_thread_per_row},
      {2, "one warp per row", "neighbouring lanes read neighbouring values; shuffles combine them",
       run_warp_per_row},
      {3, "one block per row", "a long row has 256 threads, and so more loads under way", run_block_per_row},
      {4, "online, one pass for maximum and sum", "x is read twice instead of three times", run_online},
      {5, "float4 loads and stores", "a quarter of the memory instructions", run_online_quads},
      {6, "the product's kernel", "what the engine runs", run_product},
  };
  return versions;
}

}  // namespace caltrop::CALTROP_WORLD::ladder
