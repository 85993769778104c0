// Softmax, cross-entropy and what goes with them: logits small, huge, equal and one-sided.

#include <algorithm>
#include <array>
#include <set>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

struct Logits {
  std::string what;
  int64_t rows, cols;
  std::vector<float> z;
};

const std::vector<Logits>& cases() {
  static const std::vector<Logits> all = [] {
    std::vector<Logits> list;
    Samples samples(91);
    const auto add = [&](const char* what, int64_t rows, int64_t cols, double range) {
      list.push_back({fmt::format("{} {}x{}", what, rows, cols), rows, cols,
                      samples.floats(rows * cols, -range, range)});
    };
    for (const int64_t cols : {1, 2, 3, 7, 8, 10, 11, 16, 17, 100, 1000}) add("small", 5, cols, 4.0);
    add("long", 3, 1025, 4.0);  // one row is shared by many threads
    add("long", 2, 5000, 90.0);
    add("small", 0, 10, 1.0);
    add("small", 1000, 10, 8.0);  // over several threads
    add("wide", 50, 10, 90.0);
    add("huge", 50, 10, 1e4);
    add("extreme", 20, 10, 1.6e38);
    list.push_back({"equal", 2, 10, std::vector<float>(20, 3e38f)});
    // One class ahead by more and more: its probability reaches 1 in fp32.
    std::vector<float> ahead;
    for (int r = 0; r < 60; ++r) {
      std::vector<float> row = samples.floats(10, -0.5, 0.5);
      row[static_cast<size_t>(r % 10)] += static_cast<float>(r) * 1.5f;
      ahead.insert(ahead.end(), row.begin(), row.end());
    }
    list.push_back({"ahead", 60, 10, ahead});
    return list;
  }();
  return all;
}

std::vector<int32_t> labels_of(const Logits& c, Samples& samples) {
  std::vector<int32_t> labels = samples.labels(c.rows, c.cols);
  for (size_t r = 0; r < labels.size() && c.what.starts_with("ahead"); ++r)
    labels[r] = static_cast<int32_t>(r % 10);
  return labels;
}

// Four roundings of a value of this size; probabilities below the smallest float may be lost.
Values tolerance_of(const Values& expected, double floor) {
  Values tolerance;
  for (const double v : expected) tolerance.push_back(4.0 * kRounding * std::fabs(v) + floor);
  return tolerance;
}

// Rows of which one has a NaN: first, last, or in the middle, and alone.
struct RowsWithNan {
  int64_t cols, at;
  std::vector<float> z;  // three rows, the NaN in the second

  static std::vector<RowsWithNan> all() {
    std::vector<RowsWithNan> list;
    Samples samples(96);
    for (const int64_t cols : {1, 2, 7, 10, 33, 700, 1500}) {
      for (const int64_t at : std::set<int64_t>{0, cols / 2, cols - 1}) {
        list.push_back({cols, at, samples.floats(3 * cols, -4.0, 4.0)});
        list.back().z[static_cast<size_t>(cols + at)] = std::nanf("");
      }
    }
    return list;
  }
};

// op(cols, z, label, y) on such rows, with `width` results a row: NaN in the second row and in no other.
template <typename Op>
void check_nan(Backend& backend, const char* name, bool row_of_results, Report& report, const Op& op) {
  for (const RowsWithNan& c : RowsWithNan::all()) {
    const size_t width = row_of_results ? static_cast<size_t>(c.cols) : 1;
    const Input<float> z(backend, c.z);
    const Input<int32_t> label(backend, std::vector<int32_t>{0, static_cast<int32_t>(c.cols - 1), 0});
    const Output<float> y(backend, static_cast<int64_t>(3 * width));
    op(c.cols, z, label, y.data());
    const std::vector<float> results = y.take(report, name);
    for (size_t i = 0; i < results.size(); ++i) {
      const bool expected = i / width == 1;
      report.expect(
          std::isnan(results[i]) == expected,
          fmt::format("{} of 3x{} with a NaN at (1,{}): result {} is {}", name, c.cols, c.at, i, results[i]));
    }
  }
}

}  // namespace

Report check_softmax(Backend& backend) {
  Report report;
  for (const Logits& c : cases()) {
    const Input<float> z(backend, c.z);
    const Output<float> y(backend, c.rows * c.cols);
    backend.softmax(c.rows, c.cols, z, y.data());
    const Values expected = reference::softmax(c.rows, c.cols, reference::widen(c.z));
    report.compare("softmax " + c.what, y.take(report, "softmax"), expected,
                   tolerance_of(expected, 2 * kSmallest));
  }
  check_nan(backend, "softmax", true, report,
            [&](int64_t cols, const float* z, const int32_t*, float* y) { backend.softmax(3, cols, z, y); });
  return report;
}

Report check_log_softmax(Backend& backend) {
  Report report;
  for (const Logits& c : cases()) {
    const Input<float> z(backend, c.z);
    const Output<float> y(backend, c.rows * c.cols);
    backend.log_softmax(c.rows, c.cols, z, y.data());
    const Values expected = reference::log_softmax(c.rows, c.cols, reference::widen(c.z));
    report.compare("log_softmax " + c.what, y.take(report, "log_softmax"), expected,
                   tolerance_of(expected, 4 * kRounding));
  }
  check_nan(
      backend, "log_softmax", true, report,
      [&](int64_t cols, const float* z, const int32_t*, float* y) { backend.log_softmax(3, cols, z, y); });
  return report;
}

