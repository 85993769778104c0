// where: masks of every kind over rows of every width; NaN and infinities beside the chosen values.

#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {

Report check_where(Backend& backend) {
  Report report;
  Samples samples(57);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                  kInf = std::numeric_limits<float>::infinity();
  // Zero has two signs; whatever else there is chooses the first, a NaN too.
  const std::vector<float> kinds = {0.0f, 1.0f, -0.0f, -2.5f, kNan, kInf, 1e-45f};
  for (const auto& [rows, cols] : std::vector<std::array<int64_t, 2>>{{0, 3},
                                                                      {3, 0},
                                                                      {1, 1},
                                                                      {9, 1},
                                                                      {70001, 1},  // over two threads
                                                                      {7, 2},
                                                                      {33, 15},
                                                                      {14, 16},
                                                                      {61, 784},
                                                                      {1, 70001}}) {
    std::vector<float> mask;
    for (int64_t r = 0; r < rows; ++r) mask.push_back(kinds[static_cast<size_t>(r) % kinds.size()]);
    std::vector<float> a = samples.floats(rows * cols), b = samples.floats(rows * cols), expected;
    for (int64_t i = 0; i < rows * cols; ++i) {
      const auto place = static_cast<size_t>(i);
      const bool first = mask[static_cast<size_t>(i / cols)] != 0.0f;
      (first ? b : a)[place] = i % 3 == 0 ? kNan : kInf;  // must leave no trace
      expected.push_back((first ? a : b)[place]);
    }
    const Input<float> chooses(backend, mask), left(backend, a), right(backend, b);
    const Output<float> y(backend, rows * cols);
    backend.where(rows, cols, chooses, left, right, y.data());
    report.equal(fmt::format("where {}x{}", rows, cols), y.take(report, "where"), expected);
  }
  return report;
}

}  // namespace caltrop::test
