// Batch norm over the rows of a (rows, channels) array, and its gradient.
//
// All four passes over memory cut the array in one way: a block of threads takes up to 64 neighbouring channels, one
// thread to a channel and a share of the rows, so that a warp reads neighbours and no index is divided in the loop.
// A thread keeps its 16 values in registers: the moments of a part of the array, its mean and then the deviations
// from it, take one read. Parts are merged in double by a warp for each channel, in an order that follows from the
// sizes alone (Chan, Golub and LeVeque 1983). No atomics.

#include "kernels/gpu.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256, kSteps = 16;
constexpr int64_t kMostColumns = 64;

// How an array is cut: into parts of `part_rows` rows by tiles of `columns` channels.
struct Cut {
  int64_t rows, channels, part_rows = 0, parts = 0, tiles = 0;
  int columns = 1, shares = 1;  // threads that share a channel

  explicit Cut(const BatchNorm& shape) : rows(shape.rows), channels(shape.channels) {
    if (channels == 0) return;
    tiles = (channels - 1) / kMostColumns + 1;
    columns = static_cast<int>((channels - 1) / tiles + 1);
    shares = kThreads / columns;
    part_rows = shares * kSteps;
    parts = (rows + part_rows - 1) / part_rows;
  }
  dim3 grid() const { return grid_for(parts * tiles, 1); }

  __device__ int64_t rows_of(int64_t part) const {
    const int64_t left = rows - part * part_rows;
    return left < part_rows ? left : part_rows;
  }
};

// What a thread works on: every `shares`th row of a part, of one channel.
struct Place {
  int64_t part, channel;
  int64_t first, distance;  // where in the array its first row stands, and how far it is to the next
  int column, share, steps;
  bool works;  // else the thread has no channel

  __device__ Place(const Cut& cut, int64_t i) {
    part = i / cut.tiles;
    share = static_cast<int>(threadIdx.x) / cut.columns;
    column = static_cast<int>(threadIdx.x) - share * cut.columns;
    channel = (i - part * cut.tiles) * cut.columns + column;
    works = share < cut.shares && channel < cut.channels;
    const int left = static_cast<int>(cut.rows_of(part)) - share;
    steps = works && left > 0 ? (left - 1) / cut.shares + 1 : 0;
    first = (part * cut.part_rows + share) * cut.channels + channel;
    distance = cut.shares * cut.channels;
  }
  // body(step, position in the array) for the rows of the thread.
  template <typename Body>
  __device__ void for_rows(const Body& body) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (step < steps) body(step, first + step * distance);
    }
  }
};

// The sums over the threads of a block that share a channel; each of them gets them.
__device__ float2 share_sum(const Cut& cut, const Place& place, float2 value, float2* shared) {
  __syncthreads();  // the sums before have been read
  shared[threadIdx.x] = value;
  for (int left = cut.shares; left > 1;) {
    const int half = (left + 1) / 2;
    __syncthreads();
    if (place.share + half < left) {
      const float2 other = shared[static_cast<int>(threadIdx.x) + half * cut.columns];
      shared[threadIdx.x].x += other.x;
      shared[threadIdx.x].y += other.y;
    }
    left = half;
  }
  __syncthreads();
  return shared[place.column];
}

// Mean and sum of squared deviations of each part; `moments` is (channels, parts).
__global__ void __launch_bounds__(kThreads) moments_kernel(Cut cut, const float* x, double2* moments) {
  __shared__ float2 shared[kThreads];
  for (int64_t i = blockIdx.x; i < cut.parts * cut.tiles; i += gridDim.x) {
    const Place place(cut, i);
    float value[kSteps] = {};
    float sum = 0.0f, square = 0.0f;
    place.for_rows([&](int step, int64_t at) {
      value[step] = x[at];
      sum += value[step];
    });
    const auto rows = static_cast<double>(cut.rows_of(place.part));
    const auto shift =
        static_cast<float>(static_cast<double>(share_sum(cut, place, {sum, 0.0f}, shared).x) / rows);
    sum = 0.0f;
    place.for_rows([&](int step, int64_t) {
      const float d = value[step] - shift;
      sum += d;
      square = fmaf(d, d, square);
    });
    const float2 all = share_sum(cut, place, {sum, square}, shared);
    if (place.works && place.share == 0) {
      // The shift is the mean but for its rounding, which is taken off here.
      const auto off = static_cast<double>(all.x);
      const double least = static_cast<double>(all.y) - off * off / rows;
      moments[place.channel * cut.parts + place.part] = {static_cast<double>(shift) + off / rows,
                                                         least < 0.0 ? 0.0 : least};  // NaN stays
    }
  }
}