Report check_cross_entropy(Backend& backend) {
  Report report;
  Samples samples(92);
  for (const Logits& c : cases()) {
    const std::vector<int32_t> labels = labels_of(c, samples);
    const Input<float> z(backend, c.z);
    const Input<int32_t> label(backend, labels);
    const Output<float> loss(backend, c.rows);
    backend.cross_entropy(c.rows, c.cols, z, label, loss.data());
    const Values log_p = reference::log_softmax(c.rows, c.cols, reference::widen(c.z));
    Values expected;
    for (size_t r = 0; r < labels.size(); ++r) {
      expected.push_back(-log_p[r * static_cast<size_t>(c.cols) + static_cast<size_t>(labels[r])]);
    }
    report.compare("cross_entropy " + c.what, loss.take(report, "loss"), expected,
                   tolerance_of(expected, 4 * kRounding));
  }
  check_nan(backend, "cross_entropy", false, report,
            [&](int64_t cols, const float* z, const int32_t* label, float* loss) {
              backend.cross_entropy(3, cols, z, label, loss);
            });
  return report;
}

Report check_cross_entropy_backward(Backend& backend) {
  Report report;
  Samples samples(93);
  for (const Logits& c : cases()) {
    const std::vector<int32_t> labels = labels_of(c, samples);
    const Input<float> z(backend, c.z);
    const Input<int32_t> label(backend, labels);
    const Values p = reference::softmax(c.rows, c.cols, reference::widen(c.z));
    for (const bool stable : {true, false}) {
      Values expected = p, tolerance = tolerance_of(p, 2 * kSmallest);
      for (size_t r = 0; r < labels.size(); ++r) {
        const size_t row = r * static_cast<size_t>(c.cols), at = row + static_cast<size_t>(labels[r]);
        double others = 0.0;
        for (size_t k = row; k < row + static_cast<size_t>(c.cols); ++k) others += k == at ? 0.0 : p[k];
        expected[at] = -others;
        // The stable form keeps all digits of a sum that may be 1e-30; p - 1 keeps those of 1.
        tolerance[at] = stable ? 6.0 * kRounding * others + 10 * kSmallest : 4.0 * kRounding;
      }
      const Output<float> dz(backend, c.rows * c.cols);
      backend.cross_entropy_backward(c.rows, c.cols, z, label, stable, dz.data());
      report.compare(fmt::format("cross_entropy_backward {} {}", stable ? "stable" : "torch", c.what),
                     dz.take(report, "dz"), expected, tolerance);
    }
  }
  for (const bool stable : {true, false}) {
    check_nan(backend, "cross_entropy_backward", true, report,
              [&](int64_t cols, const float* z, const int32_t* label, float* dz) {
                backend.cross_entropy_backward(3, cols, z, label, stable, dz);
              });
  }
  return report;
}

Report check_argmax(Backend& backend) {
  Report report;
  Samples samples(94);
  std::vector<Logits> all = cases();
  for (const int64_t cols : {1, 2, 5, 16, 33, 100}) {
    all.push_back({"ties", 40, cols, samples.integers(40 * cols, -1, 1)});  // the first maximum wins
  }
  for (const Logits& c : all) {
    std::vector<int32_t> expected;
    for (int64_t r = 0; r < c.rows; ++r) {
      int64_t best = 0;
      for (int64_t k = 1; k < c.cols; ++k) {
        if (c.z[static_cast<size_t>(r * c.cols + k)] > c.z[static_cast<size_t>(r * c.cols + best)]) best = k;
      }
      expected.push_back(static_cast<int32_t>(best));
    }
    const Input<float> z(backend, c.z);
    const Output<int32_t> index(backend, c.rows);
    backend.argmax(c.rows, c.cols, z, index.data());
    report.equal("argmax " + c.what, index.take(report, "argmax"), expected);
  }
  // A NaN is the maximum; of several the first.
  for (RowsWithNan c : RowsWithNan::all()) {
    c.z.back() = c.z[static_cast<size_t>(2 * c.cols + c.at)] = std::nanf("");
    const Input<float> z(backend, c.z);
    const Output<int32_t> index(backend, 2);
    backend.argmax(2, c.cols, z + c.cols, index.data());
    report.equal(fmt::format("argmax of {} values with a NaN", c.cols), index.take(report, "argmax"),
                 std::vector<int32_t>(2, static_cast<int32_t>(c.at)));
  }
  return report;
}

Report check_one_hot(Backend& backend) {
  Report report;
  Samples samples(95);
  for (const auto& [rows, cols] :
       std::vector<std::array<int64_t, 2>>{{0, 10}, {1, 1}, {5, 10}, {33, 11}, {700, 3}}) {
    const std::vector<int32_t> labels = samples.labels(rows, cols);
    std::vector<float> expected(static_cast<size_t>(rows * cols));
    for (size_t r = 0; r < labels.size(); ++r) {
      expected[r * static_cast<size_t>(cols) + static_cast<size_t>(labels[r])] = 1.0f;
    }
    const Input<int32_t> index(backend, labels);
    const Output<float> y(backend, rows * cols);
    backend.one_hot(rows, cols, index, y.data());
    report.equal("one_hot", y.take(report, "one_hot"), expected);
  }
  return report;
}

}  // namespace caltrop::test
