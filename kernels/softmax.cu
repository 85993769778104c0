// Softmax, cross-entropy and what goes with them, on rows of logits.
//
// Rows are short (ten classes): a group of 8, 16 or 32 neighbouring lanes shares a row, more rows fill the
// block, and the only traffic is one read and one write. Rows of more than kLongRow columns get a block each.
// The exponentials are taken in double, as on the CPU: a difference of large logits has already lost what
// fp32 would need, and ten values per image cost nothing next to the layer before. An exponential is computed
// again rather than kept.

#include <type_traits>

#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kLongRow = 1024;

// Over the kGroup threads of a row: part of a warp, or the block. Each of them gets the result.
template <int kGroup, typename T>
__device__ T row_sum(T value) {
  if constexpr (kGroup <= kWarp) {
    return warp_sum<kGroup>(value);
  } else {
    __shared__ T shared[kWarps];
    return block_sum<kThreads>(value, shared);
  }
}
template <int kGroup, typename T>
__device__ T row_max(T value) {
  if constexpr (kGroup <= kWarp) {
    return warp_max<kGroup>(value);
  } else {
    __shared__ T shared[kWarps];
    return block_max<kThreads>(value, shared);
  }
}

// body(row, thread of the row, whether to store) for every row, by the kGroup threads of its group. All threads
// of a block run the same number of times, since they exchange values; past the last row they repeat it and
// store nothing.
template <int kGroup, typename Body>
__device__ void for_rows(int64_t rows, const Body& body) {
  constexpr int kRows = kThreads / kGroup;
  const int64_t own = threadIdx.x / kGroup;
  const int lane = static_cast<int>(threadIdx.x) % kGroup;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kRows; first < rows;
       first += static_cast<int64_t>(gridDim.x) * kRows) {
    const int64_t row = first + own;
    body(row < rows ? row : rows - 1, lane, row < rows);
  }
}

// The largest logit, which is subtracted first, so that no exponential overflows. NaN where the row has one,
// and so all that follows.
template <int kGroup>
__device__ double highest_of(const float* z, int64_t cols, int lane) {
  float highest = -INFINITY;
  for (int64_t k = lane; k < cols; k += kGroup) {
    if (is_larger(z[k], highest)) highest = z[k];
  }
  return static_cast<double>(row_max<kGroup>(highest));
}

// Sum of e^(z - highest) over all columns but `skip`.
template <int kGroup>
__device__ double sum_of(const float* z, int64_t cols, int lane, double highest, int64_t skip) {
  double sum = 0.0;
  for (int64_t k = lane; k < cols; k += kGroup) {
    if (k != skip) sum += exp(static_cast<double>(z[k]) - highest);
  }
  return row_sum<kGroup>(sum);
}

template <int kGroup, bool kLog>
__global__ void __launch_bounds__(kThreads)
    softmax_kernel(int64_t rows, int64_t cols, const float* x, float* y) {
  for_rows<kGroup>(rows, [&](int64_t row, int lane, bool stored) {
    const float* z = x + row * cols;
    const double highest = highest_of<kGroup>(z, cols, lane);
    const double sum = sum_of<kGroup>(z, cols, lane, highest, -1);
    const double scale = kLog ? log(sum) : 1.0 / sum;
    for (int64_t k = lane; stored && k < cols; k += kGroup) {
      const double d = static_cast<double>(z[k]) - highest;
      y[row * cols + k] = static_cast<float>(kLog ? d - scale : exp(d) * scale);
    }
  });
}

template <int kGroup>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(int64_t rows, int64_t cols, const float* x, const int32_t* label, float* loss) {
  for_rows<kGroup>(rows, [&](int64_t row, int lane, bool stored) {
    const float* z = x + row * cols;
    const double highest = highest_of<kGroup>(z, cols, lane);
    const double sum = sum_of<kGroup>(z, cols, lane, highest, -1);
    if (stored && lane == 0) {
      loss[row] = static_cast<float>(log(sum) - (static_cast<double>(z[label[row]]) - highest));
    }
  });
}