__device__ double inverse_deviation(float variance, float epsilon) {
  return 1.0 / sqrt(static_cast<double>(variance) + static_cast<double>(epsilon));
}

// body(channel, lane) by a warp for each channel.
template <typename Body>
__device__ void for_channels(const Cut& cut, const Body& body) {
  for (int64_t channel = first_index() / kWarp; channel < cut.channels; channel += index_step() / kWarp) {
    body(channel, static_cast<int>(threadIdx.x) % kWarp);
  }
}

__global__ void merge_moments_kernel(Cut cut, float epsilon, const double2* moments, const float* weight,
                                     float* mean, float* variance, float* scale) {
  for_channels(cut, [&](int64_t channel, int lane) {
    const double2* of = moments + channel * cut.parts;
    double sum = 0.0, square = 0.0;
    for (int64_t part = lane; part < cut.parts; part += kWarp)
      sum += static_cast<double>(cut.rows_of(part)) * of[part].x;
    const double center = warp_sum(sum) / static_cast<double>(cut.rows);
    for (int64_t part = lane; part < cut.parts; part += kWarp) {
      const double off = of[part].x - center;
      square += of[part].y + static_cast<double>(cut.rows_of(part)) * off * off;
    }
    const auto spread = static_cast<float>(warp_sum(square) / static_cast<double>(cut.rows));
    if (lane == 0) {
      mean[channel] = static_cast<float>(center);
      variance[channel] = spread;
      scale[channel] =
          static_cast<float>(static_cast<double>(weight[channel]) * inverse_deviation(spread, epsilon));
    }
  });
}

__global__ void __launch_bounds__(kThreads)
    normalize_kernel(Cut cut, bool relu, const float* x, const float* mean, const float* scale,
                     const float* bias, const float* residual, float* y) {
  for (int64_t i = blockIdx.x; i < cut.parts * cut.tiles; i += gridDim.x) {
    const Place place(cut, i);
    if (!place.works) continue;
    const float center = mean[place.channel], factor = scale[place.channel], offset = bias[place.channel];
    place.for_rows([&](int, int64_t at) {
      float value = fmaf(x[at] - center, factor, offset);
      if (residual) value += residual[at];
      y[at] = relu && value < 0.0f ? 0.0f : value;  // NaN stays
    });
  }
}

// The gradient that arrives under an activation: g, where y is given only where that is above 0.
__device__ float passed(const float* g, const float* y, int64_t at) {
  return y && !(y[at] > 0.0f) ? 0.0f : g[at];
}

// Sums of g and of g (x - mean) over each part; `sums` is (channels, parts). `kept`, where it is not null, gets g as it
// passed relu.
__global__ void __launch_bounds__(kThreads)
    products_kernel(Cut cut, const float* x, const float* mean, const float* y, const float* g, float* kept,
                    float2* sums) {
  __shared__ float2 shared[kThreads];
  for (int64_t i = blockIdx.x; i < cut.parts * cut.tiles; i += gridDim.x) {
    const Place place(cut, i);
    const float center = place.works ? mean[place.channel] : 0.0f;
    float2 sum = {0.0f, 0.0f};
    place.for_rows([&](int, int64_t at) {
      const float slope = passed(g, y, at);
      if (kept) kept[at] = slope;
      sum.x += slope;
      sum.y = fmaf(slope, x[at] - center, sum.y);
    });
    sum = share_sum(cut, place, sum, shared);
    if (place.works && place.share == 0) sums[place.channel * cut.parts + place.part] = sum;
  }
}

