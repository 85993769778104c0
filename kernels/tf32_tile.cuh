// A 64 x 64 tile of a matrix product on tensor cores with the accuracy of fp32. Each operand is split into a
// TF32 value and the TF32 value of what is left, x = hi + lo, and three products are summed: lo hi + hi lo +
// hi hi. TF32 has the exponents of fp32, so nothing overflows or vanishes that fp32 would keep, except digits
// of numbers below 2^-100 or so, whose lo part is subnormal.
//
// Errors, with u = 2^-24 and s the sum of the magnitudes of the products: splitting costs at most 2 u s for
// each operand and the dropped lo lo 4 u s. Tensor cores round their sums towards zero, which would add up
// over a long sum (Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores while
// surpassing the FP32 theoretical peak performance", 2022); so each step of 8 products starts from zero, 2 u
// s, and its result is added in fp32, one rounding for 8 products.
#pragma once

#include "kernels/gpu.cuh"
#include "kernels/mma.cuh"

namespace caltrop::CALTROP_WORLD {

// Four warps of 32 x 32 sums; slices of 16 along the sum, three in flight.
struct Tf32Tile {
  static constexpr int kM = 64, kN = 64, kK = 16, kThreads = 128, kStages = 3;
  // A slice lies as (row, k) or as (k, row), whichever is contiguous in memory. The distances keep copies of
  // 16 bytes aligned, and put the 32 elements of a fragment in 32 banks.
  static constexpr int kByRow = kK + 4, kByK = kM + 8;
  static constexpr int kSlice = kM * kByRow > kK* kByK ? kM* kByRow : kK* kByK;
  static constexpr int kShared = kStages * 2 * kSlice;
};
static_assert(Tf32Tile::kM == Tf32Tile::kN);

enum class Lies : uint8_t { by_row, by_k };  // which index of a slice has the larger stride

template <Lies kLies>
__device__ inline int tf32_index(int row, int k) {
  return kLies == Lies::by_row ? row * Tf32Tile::kByRow + k : k * Tf32Tile::kByK + row;
}

struct Split {
  uint32_t hi, lo;
};
__device__ inline Split split_tf32(float x) {
  const uint32_t hi = to_tf32(x);
  return {hi, to_tf32(x - __uint_as_float(hi))};
}

// The sums of a thread: sums[i][j] is the fragment of rows 16 i and columns 8 j of its warp.
struct Tf32Sums {
  float sums[2][4][4];

  // Row and column in the tile of element e of fragment (i, j).
  __device__ static int row(int i, int e) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    return warp / 2 * 32 + i * 16 + lane / 4 + e / 2 * 8;
  }
  __device__ static int column(int j, int e) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    return warp % 2 * 32 + j * 8 + lane % 4 * 2 + e % 2;
  }
};

template <Lies kA, Lies kB>
__device__ inline void multiply_slice(const float* a, const float* b, Tf32Sums& out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = lane / 4, in_group = lane % 4;
#pragma unroll
  for (int k = 0; k < Tf32Tile::kK; k += 8) {
    uint32_t a_hi[2][4], a_lo[2][4], b_hi[4][2], b_lo[4][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = warp / 2 * 32 + i * 16 + group + e % 2 * 8;
        const Split x = split_tf32(a[tf32_index<kA>(row, k + in_group + e / 2 * 4)]);
        a_hi[i][e] = x.hi, a_lo[i][e] = x.lo;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = warp % 2 * 32 + j * 8 + group;
        const Split x = split_tf32(b[tf32_index<kB>(column, k + in_group + e * 4)]);
        b_hi[j][e] = x.hi, b_lo[j][e] = x.lo;
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float step[4] = {};
        mma_tf32(step, a_lo[i], b_hi[j]);
        mma_tf32(step, a_hi[i], b_lo[j]);
        mma_tf32(step, a_hi[i], b_hi[j]);
#pragma unroll
        for (int e = 0; e < 4; ++e) out.sums[i][j][e] += step[e];
      }
    }
  }
}

// out = A B over `slices` slices; a(to, slice) and b(to, slice) start the copies of this thread's share.
template <Lies kA, Lies kB, typename A, typename B>
__device__ inline void accumulate(float* shared, int slices, const A& a, const B& b, Tf32Sums& out) {
  using T = Tf32Tile;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      out.sums[i][j][0] = out.sums[i][j][1] = out.sums[i][j][2] = out.sums[i][j][3] = 0;
  }
  const auto load = [&](int slice) {
    if (slice < slices) {
      float* to = shared + slice % T::kStages * 2 * T::kSlice;
      a(to, slice);
      b(to + T::kSlice, slice);
    }
    cp_async_commit();
  };
#pragma unroll
  for (int slice = 0; slice < T::kStages - 1; ++slice) load(slice);
#pragma unroll 1
  for (int slice = 0; slice < slices; ++slice) {
    cp_async_wait<T::kStages - 2>();
    __syncthreads();  // the slice has come, and the one before has been used
    load(slice + T::kStages - 1);
    const float* from = shared + slice % T::kStages * 2 * T::kSlice;
    multiply_slice<kA, kB>(from, from + T::kSlice, out);
  }
}

// Copies 4 floats, of which the first `valid` are read and the others become zero.
__device__ inline void copy_four(float* to, const float* from, int valid, bool vector) {
  if (vector) {
    cp_async16(to, from, valid * 4);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) cp_async4(to + i, from + i, i < valid ? 4 : 0);
  }
}

}  // namespace caltrop::CALTROP_WORLD
