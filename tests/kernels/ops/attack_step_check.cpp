// Steps of gradient attacks under each norm, and the statistics of rows.

#include <algorithm>
#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

struct Batch {
  AttackStep step;
  std::vector<float> x, origin, g, eps, step_size;
};

// The step of one row over doubles, straight from the contract.
Values expected_row(const Batch& b, size_t row) {
  const auto cols = static_cast<size_t>(b.step.cols);
  const double eps = static_cast<double>(b.eps[row]), step_size = static_cast<double>(b.step_size[row]);
  const double move = step_size * static_cast<double>(b.step.direction);
  const float *x = b.x.data() + row * cols, *origin = b.origin.data() + row * cols,
              *g = b.g.data() + row * cols;
  double square = 0.0, highest = 0.0, ties = 0.0;
  for (size_t i = 0; i < cols; ++i) {
    square += static_cast<double>(g[i]) * static_cast<double>(g[i]);
    highest = std::max(highest, std::fabs(static_cast<double>(g[i])));
  }
  for (size_t i = 0; i < cols; ++i) ties += std::fabs(static_cast<double>(g[i])) == highest;
  Values moved(cols);
  double length = 0.0;
  for (size_t i = 0; i < cols; ++i) {
    const auto gi = static_cast<double>(g[i]);
    const auto sign = static_cast<double>((gi > 0) - (gi < 0));
    double d = sign;
    if (b.step.norm == Norm::l2) d = square > 0.0 ? gi / std::sqrt(square) : 0.0;
    if (b.step.norm == Norm::l1) d = highest > 0.0 && std::fabs(gi) == highest ? sign / ties : 0.0;
    moved[i] = static_cast<double>(x[i]) + move * d;
    const double delta = moved[i] - static_cast<double>(origin[i]);
    length += delta * delta;
  }
  length = std::sqrt(length);
  for (size_t i = 0; i < cols; ++i) {
    const auto o = static_cast<double>(origin[i]);
    if (b.step.norm == Norm::linf) moved[i] = std::clamp(moved[i], o - eps, o + eps);
    if (b.step.norm == Norm::l2 && length > eps) moved[i] = o + (moved[i] - o) * (eps / length);
    moved[i] = std::clamp(moved[i], static_cast<double>(b.step.low), static_cast<double>(b.step.high));
  }
  return moved;
}

void check_batch(Backend& backend, const std::string& what, const Batch& b, Report& report) {
  const int64_t count = b.step.rows * b.step.cols;
  Values expected;
  for (size_t r = 0; r < static_cast<size_t>(b.step.rows); ++r) {
    const Values row = expected_row(b, r);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  const Input<float> x(backend, b.x), origin(backend, b.origin), g(backend, b.g);
  const Output<float> y(backend, count), place(backend, b.x);
  backend.attack_step(b.step, x, origin, g, b.eps.data(), b.step_size.data(), y.data());
  // Values and steps are at most 1 here: three roundings, of the bound, the step and the result.
  const std::vector<float> actual = y.take(report, what);
  report.compare(what, actual, expected, 3.0 * kRounding);
  backend.attack_step(b.step, place.data(), origin, g, b.eps.data(), b.step_size.data(), place.data());
  report.equal(what + " in place", place.take(report, what), actual);
  const auto inside = [&](float v) {
    return v >= b.step.low && v <= b.step.high;
  };
  report.expect(std::all_of(actual.begin(), actual.end(), inside), what + ": leaves the box");
}

// x lies within eps of its origin where the norm projects, as a chain of steps leaves it.
Batch batch(Norm norm, int64_t rows, int64_t cols, double gradient, Samples& samples) {
  Batch b{{norm, rows, cols},
          {},
          samples.floats(rows * cols, 0.0, 1.0),
          samples.floats(rows * cols, -gradient, gradient),
          samples.floats(rows, 0.0, 0.5),
          samples.floats(rows, 0.0, 0.3)};
  const double reach =
      norm == Norm::linf ? 1.0 : 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(1, cols)));
  for (size_t i = 0; i < b.origin.size(); ++i) {
    const double radius = reach * static_cast<double>(b.eps[i / static_cast<size_t>(cols)]);
    b.x.push_back(static_cast<float>(
        std::clamp(static_cast<double>(b.origin[i]) + samples.uniform(-radius, radius), 0.0, 1.0)));
  }
  return b;
}

}  // namespace

