#include "kernels/gpu.cuh"
#include "kernels/gpu_runtime.h"
#include "kernels/mma.cuh"
#include "tests/emulation/faulty_kernels.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kBlock = 64;

template <bool kBarrier>
__global__ void reverse_kernel(float* y) {
  __shared__ float tile[kBlock];
  const int t = static_cast<int>(threadIdx.x);
  tile[t] = static_cast<float>(t);  // read after write: first
  if (kBarrier) __syncthreads();
  y[t] = tile[kBlock - 1 - t];  // read after write: second
}

template <bool kBarrier>
__global__ void rotate_kernel(float* y) {
  __shared__ float tile[kBlock];
  const int t = static_cast<int>(threadIdx.x);
  tile[t] = static_cast<float>(t);
  __syncthreads();
  const float next = tile[(t + 33) % kBlock];  // write after read: first
  if (kBarrier) __syncthreads();
  tile[t] = 2 * next;  // write after read: second
  y[t] = tile[t];
}

__global__ void last_wins_kernel(float* y) {
  __shared__ float value[1];
  const int t = static_cast<int>(threadIdx.x);
  value[0] = static_cast<float>(t);  // write after write: first second
  __syncthreads();
  y[t] = value[0];
}

template <bool kSync>
__global__ void neighbour_kernel(float* y) {
  __shared__ float tile[kBlock];
  const int t = static_cast<int>(threadIdx.x);
  tile[t] = static_cast<float>(t);  // within a warp: first
  if (kSync) __syncwarp();
  y[t] = tile[t ^ 1];  // within a warp: second
}

// A shuffle lets lanes meet, but orders no memory.
__global__ void shuffle_kernel(float* y) {
  __shared__ float tile[kBlock];
  const int t = static_cast<int>(threadIdx.x);
  tile[t] = static_cast<float>(t);  // across a shuffle: first
  const int other = __shfl_xor_sync(kFullMask, t, 1);
  y[t] = tile[other];  // across a shuffle: second
}

__global__ void static_garbage_kernel(float* y) {
  __shared__ float tile[kBlock];
  const int t = static_cast<int>(threadIdx.x);
  if (t % 2 == 0) tile[t] = 1.0f;
  __syncthreads();
  y[t] = tile[t];  // uninitialised static: second
}

__global__ void dynamic_garbage_kernel(float* y) {
  float* tile = dynamic_shared<float>();
  const int t = static_cast<int>(threadIdx.x);
  if (t > 0) tile[t] = 1.0f;
  __syncthreads();
  y[t] = tile[t];  // uninitialised dynamic: second
}

__global__ void sum_blocks_kernel(float* y) {
  if (threadIdx.x == 0) y[0] += 1.0f;  // between blocks: first second
}

__global__ void count_blocks_kernel(int* y) {
  if (threadIdx.x == 0) atomicAdd(y, 1);
}

__global__ void mixed_atomic_kernel(int* y) {
  __shared__ int count[1];
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  atomicAdd(count, 1);                     // atomic against plain: first
  if (threadIdx.x == 40) y[0] = count[0];  // atomic against plain: second
}

template <bool kWait, bool kBarrier>
__global__ void copy_kernel(const float* x, float* y) {
  __shared__ __align__(16) float tile[4 * kBlock];
  const int t = static_cast<int>(threadIdx.x);
  cp_async16(tile + 4 * t, x + 4 * t);  // copy without wait: first, copy without barrier: first
  cp_async_commit();
  if (kWait) cp_async_wait<0>();
  if (kBarrier) __syncthreads();
  const int other = 4 * (kBarrier || !kWait ? t : (t + 40) % kBlock);
  y[t] = tile[other + t % 4];  // copy without wait: second, copy without barrier: second
}

// Threads write neighbouring bytes of one word: no race.
__global__ void bytes_kernel(uint8_t* y) {
  __shared__ uint8_t tile[kBlock];
  const int t = static_cast<int>(threadIdx.x);
  tile[t] = static_cast<uint8_t>(t);
  y[t] = tile[t];
}

