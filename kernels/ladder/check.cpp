#include "kernels/ladder/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace caltrop {
namespace {

constexpr double kRounding = 0x1p-24;    // half the spacing of floats at 1
constexpr double kSmallest = 0x1p-149;   // the smallest positive float
constexpr double kMostTerms = 16 << 20;  // of a whole comparison; above, rows are drawn

// splitmix64 (Steele, Lea and Flood 2014): any sequence that repeats will do here.
class Draw {
 public:
  explicit Draw(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  float between(float low, float high) {
    return low + (high - low) * (static_cast<float>(bits() >> 40) * 0x1p-24f);
  }
  int64_t below(int64_t bound) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(bound)); }

 private:
  uint64_t state_;
};

// One row of the result in doubles: the values, and the sum of magnitudes of each one's terms.
struct Row {
  std::vector<double> values, scales;
};

void matmul_row(const LadderProblem& p, const LadderOperands& in, int64_t row, Row& out) {
  for (int64_t t = 0; t < p.k; ++t) {
    const double a = in.left[static_cast<size_t>(row * p.k + t)];
    for (int64_t col = 0; col < p.n; ++col) {
      const double term = a * in.right[static_cast<size_t>(t * p.n + col)];
      out.values[static_cast<size_t>(col)] += term;
      out.scales[static_cast<size_t>(col)] += std::fabs(term);
    }
  }
}

void conv_row(const LadderProblem& p, const LadderOperands& in, int64_t row, Row& out) {
  const Conv2d& s = p.conv;
  const int64_t n = row / (s.out_h() * s.out_w()), oy = row / s.out_w() % s.out_h(), ox = row % s.out_w();
  for (int64_t ky = 0; ky < s.kh; ++ky) {
    for (int64_t kx = 0; kx < s.kw; ++kx) {
      const int64_t y = oy * s.stride_h - s.pad_h + ky, x = ox * s.stride_w - s.pad_w + kx;
      if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
      for (int64_t i = 0; i < s.cin; ++i) {
        const double pixel = in.left[static_cast<size_t>(((n * s.h + y) * s.w + x) * s.cin + i)];
        for (int64_t o = 0; o < s.cout; ++o) {
          const double term =
              pixel * in.right[static_cast<size_t>(((ky * s.kw + kx) * s.cin + i) * s.cout + o)];
          out.values[static_cast<size_t>(o)] += term;
          out.scales[static_cast<size_t>(o)] += std::fabs(term);
        }
      }
    }
  }
}

// A softmax is right to a few roundings of its value, and as many more as its logit is below the highest,
// since the difference was rounded before the exponential. `scales` holds that number times the value.
void softmax_row(const LadderProblem& p, const LadderOperands& in, int64_t row, Row& out) {
  const float* z = in.left.data() + row * p.n;
  double highest = -HUGE_VAL, sum = 0.0;
  for (int64_t i = 0; i < p.n; ++i) highest = std::max(highest, static_cast<double>(z[i]));
  for (int64_t i = 0; i < p.n; ++i) sum += std::exp(z[i] - highest);
  for (int64_t i = 0; i < p.n; ++i) {
    const double value = std::exp(z[i] - highest) / sum;
    out.values[static_cast<size_t>(i)] = value;
    out.scales[static_cast<size_t>(i)] = value * (1.0 + 2.0 * (highest - z[i]));
  }
}

struct Shape {
  int64_t rows, cols;  // of the result, as rows that are computed one by one
  double terms;        // of each element's sum
  double work;         // terms to compute for a row
};
Shape shape_of(const LadderProblem& p) {
  switch (p.ladder) {
    case Ladder::matmul:
      return {p.m, p.n, static_cast<double>(p.k), static_cast<double>(p.k * p.n)};
    case Ladder::conv2d: {
      const auto terms = static_cast<double>(p.conv.kh * p.conv.kw * p.conv.cin);
      return {p.conv.n * p.conv.out_h() * p.conv.out_w(), p.conv.cout, terms,
              terms * static_cast<double>(p.conv.cout)};
    }
    case Ladder::softmax:
      return {p.m, p.n, static_cast<double>(p.n), static_cast<double>(p.n)};
  }
  fail("[ladder] unknown ladder");
}

