// The fused step of a gradient attack, and the statistics of rows: a block per row (image). Step, projection
// and box are one pass over the image; where a norm is needed, passes over the gradient and the moved image
// come before it, which the first pass has brought into the cache. Moved values are computed again rather
// than stored, so y is written once and may be x: each thread reads its own pixels before it writes them.
//
// Norms are taken in double, as on the CPU, by a tree of fixed shape: neither a tiny gradient nor a long row
// loses its length.

#include <cfloat>

#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// The same choices as std::max and std::min make, which decide what becomes of a NaN.
__device__ float at_least(float low, float value) {
  return low < value ? value : low;
}
__device__ float at_most(float high, float value) {
  return value < high ? value : high;
}
__device__ float boxed(const AttackStep& step, float value) {
  return at_most(step.high, at_least(step.low, value));
}

__device__ float linf_pixel(const AttackStep& step, float eps, float move, float x, float origin, float g) {
  const float sign = static_cast<float>((g > 0.0f) - (g < 0.0f));
  const float moved = x + move * sign;
  return boxed(step, at_most(origin + eps, at_least(origin - eps, moved)));
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    linf_kernel(AttackStep step, const float* x, const float* origin, const float* g, const float* eps,
                const float* step_size, float* y) {
  for (int64_t row = blockIdx.x; row < step.rows; row += gridDim.x) {
    const float reach = eps[row], move = step_size[row] * step.direction;
    const int64_t begin = row * step.cols, end = begin + step.cols;
    for (int64_t i = begin + kWidth * static_cast<int64_t>(threadIdx.x); i < end; i += kWidth * kThreads) {
      if constexpr (kWidth == 4) {
        const float4 at = *reinterpret_cast<const float4*>(x + i);
        const float4 from = *reinterpret_cast<const float4*>(origin + i);
        const float4 slope = *reinterpret_cast<const float4*>(g + i);
        float4 to;
        to.x = linf_pixel(step, reach, move, at.x, from.x, slope.x);
        to.y = linf_pixel(step, reach, move, at.y, from.y, slope.y);
        to.z = linf_pixel(step, reach, move, at.z, from.z, slope.z);
        to.w = linf_pixel(step, reach, move, at.w, from.w, slope.w);
        *reinterpret_cast<float4*>(y + i) = to;
      } else {
        y[i] = linf_pixel(step, reach, move, x[i], origin[i], g[i]);
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    l2_kernel(AttackStep step, const float* x, const float* origin, const float* g, const float* eps,
              const float* step_size, float* y) {
  __shared__ double shared[kWarps];
  for (int64_t row = blockIdx.x; row < step.rows; row += gridDim.x) {
    const int64_t first = row * step.cols + threadIdx.x, end = (row + 1) * step.cols;
    double square = 0.0;
    for (int64_t i = first; i < end; i += kThreads) square += static_cast<double>(g[i]) * g[i];
    square = block_sum<kThreads>(square, shared);
    // A zero gradient has no direction, and neither has one with NaN or infinities: the image stays.
    const bool moves = square > 0.0 && square <= DBL_MAX;
    const double scale = moves ? static_cast<double>(step_size[row] * step.direction) / sqrt(square) : 0.0;
    const auto moved = [&](int64_t i) {
      return moves ? static_cast<float>(x[i] + scale * g[i]) : x[i];
    };
    double length = 0.0;
    for (int64_t i = first; i < end; i += kThreads) {
      const double delta = static_cast<double>(moved(i)) - origin[i];
      length += delta * delta;
    }
    length = sqrt(block_sum<kThreads>(length, shared));
    const double reach = eps[row], shrink = length > reach ? reach / length : 1.0;
    for (int64_t i = first; i < end; i += kThreads) {
      const float to = moved(i);
      const double delta = static_cast<double>(to) - origin[i];
      y[i] = boxed(step, shrink < 1.0 ? static_cast<float>(origin[i] + shrink * delta) : to);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    l1_kernel(AttackStep step, const float* x, const float* g, const float* step_size, float* y) {
  __shared__ float shared[kWarps];
  __shared__ int counts[kWarps];
  for (int64_t row = blockIdx.x; row < step.rows; row += gridDim.x) {
    const int64_t first = row * step.cols + threadIdx.x, end = (row + 1) * step.cols;
    float highest = 0.0f;
    for (int64_t i = first; i < end; i += kThreads) highest = fmaxf(highest, fabsf(g[i]));
    highest = block_max<kThreads>(highest, shared);
    int ties = 0;
    for (int64_t i = first; i < end; i += kThreads) ties += highest > 0.0f && fabsf(g[i]) == highest;
    ties = block_sum<kThreads>(ties, counts);
    const float share = ties > 0 ? step_size[row] * step.direction / static_cast<float>(ties) : 0.0f;
    for (int64_t i = first; i < end; i += kThreads) {
      const bool moves = ties > 0 && fabsf(g[i]) == highest;
      y[i] = boxed(step, moves ? x[i] + copysignf(1.0f, g[i]) * share : x[i]);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    row_stats_kernel(int64_t rows, int64_t cols, const float* x, RowStats* stats) {
  __shared__ double sums[kWarps];
  __shared__ float largest[kWarps];
  __shared__ int counts[kWarps];
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    double square = 0.0, total = 0.0;
    float highest = 0.0f;
    int nans = 0;
    for (int64_t i = row * cols + threadIdx.x; i < (row + 1) * cols; i += kThreads) {
      const float v = fabsf(x[i]);
      if (v != v) {
        ++nans;
        continue;
      }
      highest = fmaxf(highest, v);
      total += v;
      square += static_cast<double>(v) * v;
    }
    square = block_sum<kThreads>(square, sums);
    total = block_sum<kThreads>(total, sums);
    highest = block_max<kThreads>(highest, largest);
    nans = block_sum<kThreads>(nans, counts);
    if (threadIdx.x == 0) {
      stats[row] = {highest, static_cast<float>(sqrt(square)), static_cast<float>(total),
                    static_cast<float>(nans)};
    }
  }
}

}  // namespace

void GpuBackend::attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                             const float* eps, const float* step_size, float* y) {
  const Stream::Op range(stream_, "attack_step");
  if (step.cols == 0) return;
  const Staged<float> all_eps(stream_, eps, step.rows), step_sizes(stream_, step_size, step.rows);
  const float *const reach = all_eps.data(), *const move = step_sizes.data();
  const dim3 grid = grid_for(step.rows, 1);
  switch (step.norm) {
    case Norm::linf: {
      const bool fours = step.cols % 4 == 0 && is_aligned16(x, origin, g, y);
      return launch("attack_step", fours ? linf_kernel<4> : linf_kernel<1>, grid, kThreads, 0, stream_, step,
                    x, origin, g, reach, move, y);
    }
    case Norm::l2:
      return launch("attack_step", l2_kernel, grid, kThreads, 0, stream_, step, x, origin, g, reach, move, y);
    case Norm::l1:
      return launch("attack_step", l1_kernel, grid, kThreads, 0, stream_, step, x, g, move, y);
  }
}

void GpuBackend::row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) {
  const Stream::Op range(stream_, "row_stats");
  const Scratch<RowStats> results(stream_, rows);
  launch("row_stats", row_stats_kernel, grid_for(rows, 1), kThreads, 0, stream_, rows, cols, x,
         results.data());
  stream_.download(stats, results.data(), static_cast<size_t>(rows) * sizeof(RowStats));
}

}  // namespace caltrop::CALTROP_WORLD