__global__ void wide_kernel(float* y) {
  __shared__ __align__(16) float tile[4 * kBlock];
  const int t = static_cast<int>(threadIdx.x);
  *reinterpret_cast<float4*>(tile + 4 * t) = make_float4(1, 2, 3, 4);  // through a vector: first
  y[t] = tile[4 * (kBlock - 1 - t) + 3];                               // through a vector: second
}

__global__ void sums_kernel(float* y) {
  __shared__ float partial[kBlock / kWarp];
  float total = 0;
  for (int i = 0; i < 3; ++i) total += block_sum<kBlock>(1.0f, partial);
  y[first_index()] = total;
}

template <typename T, typename... P>
void run(void (*kernel)(P...), int blocks, size_t shared_bytes = 0) {
  Stream stream;
  const int64_t count = 4 * kBlock;
  const Scratch<T> x(stream, count), y(stream, count);
  stream.fill_bytes(x.data(), 0, count * sizeof(T));
  stream.fill_bytes(y.data(), 0, count * sizeof(T));
  const dim3 grid(static_cast<unsigned>(blocks)), block(kBlock);
  if constexpr (sizeof...(P) == 2) {
    launch("faulty", kernel, grid, block, shared_bytes, stream, x.data(), y.data());
  } else {
    launch("faulty", kernel, grid, block, shared_bytes, stream, y.data());
  }
  stream.synchronize();
}

}  // namespace
}  // namespace caltrop::CALTROP_WORLD

namespace caltrop::test {

using namespace CALTROP_WORLD;  // NOLINT(google-build-using-namespace): the kernels above

const std::vector<FaultyKernel>& faulty_kernels() {
  static const std::vector<FaultyKernel> all = {
      {"read after write", "race",
       [] {
         run<float>(reverse_kernel<false>, 1);
       }},
      {"read after write, with a barrier", "",
       [] {
         run<float>(reverse_kernel<true>, 1);
       }},
      {"write after read", "race",
       [] {
         run<float>(rotate_kernel<false>, 1);
       }},
      {"write after read, with a barrier", "",
       [] {
         run<float>(rotate_kernel<true>, 1);
       }},
      {"write after write", "race",
       [] {
         run<float>(last_wins_kernel, 1);
       }},
      {"within a warp", "race",
       [] {
         run<float>(neighbour_kernel<false>, 1);
       }},
      {"within a warp, with __syncwarp", "",
       [] {
         run<float>(neighbour_kernel<true>, 1);
       }},
      {"across a shuffle", "race",
       [] {
         run<float>(shuffle_kernel, 1);
       }},
      {"uninitialised static", "uninitialised",
       [] {
         run<float>(static_garbage_kernel, 1);
       }},
      {"uninitialised dynamic", "uninitialised",
       [] {
         run<float>(dynamic_garbage_kernel, 1, kBlock * sizeof(float));
       }},
      {"between blocks", "between blocks",
       [] {
         run<float>(sum_blocks_kernel, 2);
       }},
      {"one block alone", "",
       [] {
         run<float>(sum_blocks_kernel, 1);
       }},
      {"blocks with an atomic", "",
       [] {
         run<int>(count_blocks_kernel, 3);
       }},
      {"atomic against plain", "race",
       [] {
         run<int>(mixed_atomic_kernel, 1);
       }},
      {"copy without wait", "in flight",
       [] {
         run<float>(copy_kernel<false, false>, 1);
       }},
      {"copy without barrier", "race",
       [] {
         run<float>(copy_kernel<true, false>, 1);
       }},
      {"copy with both", "",
       [] {
         run<float>(copy_kernel<true, true>, 1);
       }},
      {"bytes of one word", "",
       [] {
         run<uint8_t>(bytes_kernel, 1);
       }},
      {"through a vector", "race",
       [] {
         run<float>(wide_kernel, 1);
       }},
      {"sums of a block, three times", "",
       [] {
         run<float>(sums_kernel, 2);
       }},
  };
  return all;
}

}  // namespace caltrop::test
