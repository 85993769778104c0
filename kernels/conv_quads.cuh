// Direct convolution for few input channels: sums of 2 x 2 neighbouring outputs ("quads") of 8 channels for
// each thread. A warp takes 32 quads in scan order and 8 channels, so its reads of weights are one address
// and those of the image are neighbours; up to 4 warps of a block share the image patch in shared memory.
//
// conv2d_direct.cu stores the sums, conv_block.cu pools them: a quad is a 2 x 2 window.
#pragma once

#include "kernels/conv_geometry.cuh"
#include "kernels/gpu.cuh"

namespace caltrop::CALTROP_WORLD {

inline constexpr int kQuads = 32, kQuadChannels = 8;

struct QuadShape {
  ConvShape conv;
  int quads_h, quads_w;       // of one image
  int rows, columns, stride;  // the patch of a block; stride: distance of rows in shared memory
  int depth;                  // input channels at a time
  int warps;                  // of a block, each 8 output channels
  FastDivide by_quads_w, by_depth;
  int64_t tiles;  // blocks for one image and one group of channels

  QuadShape(const Conv2d& s, int64_t height, int64_t width)
      : conv(s), quads_h(static_cast<int>(height)), quads_w(static_cast<int>(width)), by_quads_w(width) {
    // 32 quads in scan order touch this many rows of quads at most.
    const int touched = quads_w == 0 ? 1 : (kQuads - 2) / quads_w + 2,
              rows_of_quads = touched < quads_h ? touched : quads_h;
    rows = (2 * rows_of_quads - 1) * conv.stride_h + conv.kh;
    columns = (2 * quads_w - 1) * conv.stride_w + conv.kw;
    stride = (columns + 1) / 2 * 2;
    warps = conv.cout > 24 ? 4 : (conv.cout + kQuadChannels - 1) / kQuadChannels;
    const int64_t floats = patch_of_channel() + filters_of_channel();
    depth = static_cast<int>(kMostFloats / floats < conv.cin ? kMostFloats / floats : conv.cin);
    depth = depth < 16 ? depth : 16;
    by_depth = FastDivide(depth);
    tiles = (height * width + kQuads - 1) / kQuads;
  }
  // Whether one input channel fits in shared memory, and counts fit in 32 bits.
  bool fits() const {
    return depth > 0 && tiles * conv.n < (int64_t{1} << 31) &&
           static_cast<int64_t>(conv.h) * conv.w * conv.cin < (int64_t{1} << 31);
  }
  size_t shared_bytes() const {
    return static_cast<size_t>(depth * (patch_of_channel() + filters_of_channel())) * sizeof(float);
  }
  __host__ __device__ int64_t patch_of_channel() const { return static_cast<int64_t>(rows) * stride; }
  __host__ __device__ int64_t filters_of_channel() const {
    return static_cast<int64_t>(conv.kh) * conv.kw * warps * kQuadChannels;
  }
  dim3 grid() const {
    const int channels = warps * kQuadChannels;
    return dim3(static_cast<unsigned>(tiles * conv.n),
                static_cast<unsigned>((conv.cout + channels - 1) / channels));
  }
  dim3 block() const { return dim3(static_cast<unsigned>(kWarp * warps)); }