// Every row, or as many as the work allows, the first and last with them.
std::vector<int64_t> rows_to_check(const Shape& shape) {
  std::vector<int64_t> rows;
  const auto most = std::max<int64_t>(32, static_cast<int64_t>(kMostTerms / std::max(1.0, shape.work)));
  if (shape.rows <= most) {
    for (int64_t r = 0; r < shape.rows; ++r) rows.push_back(r);
    return rows;
  }
  Draw draw(static_cast<uint64_t>(shape.rows));
  rows = {0, shape.rows - 1};
  while (static_cast<int64_t>(rows.size()) < most) rows.push_back(draw.below(shape.rows));
  return rows;
}

LadderProblem product(int64_t m, int64_t n, int64_t k) {
  return {Ladder::matmul, m, n, k, {}};
}
LadderProblem convolution(const Conv2d& conv) {
  return {Ladder::conv2d, 0, 0, 0, conv};
}
LadderProblem rows_of(int64_t rows, int64_t cols) {
  return {Ladder::softmax, rows, cols, 0, {}};
}

}  // namespace

int64_t LadderProblem::left_count() const {
  if (ladder == Ladder::matmul) return m * k;
  return ladder == Ladder::conv2d ? conv.n * conv.h * conv.w * conv.cin : m * n;
}

int64_t LadderProblem::right_count() const {
  if (ladder == Ladder::matmul) return k * n;
  return ladder == Ladder::conv2d ? conv.kh * conv.kw * conv.cin * conv.cout : 0;
}

int64_t LadderProblem::result_count() const {
  return ladder == Ladder::conv2d ? conv.n * conv.out_h() * conv.out_w() * conv.cout : m * n;
}

double LadderProblem::flops() const {
  if (ladder == Ladder::softmax) return 0;
  const int64_t terms = ladder == Ladder::matmul ? k : conv.kh * conv.kw * conv.cin;
  return 2.0 * static_cast<double>(result_count()) * static_cast<double>(terms);
}

double LadderProblem::bytes() const {
  return 4.0 * static_cast<double>(left_count() + right_count() + result_count());
}

std::string LadderProblem::text() const {
  if (ladder == Ladder::matmul) return fmt::format("{} x {} x {}", m, n, k);
  if (ladder == Ladder::softmax) return fmt::format("{} rows of {}", m, n);
  std::string text = fmt::format("{} images {}x{}x{} -> {}, window {}x{}", conv.n, conv.h, conv.w, conv.cin,
                                 conv.cout, conv.kh, conv.kw);
  if (conv.stride_h != 1 || conv.stride_w != 1)
    text += fmt::format(", stride {}x{}", conv.stride_h, conv.stride_w);
  if (conv.pad_h != 0 || conv.pad_w != 0) text += fmt::format(", padding {}x{}", conv.pad_h, conv.pad_w);
  return text;
}

LadderOperands ladder_operands(const LadderProblem& problem, uint64_t seed) {
  Draw draw(seed);
  const float range = problem.ladder == Ladder::softmax ? 4.0f : 1.0f;
  LadderOperands operands;
  operands.left.resize(static_cast<size_t>(problem.left_count()));
  operands.right.resize(static_cast<size_t>(problem.right_count()));
  for (float& value : operands.left) value = draw.between(-range, range);
  for (float& value : operands.right) value = draw.between(-range, range);
  return operands;
}

