// Convolution and its adjoints with many channels: the products of conv2d_gemm.cu on tensor cores, by the
// split operands of tf32_tile.cuh. Channels come in fours, so that copies are 16 bytes long where arrays are
// aligned; which path a shape takes does not depend on that.
//
// An output that is not finite is summed again with plain multiply-adds: in the split an infinity becomes a
// NaN, and a number near the largest may round to infinity.

#include "kernels/conv2d_paths.cuh"
#include "kernels/conv_patches.cuh"
#include "kernels/partial_sums.cuh"
#include "kernels/tf32_tile.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

using Tile = Tf32Tile;
constexpr int kInRow = Tile::kK / 4;  // copies of 16 bytes in a row of a slice that lies by row
constexpr int kInK = Tile::kM / 4;    // and by k

// y or x of a pixel's image that tap position `k` looks at; negative where it looks at none.
template <bool kAdjoint>
__device__ int looked_at(int from, int k, const FastDivide& by_stride) {
  if (!kAdjoint) return from + k;
  const int at = from - k;
  if (at < 0) return -1;
  const uint32_t quotient = by_stride.quotient(static_cast<uint32_t>(at));
  return by_stride.rest(static_cast<uint32_t>(at), quotient) == 0 ? static_cast<int>(quotient) : -1;
}

// Slices of patches, by row: a thread copies 4 channels of the same tap for two pixels.
template <bool kAdjoint>
__device__ void copy_patches(const Patches& p, const PixelTable<Tile::kM>& table, bool vectors, float* slice,
                             int number) {
  const int thread = static_cast<int>(threadIdx.x), column = thread % kInRow * 4;
  const auto k = static_cast<uint32_t>(number * Tile::kK + column);
  const uint32_t tap = p.by_channels.quotient(k), channel = p.by_channels.rest(k, tap);
  const auto ky = static_cast<int>(p.by_kw.quotient(tap));
  const auto kx = static_cast<int>(p.by_kw.rest(tap, static_cast<uint32_t>(ky)));
#pragma unroll
  for (int row = thread / kInRow; row < Tile::kM; row += Tile::kThreads / kInRow) {
    const int y = looked_at<kAdjoint>(table.y[row], ky, p.by_stride_h);
    const int x = looked_at<kAdjoint>(table.x[row], kx, p.by_stride_w);
    const bool inside = k < p.depth && y >= 0 && y < p.from_h && x >= 0 && x < p.from_w;
    const int64_t at =
        inside ? table.image[row] + (static_cast<int64_t>(y) * p.from_w + x) * p.channels + channel : 0;
    copy_four(slice + tf32_index<Lies::by_row>(row, column), p.data + at, inside ? 4 : 0, vectors);
  }
}

// Slices of a dense matrix (depth, columns), by k.
__device__ void copy_rows(const float* data, int64_t begin, int64_t depth, int64_t first, int64_t columns,
                          bool vectors, float* slice, int number) {
  const int thread = static_cast<int>(threadIdx.x), column = thread % kInK * 4;
#pragma unroll
  for (int k = thread / kInK; k < Tile::kK; k += Tile::kThreads / kInK) {
    const int64_t row = static_cast<int64_t>(number) * Tile::kK + k;
    const bool inside = row < depth && first + column < columns;  // columns are a multiple of 4
    const int64_t at = inside ? (begin + row) * columns + first + column : 0;
    copy_four(slice + tf32_index<Lies::by_k>(column, k), data + at, inside ? 4 : 0, vectors);
  }
}

// Slices of the weights as the adjoint multiplies them, by row: a row is an input channel.
__device__ void copy_transposed_weights(const TransposedWeights& w, int first, bool vectors, float* slice,
                                        int number) {
  const int thread = static_cast<int>(threadIdx.x), column = thread % kInRow * 4;
  const auto k = static_cast<uint32_t>(number * Tile::kK + column);
  const uint32_t tap = w.by_cout.quotient(k), o = w.by_cout.rest(k, tap);
#pragma unroll
  for (int row = thread / kInRow; row < Tile::kN; row += Tile::kThreads / kInRow) {
    const bool inside = k < w.depth && first + row < w.cin;
    const int64_t at = inside ? (static_cast<int64_t>(tap) * w.cin + first + row) * w.cout + o : 0;
    copy_four(slice + tf32_index<Lies::by_row>(row, column), w.data + at, inside ? 4 : 0, vectors);
  }
}

