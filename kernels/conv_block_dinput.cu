// The gradient of a convolution block's input from that of its pooled output. A window passes its gradient to
// its winner alone, so the work is that of the pooled outputs, not of all outputs. Each element of dx gathers
// from the windows that saw it, in a fixed order: no atomics.
//
//   3 x 3, stride 1, pool 2 x 2, few input channels
//                    a thread for each 2 x 2 cell of dx, which four windows see; filters embedded in the
//                    patch of a window, for each winner, stand in a table, so that an event is four
//                    multiply-adds
//   few channels     a thread for each element of dx
//   many channels    a warp for each pixel: lanes vote which output channels won there, then each adds its
//                    input channels of those filters

#include "kernels/conv_block_windows.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

// The tile of cells of a block, and the windows that see it: one more row and column.
constexpr int kCellsH = 8, kCellsW = 16, kCellThreads = kCellsH * kCellsW;
constexpr int kWindowsW = kCellsW + 1, kWindows = (kCellsH + 1) * kWindowsW;
constexpr int kOutputs = 32;  // output channels at a time
// Floats of the table for one output channel: 4 quarters of the patch, 4 winners, 4 pixels; and 4 against
// bank conflicts.
constexpr int kTableRow = 68;

struct CellTable {
  alignas(16) float filters[kOutputs * kTableRow];
  float scaled[kOutputs * kWindows];
  uint8_t winner[kOutputs * kWindows];
};

// filters[o][quarter][winner][pixel]: the weight that takes the winner to the pixel of a quarter of the 4 x 4
// patch; quarter 0 is the upper left, 3 the lower right.
__device__ void fill_cell_filters(const ConvShape& s, const float* w, int first_o, int c, CellTable& table) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, o = first_o + lane;
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < 64; i += kCellThreads / kWarp) {
    const int quarter = i / 16, winner = i / 4 % 4, pixel = i % 4;
    const int ky = quarter / 2 * 2 + pixel / 2 - winner / 2, kx = quarter % 2 * 2 + pixel % 2 - winner % 2;
    const bool inside = ky >= 0 && ky < 3 && kx >= 0 && kx < 3 && o < s.cout;
    table.filters[lane * kTableRow + i] =
        inside ? w[(static_cast<int64_t>(ky * 3 + kx) * s.cin + c) * s.cout + o] : 0.0f;
  }
}

__device__ void fill_cell_events(const WindowShape& s, const Events& events, int64_t image, int first_y,
                                 int first_x, int first_o, CellTable& table) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, o = first_o + lane;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < kWindows; i += kCellThreads / kWarp) {
    const int oy = first_y + i / kWindowsW - 1, ox = first_x + i % kWindowsW - 1;
    const bool inside = oy >= 0 && oy < s.out_h && ox >= 0 && ox < s.out_w && o < s.conv.cout;
    const int64_t at = inside ? ((image * s.out_h + oy) * s.out_w + ox) * s.conv.cout + o : 0;
    const uint8_t winner = inside ? events.winner[at] : kDead;
    const float scaled = inside ? events.scaled(at) : 0.0f;
    // A dead event becomes a zero at the first position.
    table.scaled[lane * kWindows + i] = winner == kDead ? 0.0f : scaled;
    table.winner[lane * kWindows + i] = winner == kDead ? 0 : winner;
  }
}