Report check_attack_step(Backend& backend) {
  Report report;
  Samples samples(111);
  const char* names[] = {"linf step", "l2 step", "l1 step"};
  for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
    const std::string name = names[static_cast<int>(norm)];
    for (const int64_t rows : {0, 1, 3, 40}) {
      for (const int64_t cols : {1, 2, 7, 16, 33, 784})
        check_batch(backend, name, batch(norm, rows, cols, 1.0, samples), report);
    }
    // The scale of a gradient does not matter, down to where its square is no float any more.
    for (const double gradient : {1e-6, 1e-19, 1e-30, 1e-38, 1e15, 1e30}) {
      check_batch(backend, fmt::format("{}, gradient {}", name, gradient),
                  batch(norm, 3, 50, gradient, samples), report);
    }
    Batch zero = batch(norm, 4, 30, 0.0, samples);
    check_batch(backend, name + ", zero gradient", zero, report);
    zero.x = zero.origin;  // in the box and the ball: nothing moves at all
    const Input<float> x(backend, zero.x), origin(backend, zero.origin), g(backend, zero.g);
    const Output<float> y(backend, 120);
    backend.attack_step(zero.step, x, origin, g, zero.eps.data(), zero.step_size.data(), y.data());
    report.equal(name + ", zero gradient from the origin", y.take(report, name), zero.x);
    if (norm == Norm::l2) {
      zero.g[0] = std::numeric_limits<float>::infinity();
      const Input<float> infinite(backend, zero.g);
      backend.attack_step(zero.step, x, origin, infinite, zero.eps.data(), zero.step_size.data(), y.data());
      report.equal(name + ", infinite gradient", y.take(report, name), zero.x);
    }

    Batch down = batch(norm, 5, 20, 1.0, samples);  // a targeted attack
    down.step.direction = -1.0f;
    check_batch(backend, name + ", downwards", down, report);
    Batch box = batch(norm, 5, 20, 1.0, samples);
    box.step.low = 0.25f;
    box.step.high = 0.5f;
    check_batch(backend, name + ", narrow box", box, report);
    Batch still = batch(norm, 3, 20, 1.0, samples);
    std::fill(still.eps.begin(), still.eps.end(), 0.0f);
    if (norm != Norm::l1) check_batch(backend, name + ", eps 0", still, report);
    // Some coordinates of the gradient are zero, and several tie for the largest.
    Batch ties = batch(norm, 6, 33, 1.0, samples);
    ties.g = samples.integers(6 * 33, -1, 1);
    check_batch(backend, name + ", ties", ties, report);
  }
  return report;
}

Report check_row_stats(Backend& backend) {
  Report report;
  Samples samples(112);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t rows : {0, 1, 5, 40}) {
    for (const int64_t cols : {0, 1, 7, 16, 33, 784}) {
      for (const double range : {1.0, 1e-30, 1e30}) {
        std::vector<float> values = samples.floats(rows * cols, -range, range);
        for (float& v : values) {
          if (samples.below(40) == 0) v = kNan;
        }
        const Input<float> x(backend, values);
        std::vector<RowStats> stats(static_cast<size_t>(rows));
        backend.row_stats(rows, cols, x, stats.data());
        std::vector<float> actual;
        Values expected, tolerance;
        for (size_t r = 0; r < stats.size(); ++r) {
          double linf = 0.0, square = 0.0, l1 = 0.0, nans = 0.0;
          for (int64_t i = 0; i < cols; ++i) {
            const double v = std::fabs(
                static_cast<double>(values[r * static_cast<size_t>(cols) + static_cast<size_t>(i)]));
            if (std::isnan(v)) {
              ++nans;
              continue;
            }
            linf = std::max(linf, v);
            square += v * v;
            l1 += v;
          }
          for (const double v : {linf, std::sqrt(square), l1, nans}) expected.push_back(v);
          for (const double t : {0.0, 2.0, 2.0, 0.0}) {
            tolerance.push_back(t * kRounding * expected[4 * r + tolerance.size() % 4] + kSmallest);
          }
          for (const float v : {stats[r].linf, stats[r].l2, stats[r].l1, stats[r].nans}) actual.push_back(v);
        }
        report.compare(fmt::format("row_stats {}x{} of {}", rows, cols, range), actual, expected, tolerance);
      }
    }
  }
  return report;
}

}  // namespace caltrop::test
