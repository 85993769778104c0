#include "defense/filters/principal_axes.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "engine/error.h"

namespace caltrop {
namespace {

double product(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

// Turns two rows in their plane until they are orthogonal; whether they were not.
bool turn(std::span<double> a, std::span<double> b) {
  constexpr double kEnough = 1e-15;
  const double aa = product(a, a), bb = product(b, b), ab = product(a, b);
  if (std::abs(ab) <= kEnough * std::sqrt(aa * bb) || ab == 0) return false;
  const double tau = (bb - aa) / (2 * ab),
               t = std::copysign(1.0, tau) / (std::abs(tau) + std::sqrt(1 + tau * tau)),
               c = 1 / std::sqrt(1 + t * t), s = c * t;
  for (size_t k = 0; k < a.size(); ++k) {
    const double x = a[k], y = b[k];
    a[k] = c * x - s * y;
    b[k] = s * x + c * y;
  }
  return true;
}

}  // namespace

PrincipalAxes principal_axes(std::vector<double> covariance, int64_t size, double least) {
  const auto n = static_cast<size_t>(size);
  if (covariance.size() != n * n)
    fail("[axes] expected a covariance of {0} x {0} values, got {1}", size, covariance.size());
  const auto row = [&](size_t i) {
    return std::span(covariance).subspan(i * n, n);
  };
  constexpr int kSweeps = 60;
  bool moved = true;
  for (int sweep = 0; moved && sweep < kSweeps; ++sweep) {
    moved = false;
    for (size_t i = 0; i + 1 < n; ++i) {
      for (size_t j = i + 1; j < n; ++j) moved = turn(row(i), row(j)) || moved;
    }
  }
  std::vector<double> lengths;
  for (size_t i = 0; i < n; ++i) lengths.push_back(std::sqrt(product(row(i), row(i))));
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  PrincipalAxes found;
  for (const size_t i : order) {
    if (!(lengths[i] > 0 && lengths[i] >= least * lengths[order[0]])) break;
    found.variances.push_back(lengths[i]);
    for (const double value : row(i)) found.axes.push_back(value / lengths[i]);
  }
  return found;
}

}  // namespace caltrop