__global__ void __launch_bounds__(kCellThreads)
    dinput_cell_kernel(WindowShape s, int tiles_h, int tiles_w, Events events, const float* w, float* dx) {
  __shared__ CellTable table;
  const ConvShape& conv = s.conv;
  const int64_t tile = blockIdx.x / tiles_w, image = tile / tiles_h;
  const int first_y = static_cast<int>(tile - image * tiles_h) * kCellsH;
  const int first_x = static_cast<int>(blockIdx.x - tile * tiles_w) * kCellsW;
  const int c = static_cast<int>(blockIdx.y);
  const int cell_y = static_cast<int>(threadIdx.x) / kCellsW,
            cell_x = static_cast<int>(threadIdx.x) % kCellsW;
  float sums[4] = {};
  for (int first_o = 0; first_o < conv.cout; first_o += kOutputs) {
    if (first_o > 0) __syncthreads();
    fill_cell_filters(conv, w, first_o, c, table);
    fill_cell_events(s, events, image, first_y, first_x, first_o, table);
    __syncthreads();
    const int outputs = conv.cout - first_o < kOutputs ? conv.cout - first_o : kOutputs;
    for (int o = 0; o < outputs; ++o) {
#pragma unroll
      for (int quarter = 0; quarter < 4; ++quarter) {
        // A window begins at its own cell, which is its upper left quarter.
        const int window = o * kWindows + (cell_y + 1 - quarter / 2) * kWindowsW + cell_x + 1 - quarter % 2;
        const float scaled = table.scaled[window];
        const float4 filter = *reinterpret_cast<const float4*>(table.filters + o * kTableRow +
                                                               (quarter * 4 + table.winner[window]) * 4);
        sums[0] = fmaf(scaled, filter.x, sums[0]);
        sums[1] = fmaf(scaled, filter.y, sums[1]);
        sums[2] = fmaf(scaled, filter.z, sums[2]);
        sums[3] = fmaf(scaled, filter.w, sums[3]);
      }
    }
  }
#pragma unroll
  for (int pixel = 0; pixel < 4; ++pixel) {
    const int y = 2 * (first_y + cell_y) + pixel / 2 - conv.pad_h;
    const int x = 2 * (first_x + cell_x) + pixel % 2 - conv.pad_w;
    if (y >= 0 && y < conv.h && x >= 0 && x < conv.w)
      dx[((image * conv.h + y) * conv.w + x) * conv.cin + c] = sums[pixel];
  }
}

// Calls body(tap, position in the window, first event of the window) for the taps whose output saw pixel
// (y, x) and lies in a window.
template <typename Body>
__device__ void for_seen(const WindowShape& s, int64_t image, int y, int x, const Body& body) {
  const ConvShape& conv = s.conv;
  for (int ky = 0; ky < conv.kh; ++ky) {
    const int down = y + conv.pad_h - ky;
    if (down < 0) break;
    const uint32_t row = s.by_stride_h.quotient(static_cast<uint32_t>(down));
    const uint32_t oy = s.by_pool_h.quotient(row);
    if (s.by_stride_h.rest(static_cast<uint32_t>(down), row) != 0 || oy >= s.out_h) continue;
    const auto py = static_cast<int>(s.by_pool_h.rest(row, oy));
    for (int kx = 0; kx < conv.kw; ++kx) {
      const int right = x + conv.pad_w - kx;
      if (right < 0) break;
      const uint32_t column = s.by_stride_w.quotient(static_cast<uint32_t>(right));
      const uint32_t ox = s.by_pool_w.quotient(column);
      if (s.by_stride_w.rest(static_cast<uint32_t>(right), column) != 0 || ox >= s.out_w) continue;
      const int position = py * s.pool_w + static_cast<int>(s.by_pool_w.rest(column, ox));
      body(ky * conv.kw + kx, position, ((image * s.out_h + oy) * s.out_w + ox) * conv.cout);
    }
  }
}

__global__ void dinput_element_kernel(WindowShape s, Events events, const float* w, float* dx,
                                      int64_t count) {
  const ConvShape& conv = s.conv;
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const int64_t pixel = i / conv.cin, row = pixel / conv.w, image = row / conv.h;
    const int c = static_cast<int>(i - pixel * conv.cin);
    float sum = 0.0f;
    for_seen(s, image, static_cast<int>(row - image * conv.h), static_cast<int>(pixel - row * conv.w),
             [&](int tap, int position, int64_t at) {
               const float* filter = w + (static_cast<int64_t>(tap) * conv.cin + c) * conv.cout;
               for (int o = 0; o < conv.cout; ++o) {
                 if (events.winner[at + o] == position) sum = fmaf(events.scaled(at + o), filter[o], sum);
               }
             });
    dx[i] = sum;
  }
}

// transposed[tap][o][c] = w[tap][c][o], so that lanes read neighbouring input channels.
__global__ void transpose_weights_kernel(int cin, int cout, const float* w, float* transposed,
                                         int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    const int64_t row = i / cin, c = i - row * cin, tap = row / cout, o = row - tap * cout;
    transposed[i] = w[(tap * cin + c) * cout + o];
  }
}

