#include "defense/off_grid.h"

#include <algorithm>

#include "engine/autograd.h"
#include "engine/ops.h"

namespace caltrop {

Tensor rounded_to_8_bits(const Tensor& x) {
  const NoGrad values_only;
  const Tensor level = clamp(x * 255.0f, 0.0f, 255.0f);
  // From 2^23 on, floats are whole numbers: adding it rounds, halves to the even neighbour. Those that went
  // down are put right.
  constexpr float kWhole = 8388608.0f;
  const Tensor even = (level + kWhole) - kWhole;
  return (even + equal(level - even, Tensor::full(x.backend(), {}, 0.5f))) / 255.0f;
}

std::vector<bool> off_grid(const Tensor& x) {
  const NoGrad values_only;
  const int64_t n = x.dim(0), size = n > 0 ? x.size() / n : 0;
  const Tensor away = x - rounded_to_8_bits(x);
  std::vector<RowStats> stats(static_cast<size_t>(n));
  x.backend().row_stats(n, size, away.data(), stats.data());
  std::vector<bool> found;
  for (const RowStats& row : stats) found.push_back(row.linf > 0 || row.nans > 0);
  return found;
}

std::vector<bool> off_grid(const ImageSource& images) {
  constexpr int64_t kChunk = 1024;
  std::vector<bool> found;
  for (int64_t begin = 0; begin < images.count(); begin += kChunk) {
    const std::vector<bool> some =
        off_grid(images.pixels(row_range(begin, std::min(images.count(), begin + kChunk))));
    found.insert(found.end(), some.begin(), some.end());
  }
  return found;
}

}  // namespace caltrop
