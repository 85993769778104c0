// The only header through which a kernel file reaches CUDA. The same .cu file is compiled twice: by nvcc, in
// namespace caltrop::gpu, and by the host compiler, in namespace caltrop::emu, where every CUDA name is a
// declaration of kernels/emulation and a launch runs on the CPU. Kernels live in caltrop::CALTROP_WORLD and
// include no CUDA header, so one program holds both.
//
// Rules that make both worlds agree:
// - launch(), never <<<>>>; dynamic_shared<T>(), never extern __shared__; inline PTX only in mma.cuh.
// - No lock-step assumptions: __syncwarp() and full masks; barriers are reached by all threads of a block.
// - No waiting for another block. All shared memory that is read has been written.
// - Neither compiler contracts a * b + c: write fmaf (fma) where one rounding is meant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#ifdef __CUDACC__
#define CALTROP_WORLD gpu
#else
#define CALTROP_WORLD emu
#include "kernels/emulation/cuda_names.h"
#endif

namespace caltrop::CALTROP_WORLD {

class Stream;

inline constexpr int kWarp = 32;
inline constexpr unsigned kFullMask = 0xFFFFFFFFu;

#ifdef __CUDACC__
// Defined in gpu_runtime.cu. Throws an Error that names the op and the call.
void launch_raw(const char* op, const void* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                Stream& stream, void** arguments);
#endif

// Runs `kernel` on the stream; arguments are converted to the kernel's parameter types and copied. An empty
// grid launches nothing.
template <typename... P, typename... A>
void launch(const char* op, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, Stream& stream,
            A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a launch passes every parameter of the kernel");
  static_assert((!std::is_reference_v<P> && ...), "kernels take values and device pointers");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#ifdef __CUDACC__
  const auto call = [&](P... values) {
    void* addresses[] = {nullptr, const_cast<void*>(static_cast<const void*>(&values))...};
    launch_raw(op, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, stream, addresses + 1);
  };
  call(static_cast<P>(std::forward<A>(arguments))...);
#else
  enqueue_launch<P...>(op, kernel, grid, block, shared_bytes, stream,
                       static_cast<P>(std::forward<A>(arguments))...);
#endif
}

// Blocks of `block` threads for `count` elements that a kernel walks with
//   for (int64_t i = first_index(); i < count; i += index_step())
// No more than fill any GPU several times over; the loop covers the rest.
inline dim3 grid_for(int64_t count, int block) {
#ifdef __CUDACC__
  constexpr int64_t most = 1 << 14;
#else
  const int64_t most = current_schedule().most_blocks;
#endif
  const int64_t blocks = count <= 0 ? 0 : (count - 1) / block + 1;
  return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
}
__device__ inline int64_t first_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t index_step() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

// The dynamic shared memory of the block, aligned to 128 bytes; its size is what the launch asked for.
template <typename T>
__device__ inline T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(128) unsigned char caltrop_dynamic_shared[];
  return reinterpret_cast<T*>(caltrop_dynamic_shared);
#else
  return static_cast<T*>(dynamic_shared_block());
#endif
}

// Whether float4 (16-byte) accesses are allowed at all these addresses. Views of a batch need not be aligned.
template <typename... T>
__host__ __device__ inline bool is_aligned16(const T*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

__device__ inline float4 load4(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}
__device__ inline void store4(float* to, float4 value) {
  *reinterpret_cast<float4*>(to) = value;
}

// The rule of every maximum (backend.h): NaN counts as larger than any number.
__device__ inline bool is_larger(float a, float b) {
  return a > b || (a != a && b == b);
}
__device__ inline bool is_larger(int a, int b) {
  return a > b;
}

// Reductions over a group of kLanes neighbouring lanes of a full warp; every lane gets the result of its group.
// The order is a fixed tree, and as a + b has the bits of b + a all lanes agree.
template <int kLanes = kWarp, typename T>
__device__ inline T warp_sum(T value) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullMask, value, offset);
  return value;
}
template <int kLanes = kWarp, typename T>
__device__ inline T warp_max(T value) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(kFullMask, value, offset);
    value = is_larger(other, value) ? other : value;
  }
  return value;
}

// Leaves the value of each warp of a block of exactly kThreads threads in `shared`, which holds kThreads / 32.
// The first barrier protects the values of an earlier reduction from this one.
template <int kThreads, typename T>
__device__ inline void share_of_warps(T value, T* shared) {
  static_assert(kThreads % kWarp == 0 && kThreads <= 1024);
  const int thread = static_cast<int>((threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
  __syncthreads();
  if (thread % kWarp == 0) shared[thread / kWarp] = value;
  __syncthreads();
}

// Reductions over such a block, in a fixed order; every thread gets the result.
template <int kThreads, typename T>
__device__ inline T block_sum(T value, T* shared) {
  share_of_warps<kThreads>(warp_sum(value), shared);
  T total = shared[0];
  for (int warp = 1; warp < kThreads / kWarp; ++warp) total += shared[warp];
  return total;
}
template <int kThreads, typename T>
__device__ inline T block_max(T value, T* shared) {
  share_of_warps<kThreads>(warp_max(value), shared);
  T largest = shared[0];
  for (int warp = 1; warp < kThreads / kWarp; ++warp) {
    if (is_larger(shared[warp], largest)) largest = shared[warp];
  }
  return largest;
}

}  // namespace caltrop::CALTROP_WORLD
