// The ladder of matrix products: c (m,n) = a (m,k) b (k,n), fp32, row-major, any size.
//
// One product of 2048 x 2048 matrices is 17 GFLOP over 50 MB, 340 operations for each byte, so a good kernel
// is bound by arithmetic. The naive one is bound by memory: two loads for each multiply-add. Every step keeps
// values closer to the arithmetic, first in shared memory, then in registers, and so needs fewer loads for
// the same work.
//
// Tiles of c lie along blockIdx.x alone, since gridDim.y ends at 65,535.
#include "kernels/ladder/ladder.h"

namespace caltrop::CALTROP_WORLD::ladder {
namespace {

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// 1. Thread i computes one element, counted down the columns. The threads of a warp then stand in 32 rows:
// each load of `a` touches 32 lines of memory for 4 bytes apiece, and so does the store.
__global__ void matmul_naive(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  for (int64_t i = first_index(); i < m * n; i += index_step()) {
    const int64_t row = i % m, col = i / m;
    float sum = 0.0f;
    for (int64_t t = 0; t < k; ++t) sum = fmaf(a[row * k + t], b[t * n + col], sum);
    c[row * n + col] = sum;
  }
}

// 2. The same, counted along the rows: a warp stands in 32 neighbouring columns. `b` and `c` are read and
// written in whole 128-byte lines, and the element of `a` is one for all 32 threads.
__global__ void matmul_coalesced(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  for (int64_t i = first_index(); i < m * n; i += index_step()) {
    const int64_t row = i / n, col = i % n;
    float sum = 0.0f;
    for (int64_t t = 0; t < k; ++t) sum = fmaf(a[row * k + t], b[t * n + col], sum);
    c[row * n + col] = sum;
  }
}

// 3. A block of 32 x 32 threads copies a 32 x 32 tile of `a` and of `b` to shared memory, and each element of
// them serves 32 threads: 32 times fewer loads from global memory. Outside of the matrices a tile holds
// zeros, so every thread reaches every barrier.
constexpr int kTile = 32;

__global__ void __launch_bounds__(kTile* kTile)
    matmul_shared_tile(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  __shared__ float tile_a[kTile][kTile];
  __shared__ float tile_b[kTile][kTile];
  const int64_t tiles_n = ceil_div(n, kTile);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t row = blockIdx.x / tiles_n * kTile + y, col = blockIdx.x % tiles_n * kTile + x;
  float sum = 0.0f;
  for (int64_t t0 = 0; t0 < k; t0 += kTile) {
    tile_a[y][x] = row < m && t0 + x < k ? a[row * k + t0 + x] : 0.0f;
    tile_b[y][x] = t0 + y < k && col < n ? b[(t0 + y) * n + col] : 0.0f;
    __syncthreads();  // the tiles are whole
    for (int t = 0; t < kTile; ++t) sum = fmaf(tile_a[y][t], tile_b[t][x], sum);
    __syncthreads();  // nobody reads them any more
  }
  if (row < m && col < n) c[row * n + col] = sum;
}

// 4. Version 3 still loads two values from shared memory for each multiply-add. Here a thread computes 8
// elements of a column: one value of `b`, kept in a register, serves 8 multiply-adds.
constexpr int kColumnTile = 64;    // rows and columns of c for each block
constexpr int kColumnDepth = 8;    // of k, at a time
constexpr int kColumnOutputs = 8;  // of each thread

__global__ void __launch_bounds__(kColumnTile* kColumnTile / kColumnOutputs)
    matmul_register_column(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  // 512 threads: as many as a tile has elements, so each copies one of `a` and one of `b`.
  static_assert(kColumnTile * kColumnDepth == kColumnTile * kColumnTile / kColumnOutputs);
  __shared__ float tile_a[kColumnTile][kColumnDepth];
  __shared__ float tile_b[kColumnDepth][kColumnTile];
  const int64_t tiles_n = ceil_div(n, kColumnTile);
  const int64_t row0 = blockIdx.x / tiles_n * kColumnTile, col0 = blockIdx.x % tiles_n * kColumnTile;
  const int thread = static_cast<int>(threadIdx.x);
  const int a_row = thread / kColumnDepth, a_col = thread % kColumnDepth;
  const int b_row = thread / kColumnTile, b_col = thread % kColumnTile;
  const int first_row = thread / kColumnTile * kColumnOutputs, col = thread % kColumnTile;
  float sum[kColumnOutputs] = {};
  for (int64_t t0 = 0; t0 < k; t0 += kColumnDepth) {
    tile_a[a_row][a_col] = row0 + a_row < m && t0 + a_col < k ? a[(row0 + a_row) * k + t0 + a_col] : 0.0f;
    tile_b[b_row][b_col] = t0 + b_row < k && col0 + b_col < n ? b[(t0 + b_row) * n + col0 + b_col] : 0.0f;
    __syncthreads();
    for (int t = 0; t < kColumnDepth; ++t) {
      const float value = tile_b[t][col];
#pragma unroll
      for (int i = 0; i < kColumnOutputs; ++i) sum[i] = fmaf(tile_a[first_row + i][t], value, sum[i]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kColumnOutputs; ++i) {
    const int64_t row = row0 + first_row + i;
    if (row < m && col0 + col < n) c[row * n + col0 + col] = sum[i];
  }
}

// 5. A thread computes a square of 8 x 8: 16 values in registers serve 64 multiply-adds, 4 for each load from
// shared memory. `a` is kept transposed, so that both fragments are runs of a row.
//
// The 8 columns of a thread are two runs of 4, half a tile apart: a warp then reads neighbouring values in
// both loads, where 8 in one run would send every other thread to the same banks.
constexpr int kSquare = 128;   // rows and columns of c for each block
constexpr int kDepth = 8;      // of k, at a time
constexpr int kThreads = 256;  // 16 x 16 threads of 8 x 8 outputs
constexpr int kQuad = 4, kHalf = kSquare / 2;

// Row and column, inside the block's square, of output (i, j) of the thread.
__device__ inline int square_row(int i) {
  return i / kQuad * kHalf + static_cast<int>(threadIdx.x) / 16 * kQuad + i % kQuad;
}
__device__ inline int square_col(int j) {
  return j / kQuad * kHalf + static_cast<int>(threadIdx.x) % 16 * kQuad + j % kQuad;
}

__device__ inline void store_square(int64_t m, int64_t n, int64_t row0, int64_t col0,
                                    const float (&sum)[8][8], float* c) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int64_t row = row0 + square_row(i);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int64_t col = col0 + square_col(j);
      if (row < m && col < n) c[row * n + col] = sum[i][j];
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    matmul_register_square(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  // 4 more than needed: a warp stores 8 columns of 4 rows of `a`, and so finds each value in a bank of its
  // own.
  __shared__ float tile_a[kDepth][kSquare + 4];
  __shared__ float tile_b[kDepth][kSquare];
  const int64_t tiles_n = ceil_div(n, kSquare);
  const int64_t row0 = blockIdx.x / tiles_n * kSquare, col0 = blockIdx.x % tiles_n * kSquare;
  const int thread = static_cast<int>(threadIdx.x);
  float sum[8][8] = {};
  for (int64_t t0 = 0; t0 < k; t0 += kDepth) {
#pragma unroll
    for (int i = thread; i < kSquare * kDepth; i += kThreads) {
      const int row = i / kDepth, t = i % kDepth;
      tile_a[t][row] = row0 + row < m && t0 + t < k ? a[(row0 + row) * k + t0 + t] : 0.0f;
    }
#pragma unroll
    for (int i = thread; i < kSquare * kDepth; i += kThreads) {
      const int t = i / kSquare, col = i % kSquare;
      tile_b[t][col] = t0 + t < k && col0 + col < n ? b[(t0 + t) * n + col0 + col] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int t = 0; t < kDepth; ++t) {
      float from_a[8], from_b[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        from_a[i] = tile_a[t][square_row(i)];
        from_b[i] = tile_b[t][square_col(i)];
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(from_a[i], from_b[j], sum[i][j]);
      }
    }
    __syncthreads();
  }
  store_square(m, n, row0, col0, sum, c);
}

// 6. Two more ideas. Loads and stores of four floats, as one instruction of 16 bytes: a quarter of the
// instructions. And two tiles in turn: the values of the next one travel from global memory to registers
// while this one is multiplied, so that their latency hides behind arithmetic, and one barrier for each step
// is enough.
//
// A float4 must lie on a multiple of 16 bytes, for rows as for the first element, so `kQuads` is only true
// where the pointers and both row lengths allow it; the twin without is the same text.

// Four values of a row, from `col` on; zeros outside of the matrix.
template <bool kQuads>
__device__ inline float4 load_four(const float* matrix, int64_t rows, int64_t cols, int64_t row,
                                   int64_t col) {
  float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (row >= rows || col >= cols) return four;
  const float* from = matrix + row * cols + col;
  if constexpr (kQuads) {  // cols is a multiple of 4: all four or none
    four = *reinterpret_cast<const float4*>(from);
  } else {
    four.x = from[0];
    if (col + 1 < cols) four.y = from[1];
    if (col + 2 < cols) four.z = from[2];
    if (col + 3 < cols) four.w = from[3];
  }
  return four;
}

template <bool kQuads>
__global__ void __launch_bounds__(kThreads)
    matmul_double_buffered(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  constexpr int kPitch = kSquare + kQuad;  // as in version 5; rows stay on multiples of 16 bytes
  __shared__ __align__(16) float tile_a[2][kDepth][kPitch];
  __shared__ __align__(16) float tile_b[2][kDepth][kSquare];
  const int64_t tiles_n = ceil_div(n, kSquare);
  const int64_t row0 = blockIdx.x / tiles_n * kSquare, col0 = blockIdx.x % tiles_n * kSquare;
  const int thread = static_cast<int>(threadIdx.x);
  // A tile has 256 quads of each matrix, one for each thread.
  const int a_row = thread / 2, a_quad = thread % 2 * kQuad;
  const int b_row = thread / 32, b_quad = thread % 32 * kQuad;

  float4 next_a = load_four<kQuads>(a, m, k, row0 + a_row, a_quad);
  float4 next_b = load_four<kQuads>(b, k, n, b_row, col0 + b_quad);
  float sum[8][8] = {};
  int buffer = 0;
  for (int64_t t0 = 0; t0 < k; t0 += kDepth) {
    tile_a[buffer][a_quad + 0][a_row] = next_a.x;
    tile_a[buffer][a_quad + 1][a_row] = next_a.y;
    tile_a[buffer][a_quad + 2][a_row] = next_a.z;
    tile_a[buffer][a_quad + 3][a_row] = next_a.w;
    *reinterpret_cast<float4*>(&tile_b[buffer][b_row][b_quad]) = next_b;
    // One barrier: whoever passes it has finished with the other buffer, which is written next.
    __syncthreads();
    next_a = load_four<kQuads>(a, m, k, row0 + a_row, t0 + kDepth + a_quad);
    next_b = load_four<kQuads>(b, k, n, t0 + kDepth + b_row, col0 + b_quad);
#pragma unroll
    for (int t = 0; t < kDepth; ++t) {
      float from_a[8], from_b[8];
#pragma unroll
      for (int i = 0; i < 8; i += kQuad) {
        const float4 four_a = *reinterpret_cast<const float4*>(&tile_a[buffer][t][square_row(i)]);
        const float4 four_b = *reinterpret_cast<const float4*>(&tile_b[buffer][t][square_col(i)]);
        from_a[i] = four_a.x, from_a[i + 1] = four_a.y, from_a[i + 2] = four_a.z, from_a[i + 3] = four_a.w;
        from_b[i] = four_b.x, from_b[i + 1] = four_b.y, from_b[i + 2] = four_b.z, from_b[i + 3] = four_b.w;
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(from_a[i], from_b[j], sum[i][j]);
      }
    }
    buffer = 1 - buffer;
  }
  if constexpr (kQuads) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int64_t row = row0 + square_row(i);
#pragma unroll
      for (int j = 0; j < 8; j += kQuad) {
        const int64_t col = col0 + square_col(j);
        const float4 four = make_float4(sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]);
        if (row < m && col < n) *reinterpret_cast<float4*>(&c[row * n + col]) = four;
      }
    }
  } else {
    store_square(m, n, row0, col0, sum, c);
  }
}

using Kernel = void (*)(int64_t, int64_t, int64_t, const float*, const float*, float*);

template <Kernel kKernel>
void run_per_element(GpuBackend& device, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                     float* c) {
  launch("ladder matmul", kKernel, grid_for(m * n, 256), 256, 0, device.stream(), m, n, k, a, b, c);
}

void run_tiled(Kernel kernel, int64_t tile, dim3 block, GpuBackend& device, int64_t m, int64_t n, int64_t k,
               const float* a, const float* b, float* c) {
  const int64_t tiles = ceil_div(m, tile) * ceil_div(n, tile);
  launch("ladder matmul", kernel, dim3(static_cast<unsigned>(tiles)), block, 0, device.stream(), m, n, k, a,
         b, c);
}

void run_shared_tile(GpuBackend& device, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                     float* c) {
  run_tiled(matmul_shared_tile, kTile, dim3(kTile, kTile), device, m, n, k, a, b, c);
}
void run_register_column(GpuBackend& device, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                         float* c) {
  run_tiled(matmul_register_column, kColumnTile, dim3(kColumnTile * kColumnTile / kColumnOutputs), device, m,
            n, k, a, b, c);
}
void run_register_square(GpuBackend& device, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                         float* c) {
  run_tiled(matmul_register_square, kSquare, dim3(kThreads), device, m, n, k, a, b, c);
}
void run_double_buffered(GpuBackend& device, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                         float* c) {
  const bool quads = n % kQuad == 0 && k % kQuad == 0 && is_aligned16(a, b, c);
  run_tiled(quads ? matmul_double_buffered<true> : matmul_double_buffered<false>, kSquare, dim3(kThreads),
            device, m, n, k, a, b, c);
}
void run_product(GpuBackend& device, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                 float* c) {
  device.matmul(false, false, m, n, k, a, b, c, {});
}

}  // namespace

std::span<const MatmulVersion> matmul_versions() {
  static const MatmulVersion versions[] = {
      {1, "one thread per output", "the formula as it stands; each warp reads and writes down a column",
       run_per_element<matmul_naive>},
      {2, "coalesced", "a warp covers 32 neighbouring columns, so its loads and stores are whole lines",
       run_per_element<matmul_coalesced>},
      {3, "shared-memory tile", "each value loaded from global memory serves 32 threads", run_shared_tile},
      {4, "1-D register tile", "each value of b loaded from shared memory serves 8 multiply-adds",
       run_register_column},
      {5, "2-D register tile", "16 values loaded from shared memory serve 64 multiply-adds",
       run_register_square},
      {6, "float4 loads, double buffering", "a quarter of the load instructions, and their latency hides",
       run_double_buffered},
      {7, "the product's kernel", "what the engine runs: also transposes, edges and few rows", run_product},
  };
  return versions;
}

}  // namespace caltrop::CALTROP_WORLD::ladder