// Slices of transposed patches, by k: a thread copies 4 channels of one tap for two output pixels.
__device__ void copy_transposed_patches(const TransposedPatches& p, int64_t image, int pixels, int first,
                                        bool vectors, float* slice, int number) {
  const ConvShape& s = p.shape;
  const int thread = static_cast<int>(threadIdx.x), row = thread % kInK * 4;
  const uint32_t tap = p.by_cin.quotient(static_cast<uint32_t>(first + row));
  const uint32_t channel = p.by_cin.rest(static_cast<uint32_t>(first + row), tap);
  const uint32_t ky = p.by_kw.quotient(tap), kx = p.by_kw.rest(tap, ky);
#pragma unroll
  for (int k = thread / kInK; k < Tile::kK; k += Tile::kThreads / kInK) {
    const int pixel = number * Tile::kK + k;
    const uint32_t n = p.by_out.quotient(static_cast<uint32_t>(pixel));
    const uint32_t in_image = p.by_out.rest(static_cast<uint32_t>(pixel), n);
    const uint32_t oy = p.by_out_w.quotient(in_image), ox = p.by_out_w.rest(in_image, oy);
    const int y = static_cast<int>(oy) * s.stride_h - s.pad_h + static_cast<int>(ky);
    const int x = static_cast<int>(ox) * s.stride_w - s.pad_w + static_cast<int>(kx);
    const bool inside =
        static_cast<int>(ky) < s.kh && pixel < pixels && y >= 0 && y < s.h && x >= 0 && x < s.w;
    const int64_t at = inside ? (((image + n) * s.h + y) * s.w + x) * s.cin + channel : 0;
    copy_four(slice + tf32_index<Lies::by_k>(row, k), p.data + at, inside ? 4 : 0, vectors);
  }
}

// Stores the sums; again(row, column) sums one output plainly.
template <typename Again>
__device__ void store(const Tf32Sums& out, int64_t first_m, int64_t first_n, int64_t m, int64_t n, float* y,
                      const Again& again) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t row = first_m + Tf32Sums::row(i, e), column = first_n + Tf32Sums::column(j, e);
        if (row < m && column < n) y[row * n + column] = out.sums[i][j][e];
      }
    }
  }
#pragma unroll 1
  for (int at = 0; at < 32; ++at) {
    const int64_t row = first_m + Tf32Sums::row(at / 16, at % 4);
    const int64_t column = first_n + Tf32Sums::column(at / 4 % 4, at % 4);
    if (row >= m || column >= n) continue;
    float* to = y + row * n + column;
    if (!isfinite(*to)) *to = again(row, column);
  }
}

// weight(k, column) of a product with patches.
template <bool kAdjoint>
__device__ float plain_sum(const Patches& p, const float* w, int64_t pixel, int64_t channel,
                           int64_t channels) {
  const int64_t line = pixel / p.columns, n = line / p.rows;
  const int x = static_cast<int>(pixel - line * p.columns), y = static_cast<int>(line - n * p.rows);
  const int from_y = kAdjoint ? y + p.pad_h : y * p.stride_h - p.pad_h;
  const int from_x = kAdjoint ? x + p.pad_w : x * p.stride_w - p.pad_w;
  const uint32_t taps = p.by_channels.quotient(p.depth);
  float sum = 0.0f;
  for (uint32_t tap = 0; tap < taps; ++tap) {
    const uint32_t ky = p.by_kw.quotient(tap);
    const int iy = looked_at<kAdjoint>(from_y, static_cast<int>(ky), p.by_stride_h);
    const int ix = looked_at<kAdjoint>(from_x, static_cast<int>(p.by_kw.rest(tap, ky)), p.by_stride_w);
    if (iy < 0 || iy >= p.from_h || ix < 0 || ix >= p.from_w) continue;
    const float* from = p.data + ((n * p.from_h + iy) * p.from_w + ix) * p.channels;
    for (int c = 0; c < p.channels; ++c) {
      const int64_t at = kAdjoint ? (tap * channels + channel) * p.channels + c
                                  : (static_cast<int64_t>(tap) * p.channels + c) * channels + channel;
      sum = fmaf(from[c], w[at], sum);
    }
  }
  return sum;
}

template <bool kAdjoint>
__global__ void __launch_bounds__(Tile::kThreads, 3)
    conv_mma_kernel(Patches p, TransposedWeights w, int64_t channels, bool vectors_x, bool vectors_w,
                    float* y) {
  alignas(16) __shared__ float shared[Tile::kShared];
  __shared__ PixelTable<Tile::kM> table;
  const int64_t tiles_n = (channels + Tile::kN - 1) / Tile::kN;
  const int64_t first_m = blockIdx.x / tiles_n * Tile::kM, first_n = blockIdx.x % tiles_n * Tile::kN;
  fill_pixel_table<kAdjoint>(p, first_m, table);
  __syncthreads();
  Tf32Sums sums;
  accumulate<Lies::by_row, kAdjoint ? Lies::by_row : Lies::by_k>(
      shared, static_cast<int>((p.depth + Tile::kK - 1) / Tile::kK),
      [&](float* to, int number) { copy_patches<kAdjoint>(p, table, vectors_x, to, number); },
      [&](float* to, int number) {
        if constexpr (kAdjoint) {
          copy_transposed_weights(w, static_cast<int>(first_n), vectors_w, to, number);
        } else {
          copy_rows(w.data, 0, p.depth, first_n, channels, vectors_w, to, number);
        }
      },
      sums);
  store(sums, first_m, first_n, p.pixels, channels, y, [&](int64_t pixel, int64_t channel) {
    return plain_sum<kAdjoint>(p, w.data, pixel, channel, channels);
  });
}

