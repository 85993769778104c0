// The operands of convolutions as matrix products, for conv2d_gemm.cu and conv2d_mma.cu: matrices of which no
// element is stored, but fetched from images and weights when a tile needs it.
#pragma once

#include "kernels/conv_geometry.cuh"
#include "kernels/gpu.cuh"

namespace caltrop::CALTROP_WORLD {

// Element (pixel, (ky, kx, channel)) of the operand of patches: forward, of x under output pixels; adjoint,
// of g over input pixels.
struct Patches {
  const float* data;
  int64_t pixels;      // rows
  int rows, columns;   // of the image that pixels count through
  int from_h, from_w;  // the size of images in data
  int channels, kw;
  uint32_t depth;          // kh kw channels
  int stride_h, stride_w;  // forward: of a pixel; adjoint: what a position must be divisible by
  int pad_h, pad_w;
  FastDivide by_channels, by_kw, by_stride_h, by_stride_w;
};

// Where the pixels of a tile look in their images.
template <int kRows>
struct PixelTable {
  int64_t image[kRows];  // offset in data
  int y[kRows], x[kRows];
};

template <bool kAdjoint, int kRows>
__device__ inline void fill_pixel_table(const Patches& p, int64_t first, PixelTable<kRows>& table) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows; i += static_cast<int>(blockDim.x)) {
    const int64_t pixel = first + i;
    if (pixel >= p.pixels) {
      table.image[i] = 0;
      table.y[i] = table.x[i] = -(1 << 30);  // outside, whatever is added
      continue;
    }
    const int64_t row = pixel / p.columns, n = row / p.rows;
    const int x = static_cast<int>(pixel - row * p.columns), y = static_cast<int>(row - n * p.rows);
    table.image[i] = n * p.from_h * p.from_w * p.channels;
    table.y[i] = kAdjoint ? y + p.pad_h : y * p.stride_h - p.pad_h;
    table.x[i] = kAdjoint ? x + p.pad_w : x * p.stride_w - p.pad_w;
  }
}

// Element ((ky, kx, o), i) of the weights (kh, kw, cin, cout), as the adjoint multiplies them.
struct TransposedWeights {
  const float* data;
  int cin, cout;
  uint32_t depth;
  FastDivide by_cout;
};

// Element ((ky, kx, channel), output pixel) of x, for the images of one chunk.
struct TransposedPatches {
  const float* data;
  ConvShape shape;
  int64_t chunk;  // images
  FastDivide by_cin, by_kw, by_out_w, by_out;
};

inline Patches patches_of(const Conv2d& s, const float* x) {
  Patches p{};
  p.data = x;
  p.pixels = s.n * s.out_h() * s.out_w();
  p.rows = static_cast<int>(s.out_h()), p.columns = static_cast<int>(s.out_w());
  p.from_h = static_cast<int>(s.h), p.from_w = static_cast<int>(s.w);
  p.channels = static_cast<int>(s.cin), p.kw = static_cast<int>(s.kw);
  p.depth = static_cast<uint32_t>(s.kh * s.kw * s.cin);
  p.stride_h = static_cast<int>(s.stride_h), p.stride_w = static_cast<int>(s.stride_w);
  p.pad_h = static_cast<int>(s.pad_h), p.pad_w = static_cast<int>(s.pad_w);
  p.by_channels = FastDivide(s.cin), p.by_kw = FastDivide(s.kw);
  return p;
}

inline Patches adjoint_patches_of(const Conv2d& s, const float* g) {
  Patches p = patches_of(s, g);
  p.pixels = s.n * s.h * s.w;
  p.rows = static_cast<int>(s.h), p.columns = static_cast<int>(s.w);
  p.from_h = static_cast<int>(s.out_h()), p.from_w = static_cast<int>(s.out_w());
  p.channels = static_cast<int>(s.cout);
  p.depth = static_cast<uint32_t>(s.kh * s.kw * s.cout);
  p.by_channels = FastDivide(s.cout);
  p.by_stride_h = FastDivide(s.stride_h), p.by_stride_w = FastDivide(s.stride_w);
  return p;
}

inline TransposedWeights transposed_weights_of(const Conv2d& s, const float* w) {
  return {w, static_cast<int>(s.cin), static_cast<int>(s.cout), static_cast<uint32_t>(s.kh * s.kw * s.cout),
          FastDivide(s.cout)};
}

// Chunks of images for d-weight: enough blocks of 64 x 64 tiles for any GPU, each with at least 256 pixels to
// add. A function of the sizes alone.
inline TransposedPatches transposed_patches_of(const Conv2d& s, const float* x) {
  constexpr int64_t kTile = 64, kBlocks = 256, kFewestPixels = 256;
  const int64_t pixels = s.out_h() * s.out_w();
  const int64_t tiles = (s.kh * s.kw * s.cin + kTile - 1) / kTile * ((s.cout + kTile - 1) / kTile);
  const int64_t most = (kBlocks + tiles - 1) / tiles, fewest = (kFewestPixels + pixels - 1) / pixels;
  const int64_t chunk = (s.n + most - 1) / most;
  return {x,
          ConvShape(s),
          chunk < fewest ? fewest : chunk,
          FastDivide(s.cin),
          FastDivide(s.kw),
          FastDivide(s.out_w()),
          FastDivide(pixels)};
}

}  // namespace caltrop::CALTROP_WORLD
