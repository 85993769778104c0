// Max, rank and average pooling of any window and stride, and their adjoints, on NHWC images: x (n,h,w,c) to
// y (n,out_h,out_w,c).
//
// One thread for each element of the output, channels fastest, so that a warp reads neighbouring floats. The
// adjoints gather: an element of dx visits the windows that cover it, in scan order. That is the order in
// which a loop over windows would add to it, and needs no atomics where windows overlap. All are bound by
// memory; indices are 32 bits wide where the sizes allow, since a 64-bit division costs more than the rest.

#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;

// The shape in the width of indices that the kernel computes with.
template <typename Index>
struct Windows {
  Index h, w, c, kh, kw, stride_h, stride_w, out_h, out_w;
  explicit Windows(const Pool2d& s)
      : h(static_cast<Index>(s.h)),
        w(static_cast<Index>(s.w)),
        c(static_cast<Index>(s.c)),
        kh(static_cast<Index>(s.kh)),
        kw(static_cast<Index>(s.kw)),
        stride_h(static_cast<Index>(s.stride_h)),
        stride_w(static_cast<Index>(s.stride_w)),
        out_h(static_cast<Index>(s.out_h())),
        out_w(static_cast<Index>(s.out_w())) {}
};

// Element i of an (n, rows, columns, channels) array.
template <typename Index>
struct Place {
  Index n, row, column, channel;
  __device__ Place(Index i, Index rows, Index columns, Index channels) {
    channel = i % channels;
    i /= channels;
    column = i % columns;
    i /= columns;
    row = i % rows;
    n = i / rows;
  }
};

// Calls body(index of the window's element of y) for the windows that cover place p of x, in scan order.
template <typename Index, typename Body>
__device__ void for_covering(const Windows<Index>& s, const Place<Index>& p, const Body& body) {
  const Index first_row = p.row < s.kh ? 0 : (p.row - s.kh) / s.stride_h + 1;
  const Index first_column = p.column < s.kw ? 0 : (p.column - s.kw) / s.stride_w + 1;
  for (Index oy = first_row; oy < s.out_h && oy * s.stride_h <= p.row; ++oy) {
    for (Index ox = first_column; ox < s.out_w && ox * s.stride_w <= p.column; ++ox)
      body(((p.n * s.out_h + oy) * s.out_w + ox) * s.c + p.channel);
  }
}

// Where the window of place p of y begins in x.
template <typename Index>
__device__ Index corner(const Windows<Index>& s, const Place<Index>& p) {
  return ((p.n * s.h + p.row * s.stride_h) * s.w + p.column * s.stride_w) * s.c + p.channel;
}

template <typename Index>
__global__ void maxpool_kernel(Windows<Index> s, const float* x, float* y, int32_t* index, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const Place<Index> p(static_cast<Index>(i), s.out_h, s.out_w, s.c);
    const float* from = x + corner(s, p);
    float best = from[0];
    Index best_at = 0;
    for (Index ky = 0; ky < s.kh; ++ky) {
      for (Index kx = 0; kx < s.kw; ++kx) {
        const Index at = ky * s.w + kx;
        const float candidate = from[at * s.c];
        if (is_larger(candidate, best)) {
          best = candidate;
          best_at = at;
        }
      }
    }
    y[i] = best;
    index[i] = static_cast<int32_t>(p.row * s.stride_h * s.w + p.column * s.stride_w + best_at);
  }
}

// The chosen element has so many before it: smaller ones, and equal ones earlier in the scan. Each thread counts, for
// its window comes from the cache again.
template <typename Index>
__global__ void rankpool_kernel(Windows<Index> s, Index rank, const float* x, float* y, int32_t* index,
                                int64_t count) {
  const Index window = s.kh * s.kw;
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const Place<Index> p(static_cast<Index>(i), s.out_h, s.out_w, s.c);
    const float* from = x + corner(s, p);
    Index chosen = 0;
    for (Index a = 0; a < window; ++a) {
      const Index at = a / s.kw * s.w + a % s.kw;
      const float candidate = from[at * s.c];
      Index before = 0;
      for (Index b = 0; b < window; ++b) {
        const float other = from[(b / s.kw * s.w + b % s.kw) * s.c];
        if (other < candidate || (b < a && other == candidate)) ++before;
      }
      if (before == rank) chosen = at;
      if (candidate != candidate) {  // NaN: the first of the window
        chosen = at;
        break;
      }
    }
    y[i] = from[chosen * s.c];
    index[i] = static_cast<int32_t>(p.row * s.stride_h * s.w + p.column * s.stride_w + chosen);
  }
}

template <typename Index>
__global__ void scatter_kernel(Windows<Index> s, const float* g, const int32_t* index, float* dx,
                               int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const Place<Index> p(static_cast<Index>(i), s.h, s.w, s.c);
    const auto position = static_cast<int32_t>(p.row * s.w + p.column);
    float sum = 0.0f;
    for_covering(s, p, [&](Index window) {
      if (index[window] == position) sum += g[window];
    });
    dx[i] = sum;
  }
}

