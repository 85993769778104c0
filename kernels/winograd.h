// Geometry of convolutions by F(2x2, 3x3): see winograd-inl.h.
#pragma once

#include <algorithm>

#include "kernels/conv_shape.h"

namespace caltrop {

// The tiles of 2x2 outputs that cover images.
struct WinogradTiles {
  int64_t rows, columns;  // of an image
  int64_t most;           // that are transformed at once

  explicit WinogradTiles(const Conv2d& s)
      : rows((s.out_h() + 1) / 2),
        columns((s.out_w() + 1) / 2),
        // 16 places of pixels and sums that the caches of a core keep.
        most(std::clamp<int64_t>(kFloats / (16 * (s.cin + s.cout)) / 6 * 6, 48, 96)) {}

  // `all` tiles in equal parts, in whole register tiles.
  int64_t step(int64_t all) const {
    const int64_t parts = std::max<int64_t>(1, (all + most - 1) / most);
    return ((all + parts - 1) / parts + 5) / 6 * 6;
  }
  struct Place {
    int64_t image, y, x;  // of the first output
  };
  Place place(int64_t tile) const {
    const int64_t image = tile / (rows * columns), at = tile % (rows * columns);
    return {image, at / columns * 2, at % columns * 2};
  }

  static constexpr int64_t kFloats = 384 * 1024;
};

// Whether 16 products for each tile are worth their transforms: decided by the shape of an image, never by the batch.
inline bool winograd_suits(const Conv2d& s) {
  if (s.kh != 3 || s.kw != 3 || s.stride_h != 1 || s.stride_w != 1 || s.cin < 32 || s.cout < 32) return false;
  const WinogradTiles t(s);
  return 16 * t.rows * t.columns * 4 < 9 * s.out_h() * s.out_w() * 3;
}

// Floats of transformed filters, and of the room that a task needs.
inline int64_t winograd_filters_size(const Conv2d& s) {
  return 16 * s.cin * whole_vectors(s.cout);
}
inline int64_t winograd_room(const Conv2d& s) {
  return whole_vectors(s.cin) + 16 * WinogradTiles(s).most * (s.cin + s.cout);
}

}  // namespace caltrop
