// Element-wise ops.

#include <algorithm>

#include "tests/engine/op_cases.h"

namespace caltrop::test {
namespace {

using Double = double (*)(double);
using Double2 = double (*)(double, double);

// y = f(x) on a tensor of this range; `kink` is a point without derivative.
OpCase unary(const std::string& op, Tensor (*run)(const Tensor&), Double f, Range range,
             bool kinked = false) {
  OpCase c{op,
           "",
           {{3, 7}},
           [run](const Tensors& x) { return run(x[0]); },
           [f](const Inputs& x) {
             Values y;
             for (const double v : x[0]) y.push_back(f(v));
             return y;
           }};
  c.ranges = {range};
  if (kinked) {
    c.kink = [](const Inputs& x) {
      double nearest = HUGE_VAL;
      for (const double v : x[0]) nearest = std::min(nearest, std::fabs(v));
      return nearest;
    };
  }
  return c;
}

OpCase constant(OpCase c) {
  c.differentiable = false;
  return c;
}

// y = f(a, b) for shapes that broadcast in one way or another.
void add_binary(std::vector<OpCase>& list, const std::string& op, Tensor (*run)(const Tensor&, const Tensor&),
                Double2 f, Range divisor = {}, bool distinct = false) {
  const std::vector<std::pair<Shape, Shape>> shapes = {
      {{3, 4}, {3, 4}}, {{2, 3, 4}, {4}},          {{3, 1}, {1, 4}},
      {{}, {2, 3}},     {{2, 1, 3, 1}, {4, 1, 2}}, {{5}, {}},
  };
  for (const auto& [a, b] : shapes) {
    OpCase c{op,
             to_string(a) + " and " + to_string(b),
             {a, b},
             [run](const Tensors& x) { return run(x[0], x[1]); },
             [a = a, b = b, f](const Inputs& x) {
               return broadcast(a, x[0], b, x[1], f);
             }};
    c.ranges = {{}, divisor};
    c.distinct = distinct;
    list.push_back(c);
  }
}

// y = f(x) where the other operand is a float.
OpCase with_float(const std::string& op, Tensor (*run)(const Tensor&), Double f, Range range = {}) {
  return unary(op, run, f, range);
}

// y = mask ? a : b, the mask broadcast over the rows of the others, over their columns, and not at all.
void add_where(std::vector<OpCase>& list) {
  const Shape shape = {3, 2, 2};
  for (const auto& [mask_shape, a, b] :
       std::vector<std::array<Shape, 3>>{{Shape{3, 1, 1}, shape, shape},
                                         {Shape{3, 2, 1}, shape, Shape{2}},
                                         {Shape{2}, shape, Shape{}},
                                         {Shape{3, 2, 2}, Shape{2, 1}, shape},
                                         {Shape{}, shape, shape}}) {
    Values mask;
    for (const int64_t extent : mask_shape) mask.resize(std::max<size_t>(1, mask.size()) * extent);
    if (mask.empty()) mask.push_back(0.0);
    for (size_t i = 0; i < mask.size(); i += 2) mask[i] = 1.0;
    const std::vector<float> floats(mask.begin(), mask.end());
    list.push_back({"where(Tensor,Tensor,Tensor)",
                    to_string(mask_shape) + " of " + to_string(a) + " and " + to_string(b),
                    {a, b},
                    [mask_shape = mask_shape, floats](const Tensors& x) {
                      return where(Tensor::from(case_backend(), mask_shape, floats), x[0], x[1]);
                    },
                    [mask_shape = mask_shape, mask, shape, a = a, b = b](const Inputs& x) {
                      const auto whole = [&](const Shape& from, const Values& values) {
                        return broadcast(from, values, shape, Values(12), [](double v, double) { return v; });
                      };
                      const Values yes = whole(mask_shape, mask), p = whole(a, x[0]), q = whole(b, x[1]);
                      Values y;
                      for (size_t i = 0; i < yes.size(); ++i) y.push_back(yes[i] != 0.0 ? p[i] : q[i]);
                      return y;
                    }});
  }
}

double gelu_tanh_of(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

}  // namespace

std::vector<OpCase> elementwise_cases() {
  std::vector<OpCase> list;
  add_binary(
      list, "operator+(Tensor,Tensor)", [](const Tensor& a, const Tensor& b) { return a + b; },
      [](double a, double b) { return a + b; });
  add_binary(
      list, "operator-(Tensor,Tensor)", [](const Tensor& a, const Tensor& b) { return a - b; },
      [](double a, double b) { return a - b; });
  add_binary(
      list, "operator*(Tensor,Tensor)", [](const Tensor& a, const Tensor& b) { return a * b; },
      [](double a, double b) { return a * b; });
  add_binary(
      list, "operator/(Tensor,Tensor)", [](const Tensor& a, const Tensor& b) { return a / b; },
      [](double a, double b) { return a / b; }, {0.5, 2.5});
  add_binary(
      list, "maximum(Tensor,Tensor)", maximum, [](double a, double b) { return std::max(a, b); }, {}, true);
  for (size_t i = list.size() - 6; i < list.size(); ++i) list[i].variant += ", no ties";
  const size_t gates = list.size();
  add_binary(list, "gate(Tensor,Tensor)", gate, [](double a, double b) { return b > 0.0 ? a : 0.0; });
  for (size_t i = gates; i < list.size(); ++i) {
    if (list[i].shapes[1].empty()) list[i].ranges[1] = {0.5, 2.0};  // all shut, it would tell nothing
    list[i].kink = [](const Inputs& x) {
      double nearest = HUGE_VAL;
      for (const double v : x[1]) nearest = std::min(nearest, std::fabs(v));
      return nearest;
    };
  }
  std::vector<OpCase> comparisons;
  add_binary(comparisons, "greater(Tensor,Tensor)", greater,
             [](double a, double b) { return a > b ? 1.0 : 0.0; });
  add_binary(comparisons, "equal(Tensor,Tensor)", equal,
             [](double a, double b) { return a == b ? 1.0 : 0.0; });
  for (const OpCase& c : comparisons) list.push_back(constant(c));

  add_where(list);

  const auto one = [](Tensor (*f)(const Tensor&)) {
    return f;
  };
  list.push_back(with_float("operator+(Tensor,float)", one([](const Tensor& x) { return x + 1.5f; }),
                            [](double x) { return x + 1.5; }));
  list.push_back(with_float("operator-(Tensor,float)", one([](const Tensor& x) { return x - 1.5f; }),
                            [](double x) { return x - 1.5; }));
  list.push_back(with_float("operator*(Tensor,float)", one([](const Tensor& x) { return x * 1.5f; }),
                            [](double x) { return x * 1.5; }));
  list.push_back(with_float("operator/(Tensor,float)", one([](const Tensor& x) { return x / 1.5f; }),
                            [](double x) { return x / 1.5; }));
  list.push_back(with_float("operator-(float,Tensor)", one([](const Tensor& x) { return 1.5f - x; }),
                            [](double x) { return 1.5 - x; }));

  list.push_back(
      unary("operator-(Tensor)", one([](const Tensor& x) { return -x; }), [](double x) { return -x; }, {}));
  list.push_back(unary(
      "abs(Tensor)", abs, [](double x) { return std::fabs(x); }, {}, true));
  list.push_back(constant(
      unary("sign(Tensor)", sign, [](double x) { return static_cast<double>((x > 0) - (x < 0)); }, {})));
  list.push_back(constant(unary("step(Tensor)", step, [](double x) { return x > 0 ? 1.0 : 0.0; }, {})));
  list.push_back(unary("exp(Tensor)", exp, [](double x) { return std::exp(x); }, {}));
  list.push_back(unary("log(Tensor)", log, [](double x) { return std::log(x); }, {0.5, 4.0}));
  list.push_back(unary("sqrt(Tensor)", sqrt, [](double x) { return std::sqrt(x); }, {0.5, 4.0}));
  list.push_back(unary("square(Tensor)", square, [](double x) { return x * x; }, {}));
  list.push_back(unary("reciprocal(Tensor)", reciprocal, [](double x) { return 1.0 / x; }, {0.5, 3.0}));
  list.push_back(unary(
      "relu(Tensor)", relu, [](double x) { return x > 0 ? x : 0.0; }, {}, true));
  list.push_back(unary(
      "leaky_relu(Tensor,float)", one([](const Tensor& x) { return leaky_relu(x, 0.1f); }),
      [](double x) { return x > 0 ? x : 0.1f * x; }, {}, true));
  OpCase clamped =
      unary("clamp(Tensor,float,float)", one([](const Tensor& x) { return clamp(x, -0.5f, 0.75f); }),
            [](double x) { return std::clamp(x, -0.5, 0.75); }, {});
  clamped.kink = [](const Inputs& x) {
    double nearest = HUGE_VAL;
    for (const double v : x[0]) nearest = std::min({nearest, std::fabs(v + 0.5), std::fabs(v - 0.75)});
    return nearest;
  };
  list.push_back(clamped);
  list.push_back(unary("sigmoid(Tensor)", sigmoid, reference::sigmoid, {-4.0, 4.0}));
  list.push_back(unary("tanh(Tensor)", tanh, [](double x) { return std::tanh(x); }, {}));
  list.push_back(unary("erf(Tensor)", erf, [](double x) { return std::erf(x); }, {}));
  list.push_back(unary("gelu(Tensor)", gelu, reference::gelu, {-4.0, 4.0}));
  list.push_back(unary("gelu_tanh(Tensor)", gelu_tanh, gelu_tanh_of, {-4.0, 4.0}));
  return list;
}

}  // namespace caltrop::test
