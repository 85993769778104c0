// Small kernels that use each thing that the emulation offers, right and wrong. As in kernels/, the file is
// CUDA as nvcc takes it.
#include "tests/emulation/kernels.cuh"

#include "kernels/half.cuh"
#include "kernels/mma.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

__global__ void scale_kernel(float factor, const float* x, float* y, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) y[i] = factor * x[i];
}

__global__ void block_sums_kernel(const float* x, float* y, int64_t count) {
  __shared__ float shared[4];
  float sum = 0.0f;
  for (int64_t i = first_index(); i < count; i += index_step()) sum += x[i];
  sum = block_sum<128>(sum, shared);
  sum += 0.0f * block_sum<128>(sum, shared);  // the second call must not disturb the first
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

__global__ void histogram_kernel(const int32_t* x, unsigned* bins, int count, int64_t total) {
  unsigned* own = dynamic_shared<unsigned>();
  for (int b = static_cast<int>(threadIdx.x); b < count; b += static_cast<int>(blockDim.x)) own[b] = 0;
  __syncthreads();
  for (int64_t i = first_index(); i < total; i += index_step()) atomicAdd(&own[x[i]], 1u);
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < count; b += static_cast<int>(blockDim.x))
    atomicAdd(&bins[b], own[b]);
}

__global__ void compact_kernel(const int32_t* x, int32_t* y, int* kept) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int value = x[threadIdx.x];
  const unsigned odd = __ballot_sync(kFullMask, value % 2 != 0);
  int first = 0;
  if (lane == 0) first = atomicAdd(kept, __popc(odd));
  first = __shfl_sync(kFullMask, first, 0);
  if (value % 2 != 0) y[first + __popc(odd & ((1u << lane) - 1))] = value;
}

template <bool kWait>
__global__ void async_reverse_kernel(const float* x, float* y) {
  __shared__ __align__(16) float tile[256];
  const int at = 4 * static_cast<int>(threadIdx.x);
  cp_async16(tile + at, x + 256 * blockIdx.x + at);
  cp_async_commit();
  if (kWait) cp_async_wait<0>();
  __syncthreads();
  for (int i = at; i < at + 4; ++i) y[256 * blockIdx.x + i] = tile[255 - i];
  __syncthreads();
  tile[at] = tile[at + 1] = tile[at + 2] = tile[at + 3] = -1.0f;  // what the next block must not read
}

template <bool kBarrier>
__global__ void reverse_kernel(const float* x, float* y) {
  float* tile = dynamic_shared<float>();
  const unsigned i = threadIdx.x, base = blockIdx.x * blockDim.x;
  tile[i] = x[base + i];
  if (kBarrier) __syncthreads();
  y[base + i] = tile[blockDim.x - 1 - i];
}

__global__ void vector_kernel(const float* x, float* y) {
  reinterpret_cast<float4*>(y)[threadIdx.x] = reinterpret_cast<const float4*>(x)[threadIdx.x];
}

// c (16 x 8) = a (16 x depth) b (depth x 8), one warp.
__global__ void mma_kernel(MmaTest kind, const float* a, const float* b, float* c) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  float d[4] = {};
  uint32_t fa[4], fb[2];
  if (kind == MmaTest::tf32) {
    for (int i = 0; i < 4; ++i) fa[i] = to_tf32(a[(g + 8 * (i % 2)) * 8 + t + 4 * (i / 2)]);
    for (int i = 0; i < 2; ++i) fb[i] = to_tf32(b[(t + 4 * i) * 8 + g]);
    mma_tf32(d, fa, fb);
  } else {
    const auto pair = [&](float x, float y) {
      if (kind == MmaTest::half) {
        return static_cast<uint32_t>(__half_as_ushort(__float2half_rn(x))) |
               static_cast<uint32_t>(__half_as_ushort(__float2half_rn(y))) << 16;
      }
      return static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(x))) |
             static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(y))) << 16;
    };
    for (int i = 0; i < 4; ++i) {
      const float* row = a + (g + 8 * (i % 2)) * 16 + 2 * t + 8 * (i / 2);
      fa[i] = pair(row[0], row[1]);
    }
    for (int i = 0; i < 2; ++i) fb[i] = pair(b[(2 * t + 8 * i) * 8 + g], b[(2 * t + 8 * i + 1) * 8 + g]);
    if (kind == MmaTest::half) {
      mma_half(d, fa, fb);
    } else {
      mma_bfloat16(d, fa, fb);
    }
  }
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = d[i];
}

