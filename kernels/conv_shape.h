// Geometry of convolutions on the CPU: images are padded by a copy, so that kernels know no borders.
#pragma once

#include <algorithm>

#include "kernels/backend.h"

namespace caltrop {

// The same convolution on images that carry their padding.
inline Conv2d padded(Conv2d s) {
  s.h += 2 * s.pad_h;
  s.w += 2 * s.pad_w;
  s.pad_h = s.pad_w = 0;
  return s;
}

inline int64_t image_size(const Conv2d& s) {
  return s.h * s.w * s.cin;
}
inline int64_t output_size(const Conv2d& s) {
  return s.out_h() * s.out_w() * s.cout;
}
inline int64_t weight_size(const Conv2d& s) {
  return s.kh * s.kw * s.cin * s.cout;
}
inline bool has_padding(const Conv2d& s) {
  return s.pad_h > 0 || s.pad_w > 0;
}

// Image n of x with a border of zeros, in `room` (size image_size(padded(s))); x itself where there is none.
inline const float* padded_image(const Conv2d& s, const float* x, int64_t n, float* room) {
  const float* image = x + n * image_size(s);
  if (!has_padding(s)) return image;
  const Conv2d p = padded(s);
  std::fill_n(room, image_size(p), 0.0f);
  for (int64_t y = 0; y < s.h; ++y) {
    std::copy_n(image + y * s.w * s.cin, s.w * s.cin, room + ((y + s.pad_h) * p.w + s.pad_w) * s.cin);
  }
  return room;
}

// Steps along a window whose filters the first-level cache keeps while the positions pass, and the floats of the room
// that a panel of them is packed into, on any target.
inline constexpr int64_t kConvDepth = 256, kFilterRoom = kConvDepth * 64;
// Positions that a weight gradient sums at once, and the floats of the room that both factors are packed into.
inline constexpr int64_t kOuterDepth = 128;
inline int64_t whole_vectors(int64_t floats) {  // of any target
  return (floats + 15) / 16 * 16;
}
inline int64_t outer_room(int64_t columns) {
  constexpr int64_t kRows = 8;
  return kOuterDepth * (whole_vectors(columns) + kRows) + 16;
}
// Whether a window is so deep that its filters are worth packing for whole images.
inline bool is_deep(const Conv2d& s) {
  return s.kh * s.kw * s.cin > kConvDepth;
}
// Rows of outputs that a shallow block computes at once, a multiple of pool_h: the first-level cache keeps them.
inline int64_t rows_together(const ConvBlock& b) {
  constexpr int64_t kFloats = 4096;
  const int64_t row = std::max<int64_t>(1, b.pool_h * b.out_w() * b.pool_w * b.conv.cout);
  return b.pool_h * std::max<int64_t>(1, kFloats / row);
}
// Images that a task takes together: their positions share each packed panel of filters.
inline int64_t images_together(const Conv2d& s) {
  constexpr int64_t kPositions = 384;
  const int64_t positions = std::max<int64_t>(1, s.out_h() * s.out_w());
  return std::clamp<int64_t>(kPositions / positions, 1, 16);
}

// The images of a batch are summed in at most 16 chunks, each in order: a partition by the batch size alone.
inline int64_t chunk_of(int64_t images) {
  return std::max<int64_t>(4, (images + 15) / 16);
}

}  // namespace caltrop
