// Matrix product c (m,n) = activation(op(a) op(b) + bias), row-major, in all four transposes and any sizes.
//
// Register tiles over shared memory (gemm_tile.cuh), fp32 multiply-adds. Four tiles: 128 x 128 where the
// output fills the device, 64 x 64 below that, and narrow ones for outputs with at most 16 columns or rows,
// such as the last dense layer's.
//
// Long sums are cut into chunks by k alone, and chunks are added in order. Where the output has few tiles
// (a dense layer of 5408 inputs and 100 outputs on 128 images has 4) each chunk has its own blocks, and a
// second kernel adds them; elsewhere one block takes the chunks in turn. The bits are the same.

#include "kernels/gemm_tile.cuh"
#include "kernels/gpu_backend.h"
#include "kernels/gpu_math.cuh"
#include "kernels/partial_sums.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

using Large = GemmTile<128, 128, 8, 8, 8>;
using Middle = GemmTile<64, 64, 16, 8, 4>;
using Tall = GemmTile<64, 16, 16, 4, 2>;  // at most 16 columns
using Flat = GemmTile<16, 64, 16, 2, 4>;  // at most 16 rows

struct Product {
  int64_t m, n, k, chunk;  // chunk: the length of partial sums
  Operand a, b;
  float* out;
  int64_t part;  // m n where each chunk has its own (m,n) output, 0 where all are added in one
  Epilogue epilogue;
  bool vectors;  // rows of the output allow 16-byte stores
};

template <typename T>
__global__ void __launch_bounds__(T::kThreads, 512 / T::kThreads) matmul_kernel(Product p) {
  alignas(16) __shared__ float shared[T::kShared];
  using Thread = GemmThread<T>;
  const Thread thread;
  const int64_t tiles_n = (p.n + T::kN - 1) / T::kN;
  const int64_t first_m = blockIdx.x / tiles_n * T::kM, first_n = blockIdx.x % tiles_n * T::kN;
  const int rows = static_cast<int>(p.m - first_m < T::kM ? p.m - first_m : T::kM) - thread.m;
  const int columns = static_cast<int>(p.n - first_n < T::kN ? p.n - first_n : T::kN) - thread.n;
  float* out = p.out + blockIdx.y * p.part + (first_m + thread.m) * p.n + first_n + thread.n;
  for (int64_t begin = blockIdx.y * p.chunk; begin == 0 || begin < p.k; begin += gridDim.y * p.chunk) {
    const int64_t end = begin + p.chunk < p.k ? begin + p.chunk : p.k;
    OperandCopies<T::kM, T::kK, T::kThreads> a(p.a, first_m, begin, end);
    OperandCopies<T::kN, T::kK, T::kThreads> b(p.b, first_n, begin, end);
    float sums[T::kTM][T::kTN];
    accumulate<T>(shared, static_cast<int>((end - begin + T::kK - 1) / T::kK), thread, a, b, sums);
    const bool add = p.part == 0 && begin > 0;
#pragma unroll
    for (int i = 0; i < T::kTM; ++i) {
      if (Thread::row(i) < rows) store_row<T>(sums[i], columns, p.vectors, add, out + Thread::row(i) * p.n);
    }
    out += gridDim.y * p.part;
  }
  if (p.part > 0 || !has_effect(p.epilogue)) return;
    // In a loop over what this thread stored: unrolled over registers it would be most of the kernel's code.
#pragma unroll 1
  for (int i = 0; i < T::kTM * T::kTN; ++i) {
    const int row = Thread::row(i / T::kTN), column = Thread::column(i % T::kTN);
    if (row >= rows || column >= columns) continue;
    float* at = out + row * p.n + column;
    *at = finished(p.epilogue, *at, first_n + thread.n + column);
  }
}

// Partial sums are at least 128 terms long and at most 64 in number: a function of k alone.
int64_t chunk_of(int64_t k) {
  constexpr int64_t kShortest = 128, kMost = 64;
  const int64_t even = (k + kMost - 1) / kMost;
  return even <= kShortest ? kShortest : (even + 15) / 16 * 16;
}

template <typename T>
int64_t tiles_of(int64_t m, int64_t n) {
  return (m + T::kM - 1) / T::kM * ((n + T::kN - 1) / T::kN);
}

// Blocks that keep any GPU busy.
constexpr int64_t kManyBlocks = 128;

template <typename T>
void run(Stream& stream, Product p) {
  const int64_t tiles = tiles_of<T>(p.m, p.n), chunks = (p.k + p.chunk - 1) / p.chunk;
  const auto product = [&](int64_t blocks_k) {
    launch("matmul", matmul_kernel<T>, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(blocks_k)),
           T::kThreads, 0, stream, p);
  };
  if (chunks <= 1 || tiles >= kManyBlocks) return product(1);
  float* const c = p.out;
  const Scratch<float> partial(stream, chunks * p.m * p.n);
  p.out = partial.data();
  p.part = p.m * p.n;
  p.vectors = p.n % 4 == 0;
  product(chunks);
  add_partial_sums(stream, "matmul", chunks, p.m * p.n, p.n, partial.data(), p.epilogue, c);
}

}  // namespace

void GpuBackend::matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a,
                        const float* b, float* c, const Epilogue& epilogue) {
  const Stream::Op range(stream_, "matmul");
  if (m == 0 || n == 0) return;
  const auto operand = [](const float* data, int64_t rows, int64_t row, int64_t step) {
    return Operand{data, rows, row, step, row == 1 && step % 4 == 0 && is_aligned16(data)};
  };
  const Product p{m,
                  n,
                  k,
                  chunk_of(k),
                  trans_a ? operand(a, m, 1, m) : operand(a, m, k, 1),
                  trans_b ? operand(b, n, k, 1) : operand(b, n, 1, n),
                  c,
                  0,
                  epilogue,
                  n % 4 == 0 && is_aligned16(c)};
  if (n <= Tall::kN) return run<Tall>(stream_, p);
  if (m <= Flat::kM) return run<Flat>(stream_, p);
  if (tiles_of<Large>(m, n) >= kManyBlocks) return run<Large>(stream_, p);
  run<Middle>(stream_, p);
}

}  // namespace caltrop::CALTROP_WORLD
