// The backward passes of the convolution block start from events: a window passes its gradient, times the
// slope of the activation, to one position, the winner. This header says how events and what they touch are
// laid out.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv_shape.h"

namespace caltrop {

// What the forward pass kept of one image, with the gradient that came back.
struct Pooled8 {
  const float* g;
  const uint8_t* winner;
  const float* slope;  // null where every live slope is 1
  Pooled8 at(int64_t i) const { return {g + i, winner + i, slope ? slope + i : nullptr}; }
  float scaled(int64_t i) const { return slope ? g[i] * slope[i] : g[i]; }
};

// Few input channels: the patch of the input that one window sees, as rows of `row` floats (a multiple of 4).
struct Patch {
  int64_t h, row, size;  // size: all rows, a multiple of 16 floats
  int64_t positions;     // of the pool window
  int64_t images_w;      // row length of padded images, with room for the tail of a row
};

// Beyond this many floats the table of embedded filters no longer fits the first-level cache.
inline constexpr int64_t kPatchLimit = 64;

inline Patch patch_of(const ConvBlock& b) {
  const Conv2d& s = b.conv;
  Patch p{};
  p.h = (b.pool_h - 1) * s.stride_h + s.kh;
  p.row = (((b.pool_w - 1) * s.stride_w + s.kw) * s.cin + 3) / 4 * 4;
  p.size = (p.h * p.row + 15) / 16 * 16;
  p.positions = b.pool_h * b.pool_w;
  p.images_w = (s.w + 2 * s.pad_w) * s.cin + 4;
  return p;
}

// Room for the events of one window, each part for every channel rounded up to 16.
struct EventSpace {
  float* scaled;    // gradient times slope
  int32_t* offset;  // of the patch of (channel, position) in a table
  int32_t* base;    // of the first patch of a channel
  static int64_t channels(const ConvBlock& b) { return (b.conv.cout + 15) / 16 * 16; }
  static int64_t floats(const ConvBlock& b) { return 3 * channels(b); }
  static EventSpace in(const ConvBlock& b, float* room) {
    const int64_t n = channels(b);
    return {room, reinterpret_cast<int32_t*>(room + n), reinterpret_cast<int32_t*>(room + 2 * n)};
  }
};

// Many input channels: runs of kw * cin floats, padded with zeros to a multiple of 16.
struct Runs {
  int64_t run, padded, positions;
  int64_t image;                 // floats of a padded image, with room for the padding of its last run
  std::vector<int32_t> corners;  // where each (window, position) begins in a padded image
};

inline Runs runs_of(const ConvBlock& b) {
  const Conv2d s = padded(b.conv);
  const int64_t run = s.kw * s.cin, rounded = (run + 15) / 16 * 16;
  Runs r{run, rounded, b.pool_h * b.pool_w, image_size(s) + 16, {}};
  for (int64_t window = 0; window < b.out_h() * b.out_w(); ++window) {
    for (int64_t position = 0; position < r.positions; ++position) {
      const int64_t y = window / b.out_w() * b.pool_h + position / b.pool_w;
      const int64_t x = window % b.out_w() * b.pool_w + position % b.pool_w;
      r.corners.push_back(static_cast<int32_t>((y * s.stride_h * s.w + x * s.stride_w) * s.cin));
    }
  }
  return r;
}

// Live events of one image in lists: list k holds events [starts[k], starts[k + 1]).
struct Events {
  float* g;
  int32_t* offset;  // d-input: of the filter; d-weight: of the run in the image
  int64_t* starts;
};

}  // namespace caltrop
