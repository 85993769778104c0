// Element-wise functions of one argument: dense sweeps over their whole domain against double, the values at
// which care is needed, and every length of tail.

#include <algorithm>
#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

using reference::normal_cdf;
using reference::normal_pdf;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kHuge = std::numeric_limits<float>::max();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();

// The distance from |x| to the next float.
double ulp(double x) {
  const double m = std::max(std::fabs(x), static_cast<double>(std::numeric_limits<float>::min()));
  return std::ldexp(1.0, std::ilogb(m) - 23);
}

struct Function {
  Unary op;
  const char* name;
  double (*f)(double);
  double ulps;                                   // of the result, where `tolerance` is not given
  double (*tolerance)(double) = nullptr;         // absolute error
  std::vector<std::pair<float, float>> at = {};  // values that are asked for exactly
};

// The exponent -x^2/2 of the normal density is rounded before exp, which costs the tail x^2/2 roundings of
// relative accuracy; six more go to the polynomial and products.
double normal_roundings(double x) {
  return (6.0 + x * x) * kRounding;
}

// clang-format off
const std::vector<Function>& functions() {
  static const std::vector<Function> all = {
    {Unary::neg, "neg", [](double x) { return -x; }, 0, nullptr, {{kInf, -kInf}, {kNan, kNan}}},
    {Unary::abs, "abs", [](double x) { return std::fabs(x); }, 0, nullptr, {{-kInf, kInf}, {-0.0f, 0.0f}, {kNan, kNan}}},
    {Unary::sign, "sign", [](double x) { return static_cast<double>((x > 0) - (x < 0)); }, 0, nullptr,
     {{0.0f, 0.0f}, {-0.0f, 0.0f}, {kTiny, 1.0f}, {-kTiny, -1.0f}, {-kInf, -1.0f}, {kNan, kNan}}},
    {Unary::exp, "exp", [](double x) { return std::exp(x); }, 2, nullptr,
     {{0.0f, 1.0f}, {kInf, kInf}, {-kInf, 0.0f}, {kHuge, kInf}, {-kHuge, 0.0f}, {89.0f, kInf}, {105.0f, kInf},
      {1e9f, kInf}, {-1e9f, 0.0f}, {kNan, kNan}}},
    {Unary::log, "log", [](double x) { return std::log(x); }, 2, nullptr,
     {{1.0f, 0.0f}, {0.0f, -kInf}, {-1.0f, kNan}, {kInf, kInf}, {kNan, kNan}}},
    {Unary::sqrt, "sqrt", [](double x) { return std::sqrt(x); }, 0.5, nullptr,
     {{0.0f, 0.0f}, {-1.0f, kNan}, {kInf, kInf}, {kNan, kNan}}},
    {Unary::reciprocal, "reciprocal", [](double x) { return 1.0 / x; }, 0.5, nullptr,
     {{0.0f, kInf}, {-0.0f, -kInf}, {kInf, 0.0f}, {kNan, kNan}}},
    {Unary::relu, "relu", [](double x) { return x > 0 ? x : 0.0; }, 0, nullptr,
     {{0.0f, 0.0f}, {kTiny, kTiny}, {-kTiny, 0.0f}, {-kInf, 0.0f}, {kInf, kInf}, {kNan, kNan}}},
    {Unary::step, "step", [](double x) { return x > 0 ? 1.0 : 0.0; }, 0, nullptr,
     {{0.0f, 0.0f}, {-0.0f, 0.0f}, {kTiny, 1.0f}, {-kTiny, 0.0f}, {kInf, 1.0f}, {-kInf, 0.0f}, {kNan, 0.0f}}},
    {Unary::sigmoid, "sigmoid", reference::sigmoid, 4, nullptr,
     {{0.0f, 0.5f}, {kInf, 1.0f}, {-kInf, 0.0f}, {kHuge, 1.0f}, {-kHuge, 0.0f}, {kNan, kNan}}},
    {Unary::tanh, "tanh", [](double x) { return std::tanh(x); }, 3, nullptr,
     {{0.0f, 0.0f}, {kInf, 1.0f}, {-kInf, -1.0f}, {kHuge, 1.0f}, {kNan, kNan}}},
    {Unary::erf, "erf", [](double x) { return std::erf(x); }, 2, nullptr,
     {{0.0f, 0.0f}, {kInf, 1.0f}, {-kInf, -1.0f}, {kHuge, 1.0f}, {-kHuge, -1.0f}, {kNan, kNan}}},
    {Unary::gelu, "gelu", reference::gelu, 0,
     [](double x) { return normal_roundings(x) * std::fabs(reference::gelu(x)) + (4 + std::fabs(x)) * kSmallest; },
     {{0.0f, 0.0f}, {1e30f, 1e30f}, {-1e30f, 0.0f}, {kInf, kInf}, {kNan, kNan}}},
    // The sums in the derivatives cancel near their zeros, so the error is measured against their terms.
    {Unary::gelu_grad, "gelu_grad", reference::gelu_grad, 0,
     [](double x) { return normal_roundings(x) * (normal_cdf(x) + std::fabs(x) * normal_pdf(x)) + (4 + std::fabs(x)) * kSmallest; },
     {{0.0f, 0.5f}, {1e18f, 1.0f}, {-1e18f, 0.0f}, {kHuge, 1.0f}, {-kHuge, 0.0f}, {kNan, kNan}}},
    {Unary::gelu_curve, "gelu_curve", reference::gelu_curve, 0,
     [](double x) { return normal_roundings(x) * normal_pdf(x) * (2.0 + x * x) + 4 * kSmallest * (1.0 + x * x); },
     {{1e18f, 0.0f}, {-1e18f, 0.0f}, {kHuge, 0.0f}, {-kHuge, 0.0f}, {kNan, kNan}}},
  };
  return all;
}
// clang-format on