template <int kGroup>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(int64_t rows, int64_t cols, const float* x, const int32_t* label,
                                  bool stable, float* dz) {
  for_rows<kGroup>(rows, [&](int64_t row, int lane, bool stored) {
    const float* z = x + row * cols;
    const int64_t at = label[row];
    const double highest = highest_of<kGroup>(z, cols, lane);
    // The sum without the label: its gradient is -others * scale, with no 1 to cancel.
    const double others = sum_of<kGroup>(z, cols, lane, highest, at);
    const double scale = 1.0 / (others + exp(static_cast<double>(z[at]) - highest));
    for (int64_t k = lane; stored && k < cols; k += kGroup) {
      const auto p = static_cast<float>(exp(static_cast<double>(z[k]) - highest) * scale);
      dz[row * cols + k] = k != at ? p : stable ? static_cast<float>(-(others * scale)) : p - 1.0f;
    }
  });
}

template <int kGroup>
__global__ void __launch_bounds__(kThreads)
    argmax_kernel(int64_t rows, int64_t cols, const float* x, int32_t* index) {
  for_rows<kGroup>(rows, [&](int64_t row, int lane, bool stored) {
    const float* z = x + row * cols;
    float best = -INFINITY;
    int32_t place = INT32_MAX;
    for (int64_t k = lane; k < cols; k += kGroup) {
      if (place == INT32_MAX || is_larger(z[k], best)) {
        best = z[k];
        place = static_cast<int32_t>(k);
      }
    }
    // Of the threads that have the maximum the one with the lowest place.
    const bool has_highest = !is_larger(row_max<kGroup>(best), best);
    const int32_t first = -row_max<kGroup>(has_highest ? -place : -INT32_MAX);
    if (stored && lane == 0) index[row] = first;
  });
}

__global__ void one_hot_kernel(int64_t rows, int64_t cols, const int32_t* index, float* y) {
  for (int64_t i = first_index(); i < rows * cols; i += index_step()) {
    const int64_t row = i / cols;
    y[i] = i - row * cols == index[row] ? 1.0f : 0.0f;
  }
}

// body(group, grid): how many threads share a row of `cols` columns, as a constant. It follows from cols
// alone.
template <typename Body>
void with_group(int64_t rows, int64_t cols, const Body& body) {
  const auto run = [&](auto group) {
    body(group, grid_for(rows, kThreads / decltype(group)::value));
  };
  if (rows == 0 || cols == 0) return;
  if (cols <= 8) return run(std::integral_constant<int, 8>());
  if (cols <= 16) return run(std::integral_constant<int, 16>());
  if (cols <= kLongRow) return run(std::integral_constant<int, kWarp>());
  run(std::integral_constant<int, kThreads>());
}

}  // namespace

void GpuBackend::softmax(int64_t rows, int64_t cols, const float* x, float* y) {
  const Stream::Op range(stream_, "softmax");
  with_group(rows, cols, [&](auto group, dim3 grid) {
    launch("softmax", softmax_kernel<decltype(group)::value, false>, grid, kThreads, 0, stream_, rows, cols,
           x, y);
  });
}

void GpuBackend::log_softmax(int64_t rows, int64_t cols, const float* x, float* y) {
  const Stream::Op range(stream_, "log_softmax");
  with_group(rows, cols, [&](auto group, dim3 grid) {
    launch("log_softmax", softmax_kernel<decltype(group)::value, true>, grid, kThreads, 0, stream_, rows,
           cols, x, y);
  });
}

void GpuBackend::cross_entropy(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                               float* loss) {
  const Stream::Op range(stream_, "cross_entropy");
  with_group(rows, cols, [&](auto group, dim3 grid) {
    launch("cross_entropy", cross_entropy_kernel<decltype(group)::value>, grid, kThreads, 0, stream_, rows,
           cols, z, label, loss);
  });
}

void GpuBackend::cross_entropy_backward(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                                        bool stable, float* dz) {
  const Stream::Op range(stream_, "cross_entropy_backward");
  with_group(rows, cols, [&](auto group, dim3 grid) {
    launch("cross_entropy_backward", cross_entropy_backward_kernel<decltype(group)::value>, grid, kThreads, 0,
           stream_, rows, cols, z, label, stable, dz);
  });
}

void GpuBackend::argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) {
  const Stream::Op range(stream_, "argmax");
  with_group(rows, cols, [&](auto group, dim3 grid) {
    launch("argmax", argmax_kernel<decltype(group)::value>, grid, kThreads, 0, stream_, rows, cols, x, index);
  });
}

void GpuBackend::one_hot(int64_t rows, int64_t cols, const int32_t* index, float* y) {
  const Stream::Op range(stream_, "one_hot");
  launch("one_hot", one_hot_kernel, grid_for(rows * cols, kThreads), kThreads, 0, stream_, rows, cols, index,
         y);
}

}  // namespace caltrop::CALTROP_WORLD
