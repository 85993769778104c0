// The gradients of a convolution block's weights and bias from that of its pooled output:
//   dw[tap, o] = sum over live windows of event * x[place of the winner + tap],   dbias[o] = sum of events.
//
// The windows of all images, in order, are cut into chunks whose number the sizes alone decide; each block
// sums one chunk in a fixed order, and a second kernel adds the chunks.
//
//   few taps    lanes are output channels: each gathers the taps under its own winner, 9 at a time, four
//               windows ahead, since only loads take time here
//   many taps   lanes are taps: a warp takes one output channel and reads runs of the image under its winners

#include "kernels/conv_block_windows.cuh"
#include "kernels/gpu_backend.h"
#include "kernels/partial_sums.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

// What both kernels need beside the shape.
struct Chunks {
  int64_t windows;  // of all images
  int64_t chunk;    // of one block
  int taps;         // kh kw cin
  FastDivide by_out, by_out_w;
};

// A window of an image: its outputs begin at (y, x).
struct Window {
  int64_t image;
  int y, x;
  __device__ Window(const WindowShape& s, const Chunks& c, int64_t index, int64_t image_of_chunk,
                    int64_t first_of_image) {
    const auto in_chunk = static_cast<uint32_t>(index - first_of_image);
    const uint32_t n = c.by_out.quotient(in_chunk), at = c.by_out.rest(in_chunk, n);
    const uint32_t oy = c.by_out_w.quotient(at);
    image = image_of_chunk + n;
    y = static_cast<int>(oy) * s.pool_h;
    x = static_cast<int>(c.by_out_w.rest(at, oy)) * s.pool_w;
  }
};

// Where the window of the convolution at the winner begins: in the image, which may be outside by the
// padding.
struct Corner {
  int y, x;
  __device__ Corner(const WindowShape& s, const Window& window, uint32_t winner) {
    const uint32_t down = s.by_pool_w.quotient(winner);
    y = (window.y + static_cast<int>(down)) * s.conv.stride_h - s.conv.pad_h;
    x = (window.x + static_cast<int>(s.by_pool_w.rest(winner, down))) * s.conv.stride_w - s.conv.pad_w;
  }
};

// kCount taps of a filter, every `step`-th from `first` on, and where their pixels lie from the corner of a window.
template <int kCount>
struct Taps {
  int offset[kCount], ky[kCount], kx[kCount];
  bool padded;

  __device__ Taps(const ConvShape& conv, int taps, int first, int step)
      : padded(conv.pad_h > 0 || conv.pad_w > 0) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int next = first + i * step, tap = next < taps ? next : taps - 1;  // the last again: not stored
      ky[i] = tap / conv.cin / conv.kw;
      kx[i] = tap / conv.cin % conv.kw;
      offset[i] = (ky[i] * conv.w + kx[i]) * conv.cin + tap % conv.cin;
    }
  }

  // Adds `gradient` times the pixel of each tap to its sum.
  template <int kSums>
  __device__ void add(const ConvShape& conv, const float* x, int64_t image, const Corner& corner,
                      float gradient, float (&sums)[kSums]) const {
    const float* from =
        x + ((image * conv.h + corner.y) * conv.w + corner.x) * static_cast<int64_t>(conv.cin);
#pragma unroll
    for (int t = 0; t < kCount; ++t) {
      const int y = corner.y + ky[t], at_x = corner.x + kx[t];
      const bool inside = !padded || (y >= 0 && y < conv.h && at_x >= 0 && at_x < conv.w);
      sums[t] = fmaf(gradient, inside ? from[offset[t]] : 0.0f, sums[t]);
    }
  }
};

constexpr int kTaps = 9, kAhead = 4;

__global__ void __launch_bounds__(kThreads)
    dweight_few_kernel(WindowShape s, Chunks c, const float* x, Events events, float* dw, float* dbias) {
  __shared__ float shared[kWarps][kTaps + 1][kWarp];
  const ConvShape& conv = s.conv;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int o = static_cast<int>(blockIdx.x) * kWarp + lane;
  const int first_tap = static_cast<int>(blockIdx.z) * kTaps;
  const Taps<kTaps> taps(conv, c.taps, first_tap, 1);
  float sums[kTaps + 1] = {};
  const int64_t begin = blockIdx.y * c.chunk, windows_of_image = s.out_h * s.out_w;
  const int64_t end = begin + c.chunk < c.windows ? begin + c.chunk : c.windows;
  const int64_t image = begin / windows_of_image, first_of_image = image * windows_of_image;
  for (int64_t first = begin + warp * kAhead; first < end; first += kWarps * kAhead) {
    float scaled[kAhead];
    int winner[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const bool inside = first + i < end && o < conv.cout;
      const int64_t at = inside ? (first + i) * conv.cout + o : 0;
      winner[i] = inside ? events.winner[at] : kDead;
      scaled[i] = inside ? events.scaled(at) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (winner[i] == kDead) continue;
      const Window window(s, c, first + i, image, first_of_image);
      const Corner corner(s, window, static_cast<uint32_t>(winner[i]));
      taps.add(conv, x, window.image, corner, scaled[i], sums);
      sums[kTaps] += scaled[i];
    }
  }
#pragma unroll
  for (int t = 0; t <= kTaps; ++t) shared[warp][t][lane] = sums[t];
  __syncthreads();
  for (int t = warp; t <= kTaps; t += kWarps) {
    float sum = shared[0][t][lane];
    for (int other = 1; other < kWarps; ++other) sum += shared[other][t][lane];
    if (o >= conv.cout) continue;
    if (t < kTaps && first_tap + t < c.taps)
      dw[(static_cast<int64_t>(blockIdx.y) * c.taps + first_tap + t) * conv.cout + o] = sum;
    if (t == kTaps && dbias && blockIdx.z == 0) dbias[static_cast<int64_t>(blockIdx.y) * conv.cout + o] = sum;
  }
}