// Where the sweep looks: evenly over [-16, 16], where the functions bend, and by factors from the smallest
// normal float to 1e6, both signs.
const std::vector<float>& sweep() {
  static const std::vector<float> points = [] {
    std::vector<float> list = {0.0f};
    for (int i = -80000; i <= 80000; ++i) list.push_back(static_cast<float>(i) * 2.0e-4f);
    for (double x = 1.2e-38; x < 1e6; x *= 1.002) {
      list.push_back(static_cast<float>(x));
      list.push_back(static_cast<float>(-x));
    }
    return list;
  }();
  return points;
}

void check_values(Backend& backend, const Function& function, const std::vector<float>& values,
                  Report& report) {
  Values expected, tolerance;
  for (const float x : values) {
    const double y = function.f(static_cast<double>(x));
    expected.push_back(y > kHuge ? HUGE_VAL : y);
    tolerance.push_back(function.tolerance ? function.tolerance(static_cast<double>(x))
                                           : function.ulps * ulp(y));
  }
  const auto count = static_cast<int64_t>(values.size());
  const Input<float> x(backend, values);
  const Output<float> y(backend, count);
  backend.unary(function.op, x, y.data(), count);
  report.compare(function.name, y.take(report, function.name), expected, tolerance);
}

}  // namespace

Report check_unary(Backend& backend) {
  Report report;
  for (const Function& function : functions()) {
    std::vector<float> domain = sweep();
    if (function.op == Unary::log || function.op == Unary::sqrt) {
      std::erase_if(domain, [](float x) { return x <= 0.0f; });
    }
    check_values(backend, function, domain, report);
    // Each length of tail, and a length over two threads.
    Samples samples(21);
    for (int64_t count : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 70001}) {
      check_values(backend, function, samples.floats(count, 0.01, 4.0), report);
    }
    for (const auto& [x, expected] : function.at) {
      // In the middle of a vector and in a tail.
      const Input<float> in(backend, std::vector<float>(21, x));
      const Output<float> y(backend, 21);
      backend.unary(function.op, in, y.data(), 21);
      report.compare(fmt::format("{}({})", function.name, x), y.take(report, function.name),
                     Values(21, static_cast<double>(expected)), 0.0);
    }
    // y may be x.
    const std::vector<float> values = samples.floats(37, 0.1, 2.0);
    const Input<float> x(backend, values);
    const Output<float> apart(backend, 37), place(backend, values);
    backend.unary(function.op, x, apart.data(), 37);
    backend.unary(function.op, place.data(), place.data(), 37);
    report.equal(std::string(function.name) + " in place", place.take(report, "unary"),
                 apart.take(report, "unary"));
  }
  return report;
}

}  // namespace caltrop::test
