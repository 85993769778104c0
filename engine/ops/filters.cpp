// Filters that replace a pixel of an activation by a mean over others, as denoising layers do (Xie et al. 2019).
// Composed of other ops, so that gradients of any order follow.

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

void check_images(const char* op, const Tensor& x) {
  if (x.rank() != 4) fail("[{}] expected x (n,h,w,c), got {}", op, to_string(x.shape()));
}

// (extent + 2 pad, extent): row i picks the element nearest to i - pad.
Tensor edge_picks(Backend& backend, int64_t extent, int64_t pad) {
  const int64_t rows = extent + 2 * pad;
  std::vector<float> picks(static_cast<size_t>(rows * extent));
  for (int64_t i = 0; i < rows; ++i)
    picks[static_cast<size_t>(i * extent + std::clamp<int64_t>(i - pad, 0, extent - 1))] = 1.0f;
  return Tensor::from(backend, {rows, extent}, picks);
}

// x with its outermost pixels repeated `pad` times on each side. Picking is a product with a matrix of ones and zeros
// along each axis: exact, and its gradient is the product with the transpose.
Tensor with_edges(const Tensor& x, int64_t pad) {
  const int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3), tall = h + 2 * pad,
                wide = w + 2 * pad;
  const Tensor down = broadcast_to(edge_picks(x.backend(), h, pad), {n, tall, h});
  const Tensor across = broadcast_to(edge_picks(x.backend(), w, pad), {n * tall, wide, w});
  const Tensor rows = batch_matmul(down, reshape(x, {n, h, w * c}));
  return reshape(batch_matmul(across, reshape(rows, {n * tall, w, c})), {n, tall, wide, c});
}

void check_window(const char* op, const Tensor& x, int64_t window) {
  check_images(op, x);
  if (window < 1 || window % 2 == 0) fail("[{}] expected an odd window, got {}", op, window);
}

}  // namespace

Tensor mean_filter(const Tensor& x, int64_t window) {
  check_window("mean_filter", x, window);
  return avgpool(with_edges(x, window / 2), {window, window, 1, 1});
}

Tensor median_filter(const Tensor& x, int64_t window) {
  check_window("median_filter", x, window);
  return rankpool(with_edges(x, window / 2), (window * window - 1) / 2, {window, window, 1, 1});
}

Tensor nonlocal_means(const Tensor& x, const Tensor& theta, const Tensor& phi) {
  check_images("nonlocal_means", x);
  const int64_t n = x.dim(0), pixels = x.dim(1) * x.dim(2), c = x.dim(3);
  if (theta.rank() != 2 || theta.dim(0) < 1 || theta.dim(1) != c || phi.shape() != theta.shape()) {
    fail("[nonlocal_means] expected two embeddings (d,{}), got {} and {}", c, to_string(theta.shape()),
         to_string(phi.shape()));
  }
  const int64_t d = theta.dim(0);
  const auto embedded = [&](const Tensor& by) {
    return reshape(matmul(reshape(x, {n * pixels, c}), by, false, true), {n, pixels, d});
  };
  const Tensor affinities =
      batch_matmul(embedded(theta) * (1.0f / std::sqrt(static_cast<float>(d))), embedded(phi), false, true);
  const Tensor weights = reshape(softmax(reshape(affinities, {n * pixels, pixels})), {n, pixels, pixels});
  return reshape(batch_matmul(weights, reshape(x, {n, pixels, c})), x.shape());
}

}  // namespace caltrop
