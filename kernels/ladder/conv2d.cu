// The ladder of convolutions over NHWC images: any window, stride, zero padding and count of channels.
//   y[n,oy,ox,o] = sum_{ky,kx,i} x[n, oy*stride_h - pad_h + ky, ox*stride_w - pad_w + kx, i] * w[ky,kx,i,o]
//
// Two layers are worth looking at: Target's first, 28x28x1 -> 32 channels, whose output is 27 times its
// input, so that the store is most of the work; and EAT-3's second, 13x13x64 -> 32, with 576 multiply-adds
// for each output, where every value of x is used 288 times and every weight once for each position. Each
// step is about where those repeated uses are served from: global memory, shared memory, registers.
#include "kernels/ladder/ladder.h"

namespace caltrop::CALTROP_WORLD::ladder {
namespace {

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// The layer with what the host works out once: the size of its output.
struct Layer : Conv2d {
  int64_t rows, cols;
};
Layer layer_of(const Conv2d& shape) {
  return {shape, shape.out_h(), shape.out_w()};
}

// The sum of one output, straight from the formula.
__device__ float output_at(const Layer& s, int64_t n, int64_t oy, int64_t ox, int64_t o, const float* x,
                           const float* w) {
  float sum = 0.0f;
  for (int64_t ky = 0; ky < s.kh; ++ky) {
    const int64_t row = oy * s.stride_h - s.pad_h + ky;
    if (row < 0 || row >= s.h) continue;
    for (int64_t kx = 0; kx < s.kw; ++kx) {
      const int64_t col = ox * s.stride_w - s.pad_w + kx;
      if (col < 0 || col >= s.w) continue;
      const float* pixel = x + ((n * s.h + row) * s.w + col) * s.cin;
      const float* filters = w + (ky * s.kw + kx) * s.cin * s.cout + o;
      for (int64_t i = 0; i < s.cin; ++i) sum = fmaf(pixel[i], filters[i * s.cout], sum);
    }
  }
  return sum;
}

// 1. Thread i computes one output, counted along the positions of one channel. The outputs of a warp lie a
// whole pixel (cout floats) apart, so each store touches 32 lines of memory.
__global__ void conv2d_naive(Layer s, const float* x, const float* w, float* y) {
  const int64_t plane = s.rows * s.cols, count = s.n * plane * s.cout;
  for (int64_t index = first_index(); index < count; index += index_step()) {
    const int64_t position = index % plane, o = index / plane % s.cout, n = index / plane / s.cout;
    y[(n * plane + position) * s.cout + o] = output_at(s, n, position / s.cols, position % s.cols, o, x, w);
  }
}

// 2. The same, counted along the channels, as y lies in memory: a warp stores one line and reads one line of
// weights, and its pixel of x is one for all lanes.
__global__ void conv2d_coalesced(Layer s, const float* x, const float* w, float* y) {
  const int64_t plane = s.rows * s.cols, count = s.n * plane * s.cout;
  for (int64_t index = first_index(); index < count; index += index_step()) {
    const int64_t o = index % s.cout, position = index / s.cout % plane, n = index / s.cout / plane;
    y[index] = output_at(s, n, position / s.cols, position % s.cols, o, x, w);
  }
}

// From here on a block has a group of 32 channels, one for each lane, and a few positions. Groups and
// positions lie along blockIdx.x alone, since gridDim.y ends at 65,535.
constexpr int kChannels = 32;

// 3. All positions need the same weights: the block copies them to shared memory, and each serves 8
// positions. The weights of 32 channels may be larger than shared memory (64 x 3 x 3 x 32 floats are 72 KB),
// so they come in slices.
constexpr int kPositions = 8;
constexpr int kSlice = 64;  // of the kh * kw * cin weights of a channel

__global__ void __launch_bounds__(kChannels* kPositions)
    conv2d_shared_weights(Layer s, const float* x, const float* w, float* y) {
  __shared__ float weights[kSlice][kChannels];
  const int64_t groups = ceil_div(s.cout, kChannels);
  const int lane = static_cast<int>(threadIdx.x), slot = static_cast<int>(threadIdx.y);
  const int64_t o = blockIdx.x % groups * kChannels + lane;
  const int64_t position = blockIdx.x / groups * kPositions + slot;  // over all images
  const int64_t n = position / (s.rows * s.cols), oy = position / s.cols % s.rows, ox = position % s.cols;
  const int64_t terms = s.kh * s.kw * s.cin;
  float sum = 0.0f;
  for (int64_t first = 0; first < terms; first += kSlice) {
    for (int t = slot; t < kSlice; t += kPositions)
      weights[t][lane] = first + t < terms && o < s.cout ? w[(first + t) * s.cout + o] : 0.0f;
    __syncthreads();
    // No early return above: every thread of the block comes to both barriers.
    for (int t = 0; t < kSlice && first + t < terms && n < s.n; ++t) {
      const int64_t i = (first + t) % s.cin, tap = (first + t) / s.cin;
      const int64_t row = oy * s.stride_h - s.pad_h + tap / s.kw,
                    col = ox * s.stride_w - s.pad_w + tap % s.kw;
      if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
      sum = fmaf(x[((n * s.h + row) * s.w + col) * s.cin + i], weights[t][lane], sum);
    }
    __syncthreads();
  }
  if (n < s.n && o < s.cout) y[position * s.cout + o] = sum;
}

// 4. Neighbouring windows overlap: 8 x 8 windows of 3 x 3 read 576 pixels, of which 100 differ. The block
// copies the patch of x under its square of outputs to shared memory, a few input channels at a time beside
// their weights, so that both are read from global memory once. Zeros stand for the padding, which takes the
// bounds checks out of the sum.
constexpr int kSide = 8;  // outputs of a block: 8 x 8 positions

// How a block's shared memory is divided; the host fills it in.
struct Patch {
  int64_t height, width;  // of x under the square
  int64_t depth;          // input channels at a time
  int64_t taps;           // kh * kw
  __host__ __device__ int64_t weights() const { return taps * depth * kChannels; }
  __host__ __device__ int64_t pixels() const { return height * width * depth; }
};

// What the block has to compute.
struct Square {
  int64_t n, oy, ox, o;  // image, first row and column of the outputs, first channel
};
__device__ inline Square square_of_block(const Layer& s) {
  const int64_t groups = ceil_div(s.cout, kChannels), across = ceil_div(s.cols, kSide);
  const int64_t down = ceil_div(s.rows, kSide), square = blockIdx.x / groups;
  return {square / across / down, square / across % down * kSide, square % across * kSide,
          blockIdx.x % groups * kChannels};
}

// Copies input channels [first, first + depth) of the patch and of the weights; zeros where there are none.
__device__ inline void load_patch(const Layer& s, const Patch& patch, const Square& square, int64_t first,
                                  const float* x, const float* w, float* weights, float* pixels) {
  const int depth = static_cast<int>(patch.depth), width = static_cast<int>(patch.width);
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  for (int at = thread; at < static_cast<int>(patch.weights()); at += threads) {
    const int o = at % kChannels, i = at / kChannels % depth, tap = at / kChannels / depth;
    const bool inside = first + i < s.cin && square.o + o < s.cout;
    weights[at] = inside ? w[(tap * s.cin + first + i) * s.cout + square.o + o] : 0.0f;
  }
  for (int at = thread; at < static_cast<int>(patch.pixels()); at += threads) {
    const int i = at % depth, px = at / depth % width, py = at / depth / width;
    const int64_t row = square.oy * s.stride_h - s.pad_h + py, col = square.ox * s.stride_w - s.pad_w + px;
    const bool inside = first + i < s.cin && row >= 0 && row < s.h && col >= 0 && col < s.w;
    pixels[at] = inside ? x[((square.n * s.h + row) * s.w + col) * s.cin + first + i] : 0.0f;
  }
}

// A warp has 32 channels and one row of 8 positions, one after the other.
constexpr int kPatchThreads = kChannels * kSide;

__global__ void __launch_bounds__(kPatchThreads)
    conv2d_shared_patch(Layer s, Patch patch, const float* x, const float* w, float* y) {
  float* weights = dynamic_shared<float>();
  float* pixels = weights + patch.weights();
  const Square square = square_of_block(s);
  const int lane = static_cast<int>(threadIdx.x) % kChannels, row = static_cast<int>(threadIdx.x) / kChannels;
  const int depth = static_cast<int>(patch.depth), width = static_cast<int>(patch.width);
  const int kh = static_cast<int>(s.kh), kw = static_cast<int>(s.kw);
  const int stride_h = static_cast<int>(s.stride_h), stride_w = static_cast<int>(s.stride_w);
  float sum[kSide] = {};
  for (int64_t first = 0; first < s.cin; first += depth) {
    load_patch(s, patch, square, first, x, w, weights, pixels);
    __syncthreads();
#pragma unroll
    for (int p = 0; p < kSide; ++p) {  // the same weights are fetched again for every position: see version 5
      for (int ky = 0; ky < kh; ++ky) {
        for (int kx = 0; kx < kw; ++kx) {
          const float* pixel = pixels + ((row * stride_h + ky) * width + p * stride_w + kx) * depth;
          const float* filters = weights + (ky * kw + kx) * depth * kChannels + lane;
          for (int i = 0; i < depth; ++i) sum[p] = fmaf(pixel[i], filters[i * kChannels], sum[p]);
        }
      }
    }
    __syncthreads();
  }
  const int64_t oy = square.oy + row, o = square.o + lane;
#pragma unroll
  for (int p = 0; p < kSide; ++p) {
    const int64_t ox = square.ox + p;
    if (oy < s.rows && ox < s.cols && o < s.cout)
      y[((square.n * s.rows + oy) * s.cols + ox) * s.cout + o] = sum[p];
  }
}

// 5. Version 4 loads two values from shared memory for each multiply-add. Here a thread has 4 positions of a
// row by 4 channels: 8 values in registers serve 16 multiply-adds, and the 4 weights come as one float4.
constexpr int kQuad = 4;
constexpr int kSquareThreads = kSide * kSide / kQuad * kChannels / kQuad;

__global__ void __launch_bounds__(kSquareThreads)
    conv2d_several_outputs(Layer s, Patch patch, const float* x, const float* w, float* y) {
  float* weights = dynamic_shared<float>();
  float* pixels = weights + patch.weights();
  const Square square = square_of_block(s);
  const int thread = static_cast<int>(threadIdx.x), group = thread % (kChannels / kQuad) * kQuad;
  const int column = thread / (kChannels / kQuad) % (kSide / kQuad) * kQuad;
  const int row = thread / (kChannels / kQuad) / (kSide / kQuad);
  const int depth = static_cast<int>(patch.depth), width = static_cast<int>(patch.width);
  const int kh = static_cast<int>(s.kh), kw = static_cast<int>(s.kw);
  const int stride_h = static_cast<int>(s.stride_h), stride_w = static_cast<int>(s.stride_w);
  float sum[kQuad][kQuad] = {};
  for (int64_t first = 0; first < s.cin; first += depth) {
    load_patch(s, patch, square, first, x, w, weights, pixels);
    __syncthreads();
    for (int ky = 0; ky < kh; ++ky) {
      for (int kx = 0; kx < kw; ++kx) {
        const float* pixel = pixels + ((row * stride_h + ky) * width + column * stride_w + kx) * depth;
        const float* filters = weights + (ky * kw + kx) * depth * kChannels + group;
        for (int i = 0; i < depth; ++i) {
          const float4 four = *reinterpret_cast<const float4*>(filters + i * kChannels);
#pragma unroll
          for (int p = 0; p < kQuad; ++p) {
            const float value = pixel[p * stride_w * depth + i];
            sum[p][0] = fmaf(value, four.x, sum[p][0]);
            sum[p][1] = fmaf(value, four.y, sum[p][1]);
            sum[p][2] = fmaf(value, four.z, sum[p][2]);
            sum[p][3] = fmaf(value, four.w, sum[p][3]);
          }
        }
      }
    }
    __syncthreads();
  }
  const int64_t oy = square.oy + row;
#pragma unroll
  for (int p = 0; p < kQuad; ++p) {
    const int64_t ox = square.ox + column + p;
    float* to = y + ((square.n * s.rows + oy) * s.cols + ox) * s.cout + square.o + group;
#pragma unroll
    for (int q = 0; q < kQuad; ++q)
      if (oy < s.rows && ox < s.cols && square.o + group + q < s.cout) to[q] = sum[p][q];
  }
}

template <void (*kKernel)(Layer, const float*, const float*, float*)>
void run_per_output(GpuBackend& device, const Conv2d& s, const float* x, const float* w, float* y) {
  const int64_t count = s.n * s.out_h() * s.out_w() * s.cout;
  launch("ladder conv2d", kKernel, grid_for(count, 256), 256, 0, device.stream(), layer_of(s), x, w, y);
}

void run_shared_weights(GpuBackend& device, const Conv2d& s, const float* x, const float* w, float* y) {
  const int64_t positions = s.n * s.out_h() * s.out_w();
  const int64_t blocks = ceil_div(positions, kPositions) * ceil_div(s.cout, kChannels);
  launch("ladder conv2d", conv2d_shared_weights, dim3(static_cast<unsigned>(blocks)),
         dim3(kChannels, kPositions), 0, device.stream(), layer_of(s), x, w, y);
}

// As many input channels at a time as keep the block under 24 KB of shared memory, so that several blocks fit
// beside one another; 48 KB, which every GPU has, if it must be.
Patch patch_for(const Conv2d& s) {
  constexpr int64_t kGood = 24 * 1024 / sizeof(float), kMost = 48 * 1024 / sizeof(float);
  Patch patch{(kSide - 1) * s.stride_h + s.kh, (kSide - 1) * s.stride_w + s.kw, 0, s.kh * s.kw};
  const int64_t each = patch.height * patch.width + patch.taps * kChannels;
  patch.depth = each <= kGood ? kGood / each : kMost / each;
  if (patch.depth > s.cin) patch.depth = s.cin > 0 ? s.cin : 1;
  return patch;
}

template <void (*kKernel)(Layer, Patch, const float*, const float*, float*), int kBlock>
void run_patch(GpuBackend& device, const Conv2d& s, const float* x, const float* w, float* y) {
  const Patch patch = patch_for(s);
  if (patch.depth == 0 && s.cin > 0)
    return run_shared_weights(device, s, x, w, y);  // a window too large for it
  const int64_t squares = s.n * ceil_div(s.out_h(), kSide) * ceil_div(s.out_w(), kSide);
  const int64_t blocks = squares * ceil_div(s.cout, kChannels);
  const size_t bytes = static_cast<size_t>(patch.weights() + patch.pixels()) * sizeof(float);
  launch("ladder conv2d", kKernel, dim3(static_cast<unsigned>(blocks)), kBlock, bytes, device.stream(),
         layer_of(s), patch, x, w, y);
}
void run_product(GpuBackend& device, const Conv2d& s, const float* x, const float* w, float* y) {
  device.conv2d(s, x, w, y, {});
}

}  // namespace

std::span<const Conv2dVersion> conv2d_versions() {
  static const Conv2dVersion versions[] = {
      {1, "one thread per output", "the formula as it stands; a warp's stores lie cout floats apart",
       run_per_output<conv2d_naive>},
      {2, "coalesced over channels", "a warp covers 32 channels of a position: whole lines of w and y",
       run_per_output<conv2d_coalesced>},
      {3, "weights in shared memory", "each weight loaded from global memory serves 8 positions",
       run_shared_weights},
      {4, "input patch in shared memory", "windows overlap; each pixel is loaded once for a square of 8 x 8",
       run_patch<conv2d_shared_patch, kPatchThreads>},
      {5, "4 x 4 outputs per thread", "8 values loaded from shared memory serve 16 multiply-adds",
       run_patch<conv2d_several_outputs, kSquareThreads>},
      {6, "the product's kernel", "what the engine runs: implicit GEMM for many input channels", run_product},
  };
  return versions;
}

}  // namespace caltrop::CALTROP_WORLD::ladder
