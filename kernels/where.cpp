// where: each row of y is copied from one of two rows. What is not chosen is not read into a sum, so that a NaN
// or an infinity there cannot spoil the result, as it would in a * mask + b * (1 - mask).

#include <algorithm>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

namespace caltrop {
namespace {
constexpr int64_t kGrain = 1 << 15;  // elements that are worth a thread
}

void CpuBackend::where(int64_t rows, int64_t cols, const float* mask, const float* a, const float* b,
                       float* y) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, cols));
  parallel_ranges(rows, grain, [&](int64_t begin, int64_t end) {
    if (cols == 1) {  // one long loop instead of a call for each number
      for (int64_t r = begin; r < end; ++r) y[r] = mask[r] != 0.0f ? a[r] : b[r];
      return;
    }
    for (int64_t r = begin; r < end; ++r)
      std::copy_n((mask[r] != 0.0f ? a : b) + r * cols, cols, y + r * cols);
  });
}

}  // namespace caltrop
