// The tile of a matrix product that matmul.cu and conv2d_gemm.cu share. A block of threads computes kM x kN
// sums; each thread kTM x kTN of them, in registers. Slices of kK columns of A and rows of B pass through
// shared memory in three stages, filled by asynchronous copies while earlier ones are multiplied.
//
// A sum is one chain of fused multiply-adds in ascending k, whatever the tile: tiles may be chosen by the
// sizes of the output and change no bits.
#pragma once

#include "kernels/gpu.cuh"
#include "kernels/mma.cuh"

namespace caltrop::CALTROP_WORLD {

template <int kM_, int kN_, int kK_, int kTM_, int kTN_>
struct GemmTile {
  static constexpr int kM = kM_, kN = kN_, kK = kK_, kTM = kTM_, kTN = kTN_;
  static constexpr int kThreads = kM / kTM * (kN / kTN);
  // Rows of a slice are kM or kN floats and 4 more: float4 reads stay aligned, and copies that turn a matrix
  // (consecutive k, rows apart) fall into different banks.
  static constexpr int kRowA = kM + 4, kRowB = kN + 4;
  static constexpr int kStages = 3;
  static constexpr int kStage = kK * (kRowA + kRowB);
  static constexpr int kShared = kStages * kStage;
};

// Where a thread's sums stand in the tile. A warp covers 4 x 8 threads, so that its reads of a row of A are 4
// addresses and of B 8. Sums come in groups of at most 4 neighbours; groups are spread over the tile.
template <typename T>
struct GemmThread {
  static constexpr int kGroupM = T::kTM < 4 ? T::kTM : 4, kGroupN = T::kTN < 4 ? T::kTN : 4;
  static constexpr int kSpanM = T::kM * kGroupM / T::kTM, kSpanN = T::kN * kGroupN / T::kTN;
  static_assert(T::kN / T::kTN % 8 == 0 && T::kM / T::kTM % 4 == 0);
  int m, n;  // of the first sum
  __device__ GemmThread() {
    constexpr int kWarpsN = T::kN / T::kTN / 8;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    m = (warp / kWarpsN * 4 + lane / 8) * kGroupM;
    n = (warp % kWarpsN * 8 + lane % 8) * kGroupN;
  }
  // Distance of sum i from the first.
  __device__ static constexpr int row(int i) { return i / kGroupM * kSpanM + i % kGroupM; }
  __device__ static constexpr int column(int j) { return j / kGroupN * kSpanN + j % kGroupN; }
};

// values = kCount floats of a row of a slice: groups of kGroup neighbours, kSpan apart.
template <int kGroup, int kSpan, int kCount>
__device__ inline void load_fragment(const float* row, float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i += kGroup) {
    const float* from = row + i / kGroup * kSpan;
    if constexpr (kGroup == 4) {
      const float4 v = *reinterpret_cast<const float4*>(from);
      values[i] = v.x, values[i + 1] = v.y, values[i + 2] = v.z, values[i + 3] = v.w;
    } else if constexpr (kGroup == 2) {
      const float2 v = *reinterpret_cast<const float2*>(from);
      values[i] = v.x, values[i + 1] = v.y;
    } else {
      values[i] = *from;
    }
  }
}