// One row of d-weight for one output channel, over the pixels of a chunk.
__device__ float plain_dweight(const TransposedPatches& p, const float* g, int64_t image, int64_t images,
                               int64_t row, int64_t o) {
  const ConvShape& s = p.shape;
  const uint32_t tap = p.by_cin.quotient(static_cast<uint32_t>(row));
  const uint32_t channel = p.by_cin.rest(static_cast<uint32_t>(row), tap), ky = p.by_kw.quotient(tap);
  float sum = 0.0f;
  for (int64_t n = image; n < image + images; ++n) {
    for (int oy = 0; oy < s.out_h; ++oy) {
      for (int ox = 0; ox < s.out_w; ++ox) {
        const int y = oy * s.stride_h - s.pad_h + static_cast<int>(ky);
        const int x = ox * s.stride_w - s.pad_w + static_cast<int>(p.by_kw.rest(tap, ky));
        if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
        sum = fmaf(p.data[((n * s.h + y) * s.w + x) * s.cin + channel],
                   g[((n * s.out_h + oy) * s.out_w + ox) * s.cout + o], sum);
      }
    }
  }
  return sum;
}

__global__ void __launch_bounds__(Tile::kThreads, 3)
    dweight_mma_kernel(TransposedPatches p, const float* g, int64_t rows, bool vectors_x, bool vectors_g,
                       float* partial) {
  alignas(16) __shared__ float shared[Tile::kShared];
  const ConvShape& s = p.shape;
  const int64_t tiles_n = (s.cout + Tile::kN - 1) / Tile::kN;
  const int64_t first_m = blockIdx.x / tiles_n * Tile::kM, first_n = blockIdx.x % tiles_n * Tile::kN;
  const int64_t image = blockIdx.y * p.chunk, images = s.n - image < p.chunk ? s.n - image : p.chunk;
  const int out = s.out_h * s.out_w, pixels = static_cast<int>(images) * out;
  Tf32Sums sums;
  accumulate<Lies::by_k, Lies::by_k>(
      shared, (pixels + Tile::kK - 1) / Tile::kK,
      [&](float* to, int number) {
        copy_transposed_patches(p, image, pixels, static_cast<int>(first_m), vectors_x, to, number);
      },
      [&](float* to, int number) {
        copy_rows(g, image * out, pixels, first_n, s.cout, vectors_g, to, number);
      },
      sums);
  store(sums, first_m, first_n, rows, s.cout, partial + blockIdx.y * rows * s.cout,
        [&](int64_t row, int64_t o) { return plain_dweight(p, g, image, images, row, o); });
}

unsigned tiles_of(int64_t m, int64_t n) {
  return static_cast<unsigned>((m + Tile::kM - 1) / Tile::kM * ((n + Tile::kN - 1) / Tile::kN));
}

}  // namespace

void conv2d_mma(Stream& stream, const Conv2d& s, const float* x, const float* w, float* y) {
  const Patches p = patches_of(s, x);
  launch("conv2d", conv_mma_kernel<false>, tiles_of(p.pixels, s.cout), Tile::kThreads, 0, stream, p,
         transposed_weights_of(s, w), s.cout, is_aligned16(x), is_aligned16(w), y);
}

void conv2d_dinput_mma(Stream& stream, const Conv2d& s, const float* g, const float* w, float* dx) {
  const Patches p = adjoint_patches_of(s, g);
  launch("conv2d_dinput", conv_mma_kernel<true>, tiles_of(p.pixels, s.cin), Tile::kThreads, 0, stream, p,
         transposed_weights_of(s, w), s.cin, is_aligned16(g), is_aligned16(w), dx);
}

void conv2d_dweight_mma(Stream& stream, const Conv2d& s, const float* x, const float* g, float* dw) {
  const int64_t rows = s.kh * s.kw * s.cin, count = rows * s.cout;
  const TransposedPatches p = transposed_patches_of(s, x);
  const int64_t chunks = (s.n + p.chunk - 1) / p.chunk;
  const Scratch<float> partial(stream, chunks > 1 ? chunks * count : 0);
  launch("conv2d_dweight", dweight_mma_kernel, dim3(tiles_of(rows, s.cout), static_cast<unsigned>(chunks)),
         Tile::kThreads, 0, stream, p, g, rows, is_aligned16(x), is_aligned16(g),
         chunks > 1 ? partial.data() : dw);
  if (chunks > 1) add_partial_sums(stream, "conv2d_dweight", chunks, count, s.cout, partial.data(), {}, dw);
}

}  // namespace caltrop::CALTROP_WORLD