template <typename Index>
__global__ void gather_kernel(Windows<Index> s, const float* x, const int32_t* index, float* y,
                              int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const Place<Index> p(static_cast<Index>(i), s.out_h, s.out_w, s.c);
    y[i] = x[(p.n * s.h * s.w + static_cast<Index>(index[i])) * s.c + p.channel];
  }
}

template <typename Index>
__global__ void average_kernel(Windows<Index> s, float scale, const float* x, float* y, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const float* from = x + corner(s, Place<Index>(static_cast<Index>(i), s.out_h, s.out_w, s.c));
    float sum = 0.0f;
    for (Index ky = 0; ky < s.kh; ++ky) {
      for (Index kx = 0; kx < s.kw; ++kx) sum += from[(ky * s.w + kx) * s.c];
    }
    y[i] = sum * scale;
  }
}

template <typename Index>
__global__ void average_adjoint_kernel(Windows<Index> s, float scale, const float* g, float* dx,
                                       int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const Place<Index> p(static_cast<Index>(i), s.h, s.w, s.c);
    float sum = 0.0f;
    for_covering(s, p, [&](Index window) { sum += g[window] * scale; });
    dx[i] = sum;
  }
}

int64_t image_count(const Pool2d& s) {
  return s.n * s.h * s.w * s.c;
}
int64_t output_count(const Pool2d& s) {
  return s.n * s.out_h() * s.out_w() * s.c;
}
float scale_of(const Pool2d& s) {
  return 1.0f / static_cast<float>(s.kh * s.kw);
}

// Whether no index, nor one step beyond the last, leaves 32 bits.
bool is_small(const Pool2d& s) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const int64_t margin = (s.h + s.stride_h) * (s.w + s.stride_w);
  return image_count(s) < kMost && output_count(s) < kMost && margin < kMost && s.kh < kMost && s.kw < kMost;
}

}  // namespace

void GpuBackend::maxpool(const Pool2d& s, const float* x, float* y, int32_t* index) {
  const Stream::Op range(stream_, "maxpool");
  const int64_t count = output_count(s);
  const auto run = [&]<typename Index>(Index) {
    launch("maxpool", maxpool_kernel<Index>, grid_for(count, kThreads), kThreads, 0, stream_,
           Windows<Index>(s), x, y, index, count);
  };
  is_small(s) ? run(uint32_t{}) : run(uint64_t{});
}

void GpuBackend::rankpool(const Pool2d& s, int64_t rank, const float* x, float* y, int32_t* index) {
  const Stream::Op range(stream_, "rankpool");
  const int64_t count = output_count(s);
  const auto run = [&]<typename Index>(Index) {
    launch("rankpool", rankpool_kernel<Index>, grid_for(count, kThreads), kThreads, 0, stream_,
           Windows<Index>(s), static_cast<Index>(rank), x, y, index, count);
  };
  is_small(s) ? run(uint32_t{}) : run(uint64_t{});
}

void GpuBackend::maxpool_scatter(const Pool2d& s, const float* g, const int32_t* index, float* dx) {
  const Stream::Op range(stream_, "maxpool_scatter");
  const int64_t count = image_count(s);
  const auto run = [&]<typename Index>(Index) {
    launch("maxpool_scatter", scatter_kernel<Index>, grid_for(count, kThreads), kThreads, 0, stream_,
           Windows<Index>(s), g, index, dx, count);
  };
  is_small(s) ? run(uint32_t{}) : run(uint64_t{});
}

void GpuBackend::maxpool_gather(const Pool2d& s, const float* x, const int32_t* index, float* y) {
  const Stream::Op range(stream_, "maxpool_gather");
  const int64_t count = output_count(s);
  const auto run = [&]<typename Index>(Index) {
    launch("maxpool_gather", gather_kernel<Index>, grid_for(count, kThreads), kThreads, 0, stream_,
           Windows<Index>(s), x, index, y, count);
  };
  is_small(s) ? run(uint32_t{}) : run(uint64_t{});
}

void GpuBackend::avgpool(const Pool2d& s, const float* x, float* y) {
  const Stream::Op range(stream_, "avgpool");
  const int64_t count = output_count(s);
  const auto run = [&]<typename Index>(Index) {
    launch("avgpool", average_kernel<Index>, grid_for(count, kThreads), kThreads, 0, stream_,
           Windows<Index>(s), scale_of(s), x, y, count);
  };
  is_small(s) ? run(uint32_t{}) : run(uint64_t{});
}

void GpuBackend::avgpool_adjoint(const Pool2d& s, const float* g, float* dx) {
  const Stream::Op range(stream_, "avgpool_adjoint");
  const int64_t count = image_count(s);
  const auto run = [&]<typename Index>(Index) {
    launch("avgpool_adjoint", average_adjoint_kernel<Index>, grid_for(count, kThreads), kThreads, 0, stream_,
           Windows<Index>(s), scale_of(s), g, dx, count);
  };
  is_small(s) ? run(uint32_t{}) : run(uint64_t{});
}

}  // namespace caltrop::CALTROP_WORLD