// sums += a slice of A times a slice of B.
template <typename T>
__device__ inline void multiply_slice(const GemmThread<T>& thread, const float* a, const float* b,
                                      float (&sums)[T::kTM][T::kTN]) {
  using At = GemmThread<T>;
#pragma unroll
  for (int k = 0; k < T::kK; ++k) {
    float left[T::kTM], right[T::kTN];
    load_fragment<At::kGroupM, At::kSpanM>(a + k * T::kRowA + thread.m, left);
    load_fragment<At::kGroupN, At::kSpanN>(b + k * T::kRowB + thread.n, right);
#pragma unroll
    for (int i = 0; i < T::kTM; ++i) {
#pragma unroll
      for (int j = 0; j < T::kTN; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
    }
  }
}

// sums = A B over `slices` slices. a(to, slice) and b(to, slice) start the copies of this thread's share of a
// slice to shared memory, zeros where the operand ends.
template <typename T, typename A, typename B>
__device__ inline void accumulate(float* shared, int slices, const GemmThread<T>& thread, A& a, B& b,
                                  float (&sums)[T::kTM][T::kTN]) {
#pragma unroll
  for (int i = 0; i < T::kTM; ++i) {
#pragma unroll
    for (int j = 0; j < T::kTN; ++j) sums[i][j] = 0.0f;
  }
  const auto load = [&](int slice) {
    if (slice < slices) {
      float* to = shared + slice % T::kStages * T::kStage;
      a(to, slice);
      b(to + T::kK * T::kRowA, slice);
    }
    cp_async_commit();  // empty groups keep the count of groups in step
  };
#pragma unroll
  for (int slice = 0; slice < T::kStages - 1; ++slice) load(slice);
#pragma unroll 1
  for (int slice = 0; slice < slices; ++slice) {
    cp_async_wait<T::kStages - 2>();
    __syncthreads();  // the slice has come, and the one before has been used
    load(slice + T::kStages - 1);
    const float* from = shared + slice % T::kStages * T::kStage;
    multiply_slice<T>(thread, from, from + T::kK * T::kRowA, sums);
  }
  __syncthreads();  // the stages may be filled again
}

// Stores one row of a thread's sums, or adds them to what stands there. `columns` are left from `to` on.
template <typename T>
__device__ inline void store_row(const float (&sums)[T::kTN], int columns, bool vectors, bool add,
                                 float* to) {
  constexpr int kGroup = GemmThread<T>::kGroupN;
#pragma unroll
  for (int j = 0; j < T::kTN; j += kGroup) {
    const int column = GemmThread<T>::column(j);
    if constexpr (kGroup == 4) {
      if (vectors) {
        if (column >= columns) continue;
        float4* four = reinterpret_cast<float4*>(to + column);
        float4 v = make_float4(sums[j], sums[j + 1], sums[j + 2], sums[j + 3]);
        if (add) {
          const float4 before = *four;
          v = make_float4(before.x + v.x, before.y + v.y, before.z + v.z, before.w + v.w);
        }
        *four = v;
        continue;
      }
    }
#pragma unroll
    for (int v = 0; v < kGroup; ++v) {
      if (column + v < columns) to[column + v] = add ? to[column + v] + sums[j + v] : sums[j + v];
    }
  }
}

// A dense operand: element (i, k) stands at data[i * row + k * step], and row or step is 1.
struct Operand {
  const float* data;
  int64_t rows;  // number of i
  int64_t row, step;
  bool vectors;  // 16-byte copies along i: row is 1, step a multiple of 4, data aligned
};

// A thread's share of the copies of slices of an operand, from row `first` and column `begin` on. Strides are
// read from the operand, a kernel parameter, where they are needed: registers are for sums.
template <int kRows, int kK, int kThreads>
class OperandCopies {
 public:
  __device__ OperandCopies(const Operand& x, int64_t first, int64_t begin, int64_t end) : x_(x) {
    const int thread = static_cast<int>(threadIdx.x);
    int i, k;
    if (x.vectors) {
      i = thread % (kRows / 4) * 4, k = thread / (kRows / 4);
    } else if (x.row == 1) {
      i = thread % kRows, k = thread / kRows;
    } else {
      i = thread / kK, k = thread % kK;
    }
    from_ = x.data + (first + i) * x.row + (begin + k) * x.step;
    to_ = k * (kRows + 4) + i;
    left_i_ = static_cast<int>(x.rows - first < kRows ? x.rows - first : kRows) - i;
    left_k_ = static_cast<int>(end - begin) - k;
  }

  __device__ void operator()(float* slice, int) {
    if (x_.vectors) {
      constexpr int kCopies = kRows * kK / 4 / kThreads, kNext = kThreads / (kRows / 4);
      const int valid = left_i_ <= 0 ? 0 : left_i_ < 4 ? left_i_ * 4 : 16;
      if (kCopies > 0 || static_cast<int>(threadIdx.x) < kRows * kK / 4) {
#pragma unroll
        for (int c = 0; c < (kCopies == 0 ? 1 : kCopies); ++c) {
          cp_async16(slice + to_ + c * kNext * (kRows + 4), from_ + c * kNext * x_.step,
                     c * kNext < left_k_ ? valid : 0);
        }
      }
    } else if (x_.row == 1) {
      constexpr int kCopies = kRows * kK / kThreads, kNext = kThreads / kRows;
#pragma unroll
      for (int c = 0; c < kCopies; ++c) {
        cp_async4(slice + to_ + c * kNext * (kRows + 4), from_ + c * kNext * x_.step,
                  left_i_ > 0 && c * kNext < left_k_ ? 4 : 0);
      }
    } else {
      constexpr int kCopies = kRows * kK / kThreads, kNext = kThreads / kK;
#pragma unroll
      for (int c = 0; c < kCopies; ++c) {
        cp_async4(slice + to_ + c * kNext, from_ + c * kNext * x_.row,
                  c * kNext < left_i_ && left_k_ > 0 ? 4 : 0);
      }
    }
    from_ += kK * x_.step;
    left_k_ -= kK;
  }

 private:
  const Operand& x_;
  const float* from_;
  int to_, left_i_, left_k_;
};

}  // namespace caltrop::CALTROP_WORLD
