#include "attacks/box_projection.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "attacks/attack_rows.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

constexpr int kNewtonSteps = 40;
constexpr double kEnough = 1e-6;  // relative: what fp32 sums over an image are good for

// The way of one row: how far along v, and whether it has arrived. A row that has arrived does not move
// again, however long others of its batch take.
struct Way {
  double wanted;  // how much w.x must change, at least 0
  double s = 0;
  bool arrived = false;

  void newton(double moved, double slope) {
    if (arrived) return;
    const double left = wanted - moved;
    arrived = !(left > kEnough * wanted) || !(slope > 0.0);
    if (!arrived) s += left / slope;
  }
};

}  // namespace

Tensor project_to_hyperplane(Norm norm, const Tensor& x, const Tensor& w, std::span<const float> value,
                             float low, float high) {
  Backend& backend = x.backend();
  const size_t rows = value.size();
  std::vector<Way> ways;
  std::vector<float> sides;
  for (const float v : value) {
    ways.push_back({std::fabs(static_cast<double>(v))});
    sides.push_back(v > 0.0f ? -1.0f : 1.0f);
  }
  const Tensor toward = w * per_row(backend, sides);  // w.x grows along it where it must grow, else shrinks
  const Tensor v = norm == Norm::linf ? sign(toward) : toward;
  const Tensor speed = toward * v;  // of w.x along v, of each pixel while it is inside the box

  Tensor d = Tensor::zeros(backend, x.shape()), free = speed;
  for (int k = 0; k < kNewtonSteps; ++k) {
    const std::vector<float> moved = sum(toward * d, {1, 2, 3}).to_host(),
                             slope = sum(free, {1, 2, 3}).to_host();
    std::vector<float> s(rows);
    for (size_t r = 0; r < rows; ++r) {
      ways[r].newton(moved[r], slope[r]);
      s[r] = static_cast<float>(ways[r].s);
    }
    if (std::all_of(ways.begin(), ways.end(), [](const Way& way) { return way.arrived; })) break;
    const Tensor y = x + v * per_row(backend, s);
    const Tensor inside = clamp(y, low, high);
    d = inside - x;
    free = speed * equal(inside, y);
  }
  return d;
}

}  // namespace caltrop
