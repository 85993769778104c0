// The fused step of a gradient attack, and the statistics of rows. One row (image) at a time: a first look at
// the gradient for its norm, then step, projection and box in one pass. Norms are taken in double, so that
// neither a tiny gradient nor a long row loses its length (other libraries floor norms at 1e-6 to 1e-12;
// CleverHans' pull request 1175 tells what that cost).

#include <algorithm>
#include <cmath>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

namespace caltrop {
namespace {

constexpr int64_t kGrain = 16;  // rows

struct Row {
  int64_t cols;
  float direction, low, high;
  const float *x, *origin, *g;
  float eps, step_size;
  float* y;
  float boxed(float value) const { return std::min(high, std::max(low, value)); }
};

void linf_step(const Row& r) {
  const float move = r.step_size * r.direction;
  for (int64_t i = 0; i < r.cols; ++i) {
    const float sign = static_cast<float>((r.g[i] > 0.0f) - (r.g[i] < 0.0f));
    const float moved = r.x[i] + move * sign;
    const float inside = std::min(r.origin[i] + r.eps, std::max(r.origin[i] - r.eps, moved));
    r.y[i] = r.boxed(inside);
  }
}

void l2_step(const Row& r) {
  double square = 0.0;
  for (int64_t i = 0; i < r.cols; ++i) square += static_cast<double>(r.g[i]) * r.g[i];
  // A zero gradient has no direction, and neither has one with NaN or infinities: the image stays.
  const bool moves = square > 0.0 && std::isfinite(square);
  const double scale = moves ? r.step_size * r.direction / std::sqrt(square) : 0.0;
  double length = 0.0;
  for (int64_t i = 0; i < r.cols; ++i) {
    const float moved = moves ? static_cast<float>(r.x[i] + scale * r.g[i]) : r.x[i];
    const double delta = static_cast<double>(moved) - r.origin[i];
    length += delta * delta;
    r.y[i] = moved;
  }
  length = std::sqrt(length);
  const double shrink = length > r.eps ? r.eps / length : 1.0;
  for (int64_t i = 0; i < r.cols; ++i) {
    const double delta = static_cast<double>(r.y[i]) - r.origin[i];
    r.y[i] = r.boxed(shrink < 1.0 ? static_cast<float>(r.origin[i] + shrink * delta) : r.y[i]);
  }
}

void l1_step(const Row& r) {
  float highest = 0.0f;
  for (int64_t i = 0; i < r.cols; ++i) highest = std::max(highest, std::fabs(r.g[i]));
  int64_t ties = 0;
  for (int64_t i = 0; i < r.cols; ++i) ties += highest > 0.0f && std::fabs(r.g[i]) == highest;
  const float share = ties > 0 ? r.step_size * r.direction / static_cast<float>(ties) : 0.0f;
  for (int64_t i = 0; i < r.cols; ++i) {
    const bool moves = ties > 0 && std::fabs(r.g[i]) == highest;
    r.y[i] = r.boxed(moves ? r.x[i] + std::copysign(1.0f, r.g[i]) * share : r.x[i]);
  }
}

}  // namespace

void CpuBackend::attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                             const float* eps, const float* step_size, float* y) {
  parallel_ranges(step.rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t at = r * step.cols;
      const Row row{step.cols,   step.direction, step.low, step.high,    x + at,
                    origin + at, g + at,         eps[r],   step_size[r], y + at};
      switch (step.norm) {
        case Norm::linf:
          linf_step(row);
          break;
        case Norm::l2:
          l2_step(row);
          break;
        case Norm::l1:
          l1_step(row);
          break;
      }
    }
  });
}

void CpuBackend::row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) {
  parallel_ranges(rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double square = 0.0, total = 0.0;
      float highest = 0.0f;
      int64_t nans = 0;
      for (int64_t i = 0; i < cols; ++i) {
        const float v = std::fabs(x[r * cols + i]);
        if (std::isnan(v)) {
          ++nans;
          continue;
        }
        highest = std::max(highest, v);
        total += v;
        square += static_cast<double>(v) * v;
      }
      stats[r] = {highest, static_cast<float>(std::sqrt(square)), static_cast<float>(total),
                  static_cast<float>(nans)};
    }
  });
}

}  // namespace caltrop