 private:
  static constexpr int64_t kMostFloats = 10240;  // 40 KB: five blocks on most multiprocessors
};

// What a thread computes: a quad, from channel `o` on. `valid` is false past the last quad.
struct QuadPlace {
  int64_t image;
  int quad, qy, qx, first_qy, o;
  bool valid;
  __device__ explicit QuadPlace(const QuadShape& s) {
    const int count = s.quads_h * s.quads_w;
    image = blockIdx.x / s.tiles;
    const int first = static_cast<int>(blockIdx.x - image * s.tiles) * kQuads;
    quad = first + static_cast<int>(threadIdx.x) % kWarp;
    valid = quad < count;
    if (!valid) quad = count - 1;
    first_qy = static_cast<int>(s.by_quads_w.quotient(static_cast<uint32_t>(first)));
    qy = static_cast<int>(s.by_quads_w.quotient(static_cast<uint32_t>(quad)));
    qx = quad - qy * s.quads_w;
    o = (static_cast<int>(blockIdx.y) * s.warps + static_cast<int>(threadIdx.x) / kWarp) * kQuadChannels;
  }
};

// Rows of the patch, channel by channel: shared[c][row][column], zeros outside the image.
__device__ inline void load_quad_patch(const QuadShape& s, const QuadPlace& at, const float* x, int first_c,
                                       float* shared) {
  const ConvShape& conv = s.conv;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int left = conv.cin - first_c;
  const float* image = x + at.image * conv.h * conv.w * conv.cin + first_c;
  for (int row = warp; row < s.rows; row += s.warps) {
    const int y = 2 * at.first_qy * conv.stride_h - conv.pad_h + row;
    for (int i = lane; i < s.columns * s.depth; i += kWarp) {
      const auto column = static_cast<int>(s.by_depth.quotient(static_cast<uint32_t>(i)));
      const int c = i - column * s.depth, from_x = column - conv.pad_w;
      const bool inside = c < left && y >= 0 && y < conv.h && from_x >= 0 && from_x < conv.w;
      shared[(c * s.rows + row) * s.stride + column] =
          inside ? image[(y * conv.w + from_x) * conv.cin + c] : 0.0f;
    }
  }
}

// shared[tap][c][output channel - first_o], zeros past the last of w's `cout` channels.
__device__ inline void load_quad_filters(const QuadShape& s, const float* w, int cout, int first_o,
                                         int first_c, float* shared) {
  const ConvShape& conv = s.conv;
  const int channels = s.warps * kQuadChannels, thread = static_cast<int>(threadIdx.x);
  const int o = thread % channels, out = first_o + o;
  for (int row = thread / channels; row < conv.kh * conv.kw * s.depth; row += kWarp / kQuadChannels) {
    const auto tap = static_cast<int>(s.by_depth.quotient(static_cast<uint32_t>(row)));
    const int c = first_c + row - tap * s.depth;
    const bool inside = c < conv.cin && out < cout;
    shared[row * channels + o] = inside ? w[(static_cast<int64_t>(tap) * conv.cin + c) * cout + out] : 0.0f;
  }
}

__device__ inline void load_eight(const float* from, float (&values)[kQuadChannels]) {
  const float4 low = *reinterpret_cast<const float4*>(from),
               high = *reinterpret_cast<const float4*>(from + 4);
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

// z[position][channel] += over the channels in shared memory. k3x3: windows of 3 x 3 with stride 1, whose
// 4 x 4 patch is held in registers.
template <bool k3x3>
__device__ inline void add_quad(const QuadShape& s, const QuadPlace& at, const float* patch,
                                const float* filters, int depth, float (&z)[4][kQuadChannels]) {
  const int channels = s.warps * kQuadChannels;
  const float* weights = filters + static_cast<int>(threadIdx.x) / kWarp * kQuadChannels;
  if constexpr (k3x3) {
    const float* corner = patch + 2 * (at.qy - at.first_qy) * s.stride + 2 * at.qx;
    for (int c = 0; c < depth; ++c) {
      float v[4][4];
#pragma unroll
      for (int row = 0; row < 4; ++row) {
        const float2 left = *reinterpret_cast<const float2*>(corner + row * s.stride);
        const float2 right = *reinterpret_cast<const float2*>(corner + row * s.stride + 2);
        v[row][0] = left.x, v[row][1] = left.y, v[row][2] = right.x, v[row][3] = right.y;
      }
#pragma unroll
      for (int tap = 0; tap < 9; ++tap) {
        float each[kQuadChannels];
        load_eight(weights + (tap * s.depth + c) * channels, each);
#pragma unroll
        for (int p = 0; p < 4; ++p) {
#pragma unroll
          for (int o = 0; o < kQuadChannels; ++o)
            z[p][o] = fmaf(v[p / 2 + tap / 3][p % 2 + tap % 3], each[o], z[p][o]);
        }
      }
      corner += s.rows * s.stride;
    }
  } else {
    const ConvShape& conv = s.conv;
    const int down = conv.stride_h * s.stride, right = conv.stride_w;
    const float* corner = patch + 2 * (at.qy - at.first_qy) * down + 2 * at.qx * right;
    for (int c = 0; c < depth; ++c) {
      const float* filter = weights + c * channels;
#pragma unroll 1
      for (int ky = 0; ky < conv.kh; ++ky) {
#pragma unroll 1
        for (int kx = 0; kx < conv.kw; ++kx, filter += s.depth * channels) {
          const float* from = corner + ky * s.stride + kx;
          const float v[4] = {from[0], from[right], from[down], from[down + right]};
          float each[kQuadChannels];
          load_eight(filter, each);
#pragma unroll
          for (int p = 0; p < 4; ++p) {
#pragma unroll
            for (int o = 0; o < kQuadChannels; ++o) z[p][o] = fmaf(v[p], each[o], z[p][o]);
          }
        }
      }
      corner += s.rows * s.stride;
    }
  }
}

// z = the bias of `cout` channels from o on, at each position of the quad.
__device__ inline void start_quad(const float* bias, int cout, int o, float (&z)[4][kQuadChannels]) {
#pragma unroll
  for (int i = 0; i < kQuadChannels; ++i) {
    z[0][i] = bias && o + i < cout ? bias[o + i] : 0.0f;
    z[1][i] = z[2][i] = z[3][i] = z[0][i];
  }
}

// z = bias + the convolution. Called by all threads of a block.
template <bool k3x3>
__device__ inline void quad_sums(const QuadShape& s, const QuadPlace& at, const float* x, const float* w,
                                 const float* bias, float (&z)[4][kQuadChannels]) {
  float* filters = dynamic_shared<float>();
  float* patch = filters + s.depth * static_cast<int>(s.filters_of_channel());
  start_quad(bias, s.conv.cout, at.o, z);
  const int first_o = static_cast<int>(blockIdx.y) * s.warps * kQuadChannels;
  for (int c = 0; c < s.conv.cin; c += s.depth) {
    if (c > 0) __syncthreads();
    load_quad_filters(s, w, s.conv.cout, first_o, c, filters);
    load_quad_patch(s, at, x, c, patch);
    __syncthreads();
    add_quad<k3x3>(s, at, patch, filters, s.conv.cin - c < s.depth ? s.conv.cin - c : s.depth, z);
  }
}

inline bool is_3x3(const Conv2d& s) {
  return s.kh == 3 && s.kw == 3 && s.stride_h == 1 && s.stride_w == 1;
}

}  // namespace caltrop::CALTROP_WORLD
