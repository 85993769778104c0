// Max, rank and average pooling of any window and stride, and their adjoints. One image per task; in each pass the
// innermost loop runs over channels, which lie next to each other.

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

namespace caltrop {
namespace {

// body(window's first input offset, output offset) for each output position of image n.
template <typename Body>
void for_windows(const Pool2d& s, int64_t n, const Body& body) {
  for (int64_t oy = 0; oy < s.out_h(); ++oy) {
    for (int64_t ox = 0; ox < s.out_w(); ++ox) {
      body(((n * s.h + oy * s.stride_h) * s.w + ox * s.stride_w) * s.c,
           ((n * s.out_h() + oy) * s.out_w() + ox) * s.c);
    }
  }
}

bool beats(float candidate, float best) {
  // Bitwise: a vector has no short cut.
  return (int{candidate > best} | (int{std::isnan(candidate)} & int{!std::isnan(best)})) != 0;
}

// A window as large as an image: each channel's elements are put in order as far as the rank.
void select_by_rank(const Pool2d& s, int64_t rank, const float* x, float* y, int32_t* index) {
  struct Element {
    float value;
    int32_t position;
    bool operator<(const Element& other) const {
      return value < other.value || (value == other.value && position < other.position);
    }
  };
  parallel_for(s.n, [&](int64_t n) {
    std::vector<Element> window(static_cast<size_t>(s.kh * s.kw));
    const int64_t image = n * s.h * s.w * s.c;
    for_windows(s, n, [&](int64_t from, int64_t to) {
      const auto first = static_cast<int32_t>((from - image) / s.c);
      for (int64_t c = 0; c < s.c; ++c) {
        const Element* hole = nullptr;  // the first NaN, which has no place in the order
        for (int64_t p = s.kh * s.kw - 1; p >= 0; --p) {
          const int64_t at = p / s.kw * s.w + p % s.kw;
          Element& element = window[static_cast<size_t>(p)];
          element = {x[from + at * s.c + c], first + static_cast<int32_t>(at)};
          if (std::isnan(element.value)) hole = &element;
        }
        if (hole == nullptr) std::nth_element(window.begin(), window.begin() + rank, window.end());
        const Element& chosen = hole != nullptr ? *hole : window[static_cast<size_t>(rank)];
        y[to + c] = chosen.value;
        index[to + c] = chosen.position;
      }
    });
  });
}

}  // namespace

void CpuBackend::maxpool(const Pool2d& s, const float* x, float* y, int32_t* index) {
  if (s.c == 0) return;
  parallel_for(s.n, [&](int64_t n) {
    const int64_t image = n * s.h * s.w * s.c;
    for_windows(s, n, [&](int64_t from, int64_t to) {
      const auto first = static_cast<int32_t>((from - image) / s.c);
      std::copy_n(x + from, s.c, y + to);
      std::fill_n(index + to, s.c, first);
      for (int64_t ky = 0; ky < s.kh; ++ky) {
        for (int64_t kx = 0; kx < s.kw; ++kx) {
          const int64_t position = ky * s.w + kx;
          for (int64_t c = 0; c < s.c; ++c) {
            // Selected, not branched on: which one wins is random, and so the compiler can use vectors.
            const float candidate = x[from + position * s.c + c], best = y[to + c];
            const bool wins = beats(candidate, best);
            y[to + c] = wins ? candidate : best;
            index[to + c] = wins ? first + static_cast<int32_t>(position) : index[to + c];
          }
        }
      }
    });
  });
}

void CpuBackend::maxpool_scatter(const Pool2d& s, const float* g, const int32_t* index, float* dx) {
  parallel_for(s.n, [&](int64_t n) {
    float* image = dx + n * s.h * s.w * s.c;
    std::fill_n(image, s.h * s.w * s.c, 0.0f);
    for_windows(s, n, [&](int64_t, int64_t at) {
      for (int64_t c = 0; c < s.c; ++c) image[index[at + c] * s.c + c] += g[at + c];
    });
  });
}

void CpuBackend::maxpool_gather(const Pool2d& s, const float* x, const int32_t* index, float* y) {
  parallel_for(s.n, [&](int64_t n) {
    const float* image = x + n * s.h * s.w * s.c;
    for_windows(s, n, [&](int64_t, int64_t at) {
      for (int64_t c = 0; c < s.c; ++c) y[at + c] = image[index[at + c] * s.c + c];
    });
  });
}

// An element has the rank where so many stand before it in order: smaller ones, and equal ones earlier in the scan.
// Counting takes the square of the window, but vectors along the channels and no branch; a 3x3 window is 72 comparisons.
void CpuBackend::rankpool(const Pool2d& s, int64_t rank, const float* x, float* y, int32_t* index) {
  if (s.c == 0) return;
  constexpr int64_t kBlock = 64;    // channels
  constexpr int64_t kCounted = 64;  // elements, from where on selecting is faster
  const int64_t window = s.kh * s.kw;
  if (window > kCounted) return select_by_rank(s, rank, x, y, index);
  const auto before_it = static_cast<int32_t>(rank);
  parallel_for(s.n, [&](int64_t n) {
    const int64_t image = n * s.h * s.w * s.c;
    for_windows(s, n, [&](int64_t from, int64_t to) {
      const auto first = static_cast<int32_t>((from - image) / s.c);
      for (int64_t c0 = 0; c0 < s.c; c0 += kBlock) {
        const int64_t channels = std::min(kBlock, s.c - c0);
        float* ranked = y + to + c0;
        int32_t* place = index + to + c0;
        const auto element = [&](int64_t p) {
          return x + from + c0 + (p / s.kw * s.w + p % s.kw) * s.c;
        };
        const auto position = [&](int64_t p) {
          return first + static_cast<int32_t>(p / s.kw * s.w + p % s.kw);
        };
        std::copy_n(element(0), channels, ranked);
        std::fill_n(place, channels, first);
        for (int64_t p = 0; p < window; ++p) {
          const float* candidate = element(p);
          int32_t before[kBlock] = {};
          for (int64_t q = 0; q < window; ++q) {
            const float* other = element(q);
            const int32_t earlier = q < p ? 1 : 0;
            for (int64_t c = 0; c < channels; ++c)
              before[c] += int32_t{other[c] < candidate[c]} | (int32_t{other[c] == candidate[c]} & earlier);
          }
          for (int64_t c = 0; c < channels; ++c) {
            const bool chosen = (int{before[c] == before_it} & int{!std::isnan(candidate[c])}) != 0;
            ranked[c] = chosen ? candidate[c] : ranked[c];
            place[c] = chosen ? position(p) : place[c];
          }
        }
        for (int64_t p = 0; p < window; ++p) {
          const float* candidate = element(p);
          for (int64_t c = 0; c < channels; ++c) {
            const bool lost = (int{std::isnan(candidate[c])} & int{!std::isnan(ranked[c])}) != 0;
            ranked[c] = lost ? candidate[c] : ranked[c];
            place[c] = lost ? position(p) : place[c];
          }
        }
      }
    });
  });
}

void CpuBackend::avgpool(const Pool2d& s, const float* x, float* y) {
  const float scale = 1.0f / static_cast<float>(s.kh * s.kw);
  parallel_for(s.n, [&](int64_t n) {
    for_windows(s, n, [&](int64_t from, int64_t to) {
      std::fill_n(y + to, s.c, 0.0f);
      for (int64_t ky = 0; ky < s.kh; ++ky) {
        for (int64_t kx = 0; kx < s.kw; ++kx) {
          for (int64_t c = 0; c < s.c; ++c) y[to + c] += x[from + (ky * s.w + kx) * s.c + c];
        }
      }
      for (int64_t c = 0; c < s.c; ++c) y[to + c] *= scale;
    });
  });
}

void CpuBackend::avgpool_adjoint(const Pool2d& s, const float* g, float* dx) {
  const float scale = 1.0f / static_cast<float>(s.kh * s.kw);
  parallel_for(s.n, [&](int64_t n) {
    std::fill_n(dx + n * s.h * s.w * s.c, s.h * s.w * s.c, 0.0f);
    for_windows(s, n, [&](int64_t to, int64_t from) {
      for (int64_t ky = 0; ky < s.kh; ++ky) {
        for (int64_t kx = 0; kx < s.kw; ++kx) {
          for (int64_t c = 0; c < s.c; ++c) dx[to + (ky * s.w + kx) * s.c + c] += g[from + c] * scale;
        }
      }
    });
  });
}

}  // namespace caltrop