constexpr int kLaneTaps = 6;

__global__ void __launch_bounds__(kThreads)
    dweight_many_kernel(WindowShape s, Chunks c, const float* x, Events events, float* dw, float* dbias) {
  const ConvShape& conv = s.conv;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int o = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (o >= conv.cout) return;
  const int first_tap = static_cast<int>(blockIdx.z) * kWarp * kLaneTaps + lane;
  const Taps<kLaneTaps> taps(conv, c.taps, first_tap, kWarp);
  float sums[kLaneTaps] = {}, bias = 0.0f;
  const int64_t begin = blockIdx.y * c.chunk, windows_of_image = s.out_h * s.out_w;
  const int64_t end = begin + c.chunk < c.windows ? begin + c.chunk : c.windows;
  const int64_t image = begin / windows_of_image, first_of_image = image * windows_of_image;
  for (int64_t first = begin; first < end; first += kWarp) {
    const bool inside = first + lane < end;
    const int64_t at = inside ? (first + lane) * conv.cout + o : 0;
    const int winner = inside ? events.winner[at] : kDead;
    const float scaled = winner == kDead ? 0.0f : events.scaled(at);
    bias += scaled;
    for (unsigned live = __ballot_sync(kFullMask, winner != kDead); live != 0; live &= live - 1) {
      const int next = __ffs(static_cast<int>(live)) - 1;
      const float each = __shfl_sync(kFullMask, scaled, next);
      const Window window(s, c, first + next, image, first_of_image);
      const Corner corner(s, window, static_cast<uint32_t>(__shfl_sync(kFullMask, winner, next)));
      taps.add(conv, x, window.image, corner, each, sums);
    }
  }
#pragma unroll
  for (int t = 0; t < kLaneTaps; ++t) {
    const int tap = first_tap + t * kWarp;
    if (tap < c.taps) dw[(static_cast<int64_t>(blockIdx.y) * c.taps + tap) * conv.cout + o] = sums[t];
  }
  bias = warp_sum(bias);
  if (dbias && blockIdx.z == 0 && lane == 0) dbias[static_cast<int64_t>(blockIdx.y) * conv.cout + o] = bias;
}

}  // namespace

void GpuBackend::conv_block_dweight(const ConvBlock& b, const float* x, const float* g, const uint8_t* winner,
                                    const float* slope, float* dw, float* dbias) {
  const Stream::Op range(stream_, "conv_block_dweight");
  const Conv2d& s = b.conv;
  const int64_t taps = s.kh * s.kw * s.cin, windows_of_image = b.out_h() * b.out_w();
  const int64_t windows = s.n * windows_of_image, count = taps * s.cout;
  if (s.cout == 0) return;
  if (windows == 0 || taps == 0) {
    // Without taps there is still a bias, but no image to tell the windows apart: callers have cin > 0.
    fill(0.0f, dw, count);
    if (dbias) fill(0.0f, dbias, s.cout);
    return;
  }
  constexpr int64_t kFewTaps = 36, kBlocks = 264, kShortest = 64;
  const bool few = taps <= kFewTaps;
  const int64_t outputs = few ? kWarp : kWarps, at_once = few ? kTaps : kWarp * kLaneTaps;
  const int64_t across = (s.cout + outputs - 1) / outputs, along = (taps + at_once - 1) / at_once;
  const int64_t most = (kBlocks + across * along - 1) / (across * along);
  int64_t chunk = ((windows + most - 1) / most + kWarp - 1) / kWarp * kWarp;
  if (chunk < kShortest) chunk = kShortest;
  const int64_t chunks = (windows + chunk - 1) / chunk;

  const Chunks c{windows, chunk, static_cast<int>(taps), FastDivide(windows_of_image), FastDivide(b.out_w())};
  const Scratch<float> partial(stream_, chunks * count), partial_bias(stream_, dbias ? chunks * s.cout : 0);
  launch("conv_block_dweight", few ? dweight_few_kernel : dweight_many_kernel,
         dim3(static_cast<unsigned>(across), static_cast<unsigned>(chunks), static_cast<unsigned>(along)),
         kThreads, 0, stream_, WindowShape(b), c, x, Events{g, winner, slope}, partial.data(),
         dbias ? partial_bias.data() : nullptr);
  add_partial_sums(stream_, "conv_block_dweight", chunks, count, s.cout, partial.data(), {}, dw);
  if (dbias)
    add_partial_sums(stream_, "conv_block_dweight", chunks, s.cout, s.cout, partial_bias.data(), {}, dbias);
}

}  // namespace caltrop::CALTROP_WORLD