__global__ void divergent_kernel(float* y) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1.0f;
}

__global__ void early_return_kernel(float* y) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  y[threadIdx.x] = 1.0f;
}

__global__ void deadlock_kernel(float* y) {
  if (threadIdx.x < 16) __syncwarp(0x1FFFF);  // lane 16 never comes
  __syncwarp(0xFFFFFFFF);
  y[threadIdx.x] = 1.0f;
}

__global__ void bad_mask_kernel(float* y) {
  y[threadIdx.x] = static_cast<float>(__shfl_sync(0xFFu, static_cast<int>(threadIdx.x), 0));
}

__global__ void absent_lane_kernel(float* y) {
  if (threadIdx.x < 8) y[threadIdx.x] = __shfl_sync(0xFFu, static_cast<float>(threadIdx.x), 9);
}

__global__ void warp_reverse_kernel(const float* x, float* y, bool synchronize) {
  __shared__ float own[64];
  const unsigned i = threadIdx.x;
  own[i] = x[i];
  if (synchronize) __syncwarp();
  y[i] = own[i ^ 31u];
}

__global__ void overrun_kernel(float* y, unsigned past) {
  float* tile = dynamic_shared<float>();
  tile[threadIdx.x + past] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x];
}

}  // namespace

void scale(Stream& stream, float factor, const float* x, float* y, int64_t count) {
  launch("scale", scale_kernel, grid_for(count, 64), 64, 0, stream, factor, x, y, count);
}
void block_sums(Stream& stream, const float* x, float* y, int64_t count) {
  launch("block_sums", block_sums_kernel, 3, 128, 0, stream, x, y, count);
}
void histogram(Stream& stream, const int32_t* x, unsigned* bins, int count, int64_t total) {
  launch("histogram", histogram_kernel, 2, dim3(16, 1, 1), static_cast<size_t>(count) * sizeof(unsigned),
         stream, x, bins, count, total);
}
void compact_odd(Stream& stream, const int32_t* x, int32_t* y, int* kept) {
  launch("compact", compact_kernel, 1, 128, 0, stream, x, y, kept);
}
void async_reverse(Stream& stream, const float* x, float* y, bool wait) {
  launch("async_reverse", wait ? async_reverse_kernel<true> : async_reverse_kernel<false>, 2, 64, 0, stream,
         x, y);
}
void reverse(Stream& stream, const float* x, float* y, bool barrier) {
  launch("reverse", barrier ? reverse_kernel<true> : reverse_kernel<false>, 2, 48, 48 * sizeof(float), stream,
         x, y);
}
void copy_vectors(Stream& stream, const float* x, float* y) {
  launch("copy_vectors", vector_kernel, 1, 8, 0, stream, x, y);
}
void multiply(Stream& stream, MmaTest kind, const float* a, const float* b, float* c) {
  launch("multiply", mma_kernel, 1, 32, 0, stream, kind, a, b, c);
}
void warp_reverse(Stream& stream, const float* x, float* y, bool synchronize) {
  launch("warp_reverse", warp_reverse_kernel, 1, 64, 0, stream, x, y, synchronize);
}
void overrun(Stream& stream, float* y, unsigned past) {
  launch("overrun", overrun_kernel, 1, 32, 32 * sizeof(float), stream, y, past);
}
void wrong(Stream& stream, Wrong how, float* y) {
  void (*const kernels[])(float*) = {divergent_kernel, early_return_kernel, deadlock_kernel, bad_mask_kernel,
                                     absent_lane_kernel};
  launch("wrong", kernels[static_cast<int>(how)], 1, 32, 0, stream, y);
}

}  // namespace caltrop::CALTROP_WORLD
