// Softmax, cross-entropy and what goes with them, on rows of logits. Rows here are about ten wide: a scalar
// loop in double costs less than the layer before it and needs no thought about cancellation.

#include <algorithm>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"
#include "kernels/partition.h"

namespace caltrop {
namespace {

constexpr int64_t kGrain = 256;  // rows

template <typename Body>
void for_rows(int64_t rows, const Body& body) {
  parallel_ranges(rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) body(r);
  });
}

}  // namespace

void CpuBackend::softmax(int64_t rows, int64_t cols, const float* x, float* y) {
  for_rows(rows, [&](int64_t r) {
    const float* z = x + r * cols;
    const Partition all = partition(z, cols);
    for (int64_t k = 0; k < cols; ++k) y[r * cols + k] = static_cast<float>(all.probability(z[k]));
  });
}

void CpuBackend::log_softmax(int64_t rows, int64_t cols, const float* x, float* y) {
  for_rows(rows, [&](int64_t r) {
    const float* z = x + r * cols;
    const Partition all = partition(z, cols);
    for (int64_t k = 0; k < cols; ++k) y[r * cols + k] = static_cast<float>(all.log_probability(z[k]));
  });
}

void CpuBackend::cross_entropy(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                               float* loss) {
  for_rows(rows, [&](int64_t r) {
    const float* row = z + r * cols;
    loss[r] = static_cast<float>(-partition(row, cols).log_probability(row[label[r]]));
  });
}

void CpuBackend::cross_entropy_backward(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                                        bool stable, float* dz) {
  for_rows(rows, [&](int64_t r) {
    const float* row = z + r * cols;
    float* out = dz + r * cols;
    const Partition all = partition(row, cols);
    double others = 0.0 * all.sum;  // NaN, as the rest, where a logit is: there may be no other class
    for (int64_t k = 0; k < cols; ++k) {
      const double p = all.probability(row[k]);
      out[k] = static_cast<float>(p);
      if (k != label[r]) others += p;
    }
    out[label[r]] = stable ? static_cast<float>(-others) : out[label[r]] - 1.0f;
  });
}

void CpuBackend::argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) {
  for_rows(rows, [&](int64_t r) { index[r] = static_cast<int32_t>(first_maximum(x + r * cols, cols)); });
}

void CpuBackend::one_hot(int64_t rows, int64_t cols, const int32_t* index, float* y) {
  std::fill_n(y, rows * cols, 0.0f);
  for (int64_t r = 0; r < rows; ++r) y[r * cols + index[r]] = 1.0f;
}

}  // namespace caltrop
