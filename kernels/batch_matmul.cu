// Products of pairs of small matrices: the tiles of matmul.cu (gemm_tile.cuh), a pair's in one row of blocks. A sum is
// one chain along k, so that neither the tile nor the number of pairs changes its bits; pairs are many, so that sums
// need not be cut to fill a device.

#include "kernels/gemm_tile.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

using Square = GemmTile<64, 64, 16, 8, 4>;
using Tall = GemmTile<64, 16, 16, 4, 2>;  // at most 16 columns
using Flat = GemmTile<16, 64, 16, 2, 4>;  // at most 16 rows

struct Pairs {
  int64_t batch, m, n, k;
  Operand a, b;  // of the first pair
  float* out;
  bool vectors;  // rows of every output allow 16-byte stores
};

template <typename T>
__global__ void __launch_bounds__(T::kThreads) batch_matmul_kernel(Pairs p) {
  alignas(16) __shared__ float shared[T::kShared];
  using Thread = GemmThread<T>;
  const Thread thread;
  const int64_t tiles_n = (p.n + T::kN - 1) / T::kN;
  const int64_t first_m = blockIdx.x / tiles_n * T::kM, first_n = blockIdx.x % tiles_n * T::kN;
  const int rows = static_cast<int>(p.m - first_m < T::kM ? p.m - first_m : T::kM) - thread.m;
  const int columns = static_cast<int>(p.n - first_n < T::kN ? p.n - first_n : T::kN) - thread.n;
  for (int64_t pair = blockIdx.y; pair < p.batch; pair += gridDim.y) {
    Operand left = p.a, right = p.b;
    left.data += pair * p.m * p.k;
    right.data += pair * p.k * p.n;
    OperandCopies<T::kM, T::kK, T::kThreads> a(left, first_m, 0, p.k);
    OperandCopies<T::kN, T::kK, T::kThreads> b(right, first_n, 0, p.k);
    float sums[T::kTM][T::kTN];
    accumulate<T>(shared, static_cast<int>((p.k + T::kK - 1) / T::kK), thread, a, b, sums);
    float* out = p.out + (pair * p.m + first_m + thread.m) * p.n + first_n + thread.n;
#pragma unroll
    for (int i = 0; i < T::kTM; ++i) {
      if (Thread::row(i) < rows) store_row<T>(sums[i], columns, p.vectors, false, out + Thread::row(i) * p.n);
    }
  }
}

template <typename T>
void run(Stream& stream, const Pairs& p) {
  constexpr int64_t kMostRows = 4096;  // of blocks, which fill any device
  const int64_t tiles = (p.m + T::kM - 1) / T::kM * ((p.n + T::kN - 1) / T::kN);
  launch("batch_matmul", batch_matmul_kernel<T>,
         dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(p.batch < kMostRows ? p.batch : kMostRows)),
         T::kThreads, 0, stream, p);
}

}  // namespace

void GpuBackend::batch_matmul(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                              const float* a, const float* b, float* c) {
  const Stream::Op range(stream_, "batch_matmul");
  if (batch == 0 || m == 0 || n == 0) return;
  // 16-byte copies need every pair's matrix aligned: where a row is, so is the distance of two pairs.
  const auto operand = [](const float* data, int64_t rows, int64_t row, int64_t step) {
    return Operand{data, rows, row, step, row == 1 && step % 4 == 0 && is_aligned16(data)};
  };
  const Pairs p{batch,
                m,
                n,
                k,
                trans_a ? operand(a, m, 1, m) : operand(a, m, k, 1),
                trans_b ? operand(b, n, k, 1) : operand(b, n, 1, n),
                c,
                n % 4 == 0 && is_aligned16(c)};
  if (n <= Tall::kN) return run<Tall>(stream_, p);
  if (m <= Flat::kM) return run<Flat>(stream_, p);
  run<Square>(stream_, p);
}

}  // namespace caltrop::CALTROP_WORLD