std::vector<LadderProblem> ladder_edge_problems(Ladder ladder) {
  switch (ladder) {
    case Ladder::matmul:
      return {product(1, 1, 1),      product(3, 5, 7),      product(32, 32, 32),   product(33, 31, 34),
              product(64, 64, 16),   product(65, 130, 9),   product(128, 128, 24), product(129, 257, 17),
              product(256, 132, 20), product(17, 4, 8),     product(1, 300, 40),   product(300, 1, 40),
              product(5, 6, 0),      product(0, 7, 3),      product(7, 0, 3),      product(128, 100, 130),
              product(4, 4, 260),    product(130, 128, 12), product(40, 260, 6),   product(2, 3, 1025)};
    case Ladder::conv2d:
      return {convolution({2, 28, 28, 1, 32, 3, 3}),
              convolution({1, 13, 13, 64, 32, 3, 3}),
              convolution({1, 1, 1, 1, 1, 1, 1}),
              convolution({2, 9, 10, 3, 7, 3, 3, 2, 2, 1, 1}),
              convolution({3, 7, 6, 3, 7, 3, 2}),
              convolution({1, 8, 8, 5, 33, 5, 5}),
              convolution({2, 5, 5, 3, 40, 5, 5}),
              convolution({2, 11, 7, 1, 5, 2, 2, 3, 3, 0, 0}),
              convolution({2, 4, 4, 3, 5, 1, 1, 1, 1, 2, 3}),
              convolution({1, 5, 12, 70, 36, 3, 3, 1, 1, 1, 1}),
              convolution({1, 40, 44, 2, 3, 17, 17, 2, 3, 4, 5}),
              convolution({1, 73, 72, 1, 2, 70, 70, 1, 1, 0, 0}),  // a patch that no shared memory holds
              convolution({0, 6, 6, 3, 7, 3, 3}),
              convolution({2, 5, 5, 0, 3, 3, 3}),
              convolution({2, 5, 5, 3, 0, 3, 3})};
    case Ladder::softmax:
      return {rows_of(1, 1),    rows_of(5, 2),   rows_of(300, 10), rows_of(3, 31),   rows_of(9, 32),
              rows_of(9, 33),   rows_of(2, 255), rows_of(2, 256),  rows_of(3, 1000), rows_of(2, 1028),
              rows_of(1, 4099), rows_of(70, 4),  rows_of(0, 10),   rows_of(5, 0)};
  }
  fail("[ladder] unknown ladder");
}

std::vector<NamedProblem> ladder_timed_problems(Ladder ladder) {
  switch (ladder) {
    case Ladder::matmul:
      return {{"square", product(2048, 2048, 2048)}, {"Target's first dense layer", product(128, 100, 5408)}};
    case Ladder::conv2d:
      return {{"Target's convolution", convolution({1024, 28, 28, 1, 32, 3, 3})},
              {"EAT-3's second convolution", convolution({1024, 13, 13, 64, 32, 3, 3})}};
    case Ladder::softmax:
      return {{"logits of ten classes", rows_of(65536, 10)}, {"long rows", rows_of(8192, 4096)}};
  }
  fail("[ladder] unknown ladder");
}

void check_ladder_result(const LadderProblem& problem, const LadderOperands& operands,
                         const std::vector<float>& result, LadderCheck& check) {
  if (!check.failure.empty()) return;
  const Shape shape = shape_of(problem);
  ++check.compared;  // the size
  if (static_cast<int64_t>(result.size()) != shape.rows * shape.cols) {
    check.failure =
        fmt::format("{}: expected {} values, got {}", problem.text(), shape.rows * shape.cols, result.size());
    return;
  }
  // Roundings of a sum walk at random: about the root of their number, and a few for its terms and the
  // result.
  const double roundings = (problem.ladder == Ladder::softmax ? 8.0 : 4.0) + 2.0 * std::sqrt(shape.terms);
  Row row;
  for (const int64_t r : rows_to_check(shape)) {
    row.values.assign(static_cast<size_t>(shape.cols), 0.0);
    row.scales.assign(static_cast<size_t>(shape.cols), 0.0);
    if (problem.ladder == Ladder::matmul) matmul_row(problem, operands, r, row);
    if (problem.ladder == Ladder::conv2d) conv_row(problem, operands, r, row);
    if (problem.ladder == Ladder::softmax) softmax_row(problem, operands, r, row);
    for (int64_t c = 0; c < shape.cols; ++c) {
      const auto at = static_cast<size_t>(c);
      const double got = result[static_cast<size_t>(r * shape.cols + c)];
      const double tolerance = roundings * kRounding * row.scales[at] + 4 * kSmallest;
      const double error = std::fabs(got - row.values[at]);
      ++check.compared;
      if (!(error <= tolerance)) {
        check.failure = fmt::format("{}, element ({}, {}): expected {:.9g}, got {:.9g}", problem.text(), r, c,
                                    row.values[at], got);
        return;
      }
      check.worst = std::max(check.worst, error / tolerance);
    }
  }
}

LadderCheck check_ladder_version(Lab& lab, Ladder ladder, int version) {
  LadderCheck check;
  uint64_t seed = 1;
  for (const LadderProblem& problem : ladder_edge_problems(ladder)) {
    const LadderOperands operands = ladder_operands(problem, seed++);
    for (const int64_t shift : {0, 1}) {
      check_ladder_result(problem, operands, lab.run(problem, version, operands, shift), check);
      if (!check.failure.empty()) {
        check.failure += shift == 0 ? "" : " (operands not aligned)";
        return check;
      }
    }
  }
  return check;
}

}  // namespace caltrop