// What dx needs of a channel: dx = scale ((g - mean_g) - (x - mean) slope).
struct Pull {
  float scale, mean_g, slope;
};

__global__ void merge_products_kernel(Cut cut, float epsilon, const float2* sums, const float* variance,
                                      const float* weight, float* dweight, float* dbias, Pull* pull) {
  for_channels(cut, [&](int64_t channel, int lane) {
    const float2* of = sums + channel * cut.parts;
    double sum = 0.0, product = 0.0;
    for (int64_t part = lane; part < cut.parts; part += kWarp) {
      sum += static_cast<double>(of[part].x);
      product += static_cast<double>(of[part].y);
    }
    sum = warp_sum(sum);
    product = warp_sum(product);
    if (lane == 0) {
      const double inverse = inverse_deviation(variance[channel], epsilon);
      const auto rows = static_cast<double>(cut.rows);
      if (dbias) dbias[channel] = static_cast<float>(sum);
      if (dweight) dweight[channel] = static_cast<float>(product * inverse);
      pull[channel] = {static_cast<float>(static_cast<double>(weight[channel]) * inverse),
                       static_cast<float>(sum / rows),
                       static_cast<float>(product * inverse * inverse / rows)};
    }
  });
}

__global__ void __launch_bounds__(kThreads)
    pull_kernel(Cut cut, const float* x, const float* mean, const float* y, const float* g, const Pull* pull,
                float* dx) {
  for (int64_t i = blockIdx.x; i < cut.parts * cut.tiles; i += gridDim.x) {
    const Place place(cut, i);
    if (!place.works) continue;
    const float center = mean[place.channel];
    const Pull p = pull[place.channel];
    place.for_rows([&](int, int64_t at) {
      dx[at] = p.scale * fmaf(center - x[at], p.slope, passed(g, y, at) - p.mean_g);
    });
  }
}

}  // namespace

void GpuBackend::batch_norm(const BatchNorm& shape, const float* x, const float* weight, const float* bias,
                            const float* residual, float* y, float* mean, float* variance) {
  const Stream::Op range(stream_, "batch_norm");
  const Cut cut(shape);
  const Scratch<double2> moments(stream_, cut.channels * cut.parts);
  const Scratch<float> scale(stream_, cut.channels);
  launch("batch_norm", moments_kernel, cut.grid(), kThreads, 0, stream_, cut, x, moments.data());
  launch("batch_norm", merge_moments_kernel, grid_for(cut.channels * kWarp, kThreads), kThreads, 0, stream_,
         cut, shape.epsilon, moments.data(), weight, mean, variance, scale.data());
  launch("batch_norm", normalize_kernel, cut.grid(), kThreads, 0, stream_, cut,
         shape.activation == Activation::relu, x, mean, scale.data(), bias, residual, y);
}

void GpuBackend::batch_norm_backward(const BatchNorm& shape, const float* x, const float* mean,
                                     const float* variance, const float* weight, const float* y,
                                     const float* g, float* dx, float* dweight, float* dbias,
                                     float* dresidual) {
  const Stream::Op range(stream_, "batch_norm_backward");
  const Cut cut(shape);
  const Scratch<float2> sums(stream_, cut.channels * cut.parts);
  const Scratch<Pull> pull(stream_, cut.channels);
  const float* passes = shape.activation == Activation::relu ? y : nullptr;
  launch("batch_norm_backward", products_kernel, cut.grid(), kThreads, 0, stream_, cut, x, mean, passes, g,
         dresidual, sums.data());
  launch("batch_norm_backward", merge_products_kernel, grid_for(cut.channels * kWarp, kThreads), kThreads, 0,
         stream_, cut, shape.epsilon, sums.data(), variance, weight, dweight, dbias, pull.data());
  if (dx) {
    launch("batch_norm_backward", pull_kernel, cut.grid(), kThreads, 0, stream_, cut, x, mean, passes, g,
           pull.data(), dx);
  }
}

}  // namespace caltrop::CALTROP_WORLD