constexpr int kPixelThreads = 256, kLaneChannels = 2;

__global__ void __launch_bounds__(kPixelThreads)
    dinput_pixel_kernel(WindowShape s, Events events, const float* transposed, float* dx, int64_t pixels) {
  const ConvShape& conv = s.conv;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first_c = static_cast<int>(blockIdx.y) * kWarp * kLaneChannels + lane;
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kPixelThreads / kWarp);
  for (int64_t pixel = first_index() / kWarp; pixel < pixels; pixel += step) {
    const int64_t row = pixel / conv.w, image = row / conv.h;
    float sums[kLaneChannels] = {};
    for_seen(
        s, image, static_cast<int>(row - image * conv.h), static_cast<int>(pixel - row * conv.w),
        [&](int tap, int position, int64_t at) {
          for (int first_o = 0; first_o < conv.cout; first_o += kWarp) {
            const int o = first_o + lane;
            const bool won = o < conv.cout && events.winner[at + o] == position;
            const float scaled = won ? events.scaled(at + o) : 0.0f;
            const float* filter =
                transposed + (static_cast<int64_t>(tap) * conv.cout + first_o) * conv.cin + first_c;
            for (unsigned winners = __ballot_sync(kFullMask, won); winners != 0; winners &= winners - 1) {
              const int winner = __ffs(static_cast<int>(winners)) - 1;
              const float each = __shfl_sync(kFullMask, scaled, winner);
#pragma unroll
              for (int i = 0; i < kLaneChannels; ++i) {
                if (first_c + i * kWarp < conv.cin) {
                  sums[i] = fmaf(each, filter[static_cast<int64_t>(winner) * conv.cin + i * kWarp], sums[i]);
                }
              }
            }
          }
        });
#pragma unroll
    for (int i = 0; i < kLaneChannels; ++i) {
      if (first_c + i * kWarp < conv.cin) dx[pixel * conv.cin + first_c + i * kWarp] = sums[i];
    }
  }
}

int ceil_divide(int64_t a, int64_t b) {
  return static_cast<int>((a + b - 1) / b);
}

}  // namespace

void GpuBackend::conv_block_dinput(const ConvBlock& b, const float* g, const uint8_t* winner,
                                   const float* slope, const float* w, float* dx) {
  const Stream::Op range(stream_, "conv_block_dinput");
  const Conv2d& s = b.conv;
  const int64_t pixels = s.n * s.h * s.w, count = pixels * s.cin;
  const WindowShape shape(b);
  const Events events{g, winner, slope};
  if (count == 0) return;
  const bool cells =
      s.kh == 3 && s.kw == 3 && s.stride_h == 1 && s.stride_w == 1 && b.pool_h == 2 && b.pool_w == 2;
  if (cells && s.cin <= 4) {
    const int tiles_h = ceil_divide(s.h + s.pad_h, 2 * kCellsH),
              tiles_w = ceil_divide(s.w + s.pad_w, 2 * kCellsW);
    launch("conv_block_dinput", dinput_cell_kernel,
           dim3(static_cast<unsigned>(s.n * tiles_h * tiles_w), static_cast<unsigned>(s.cin)), kCellThreads,
           0, stream_, shape, tiles_h, tiles_w, events, w, dx);
    return;
  }
  constexpr int kThreads = 128;
  if (s.cin < 8) {
    launch("conv_block_dinput", dinput_element_kernel, grid_for(count, kThreads), kThreads, 0, stream_, shape,
           events, w, dx, count);
    return;
  }
  const int64_t weights = s.kh * s.kw * s.cin * s.cout;
  const Scratch<float> transposed(stream_, weights);
  launch("conv_block_dinput", transpose_weights_kernel, grid_for(weights, kThreads), kThreads, 0, stream_,
         s.cin, s.cout, w, transposed.data(), weights);
  dim3 grid = grid_for(pixels * kWarp, kPixelThreads);
  grid.y = static_cast<unsigned>(ceil_divide(s.cin, kWarp * kLaneChannels));
  launch("conv_block_dinput", dinput_pixel_kernel, grid, kPixelThreads, 0, stream_, shape, events,
         transposed.data(), dx, pixels);
}

}  // namespace caltrop::CALTROP_WORLD
