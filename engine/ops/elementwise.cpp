// Element-wise ops and their derivatives.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

Tensor scalar(const Tensor& like, float value) {
  return Tensor::full(like.backend(), {}, value);
}

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const size_t rank = std::max(a.size(), b.size());
  Shape shape(rank);
  for (size_t k = 0; k < rank; ++k) {  // k counts from the last axis
    const int64_t x = k < a.size() ? a[a.size() - 1 - k] : 1;
    const int64_t y = k < b.size() ? b[b.size() - 1 - k] : 1;
    if (x != y && x != 1 && y != 1) {
      fail("[{}] expected shapes that broadcast, got {} and {}", op, to_string(a), to_string(b));
    }
    shape[rank - 1 - k] = x == 1 ? y : x;
  }
  return shape;
}

Strided strided(const Tensor& x, size_t rank) {
  Strided view{x.data(), {}};
  int64_t stride = 1;
  for (size_t k = 0; k < x.shape().size(); ++k) {
    const int64_t extent = x.shape()[x.shape().size() - 1 - k];
    view.stride[rank - 1 - k] = extent == 1 ? 0 : stride;
    stride *= extent;
  }
  return view;
}

Tensor run_binary(const char* name, Binary op, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast_shape(name, a.shape(), b.shape());
  Dims dims{static_cast<int>(shape.size()), {}};
  std::copy(shape.begin(), shape.end(), dims.size);
  Tensor y = Tensor::uninitialized(a.backend(), shape);
  a.backend().binary(op, dims, strided(a, shape.size()), strided(b, shape.size()), y.mutable_data());
  return y;
}

Tensor run_unary(Unary op, const Tensor& x) {
  Tensor y = Tensor::uninitialized(x.backend(), x.shape());
  x.backend().unary(op, x.data(), y.mutable_data(), x.size());
  return y;
}

// A unary op whose vjp is g * slope(y), or g * slope() where the slope is seen in what went in.
template <typename Slope>
Tensor unary_op(const char* name, Unary op, const Tensor& x, Slope slope) {
  if constexpr (std::is_invocable_v<Slope>) {
    return record(name, run_unary(op, x), {x},
                  [slope](const Tensor& g, const Needs&) { return std::vector<Tensor>{g * slope()}; });
  } else {
    return record(name, run_unary(op, x), {x}, [slope](const Tensor& g, const Tensor& y, const Needs&) {
      return std::vector<Tensor>{g * slope(y)};
    });
  }
}

// phi(x) = e^(-x^2/2) / sqrt(2 pi)
Tensor normal_density(const Tensor& x) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(2.0 * std::numbers::pi));
  return exp(square(x) * -0.5f) * scale;
}

// The second derivative of gelu; its own derivative is phi(x) (x^3 - 4x).
Tensor gelu_curve(const Tensor& x) {
  return unary_op("gelu_curve", Unary::gelu_curve, x,
                  [x] { return normal_density(x) * x * (square(x) - 4.0f); });
}

Tensor gelu_grad(const Tensor& x) {
  return unary_op("gelu_grad", Unary::gelu_grad, x, [x] { return gelu_curve(x); });
}

}  // namespace

Tensor operator+(const Tensor& a, const Tensor& b) {
  return record("add", run_binary("add", Binary::add, a, b), {a, b}, [](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{g, g};
  });
}

Tensor operator-(const Tensor& a, const Tensor& b) {
  return record("sub", run_binary("sub", Binary::sub, a, b), {a, b}, [](const Tensor& g, const Needs& needs) {
    return std::vector<Tensor>{g, needs[1] ? -g : Tensor()};
  });
}

Tensor operator*(const Tensor& a, const Tensor& b) {
  return record("mul", run_binary("mul", Binary::mul, a, b), {a, b},
                [a, b](const Tensor& g, const Needs& needs) {
                  return std::vector<Tensor>{needs[0] ? g * b : Tensor(), needs[1] ? g * a : Tensor()};
                });
}

Tensor operator/(const Tensor& a, const Tensor& b) {
  return record("div", run_binary("div", Binary::div, a, b), {a, b},
                [b](const Tensor& g, const Tensor& y, const Needs& needs) {
                  return std::vector<Tensor>{needs[0] ? g / b : Tensor(), needs[1] ? -(g * y / b) : Tensor()};
                });
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  return record("maximum", run_binary("maximum", Binary::maximum, a, b), {a, b},
                [a, b](const Tensor& g, const Needs& needs) {
                  const Tensor second = greater(b, a);
                  return std::vector<Tensor>{needs[0] ? g * (1.0f - second) : Tensor(),
                                             needs[1] ? g * second : Tensor()};
                });
}

Tensor greater(const Tensor& a, const Tensor& b) {
  return run_binary("greater", Binary::greater, a, b);
}
Tensor equal(const Tensor& a, const Tensor& b) {
  return run_binary("equal", Binary::equal, a, b);
}

Tensor gate(const Tensor& a, const Tensor& b) {
  return record("gate", run_binary("gate", Binary::gate, a, b), {a},
                [b = b.detach()](const Tensor& g, const Needs&) { return std::vector<Tensor>{gate(g, b)}; });
}

Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast_shape("where", broadcast_shape("where", mask.shape(), a.shape()), b.shape());
  // The kernel takes one number of the mask for a row. Axes of `shape` that the mask leads with make rows; a mask
  // that is broadcast otherwise is written out, and rows have one element.
  Shape leading(shape.size() - mask.shape().size(), 1);
  leading.insert(leading.end(), mask.shape().begin(), mask.shape().end());
  size_t axes = leading.size();
  while (axes > 0 && leading[axes - 1] == 1) --axes;
  const auto split = shape.begin() + static_cast<int64_t>(axes);
  const bool leads = std::equal(shape.begin(), split, leading.begin());
  const Tensor chooses = leads ? mask : broadcast_to(mask, shape);
  const int64_t rows = chooses.size();

  Tensor y = Tensor::uninitialized(a.backend(), shape);
  a.backend().where(rows, rows > 0 ? y.size() / rows : 0, chooses.data(),
                    broadcast_to(a.detach(), shape).data(), broadcast_to(b.detach(), shape).data(),
                    y.mutable_data());
  return record("where", y, {a, b}, [mask](const Tensor& g, const Needs& needs) {
    const Tensor zero = scalar(g, 0.0f);
    return std::vector<Tensor>{needs[0] ? where(mask, g, zero) : Tensor(),
                               needs[1] ? where(mask, zero, g) : Tensor()};
  });
}

Tensor operator+(const Tensor& a, float b) {
  return a + scalar(a, b);
}
Tensor operator-(const Tensor& a, float b) {
  return a - scalar(a, b);
}
Tensor operator*(const Tensor& a, float b) {
  return a * scalar(a, b);
}
Tensor operator/(const Tensor& a, float b) {
  return a / scalar(a, b);
}
Tensor operator-(float a, const Tensor& b) {
  return scalar(b, a) - b;
}

Tensor operator-(const Tensor& x) {
  return record("neg", run_unary(Unary::neg, x), {x},
                [](const Tensor& g, const Needs&) { return std::vector<Tensor>{-g}; });
}

Tensor sign(const Tensor& x) {
  return run_unary(Unary::sign, x);
}
Tensor step(const Tensor& x) {
  return run_unary(Unary::step, x);
}

Tensor abs(const Tensor& x) {
  return unary_op("abs", Unary::abs, x, [x] { return sign(x); });
}

Tensor exp(const Tensor& x) {
  return unary_op("exp", Unary::exp, x, [](const Tensor& y) { return y; });
}

Tensor log(const Tensor& x) {
  return unary_op("log", Unary::log, x, [x] { return reciprocal(x); });
}

Tensor sqrt(const Tensor& x) {
  return unary_op("sqrt", Unary::sqrt, x, [](const Tensor& y) { return reciprocal(y) * 0.5f; });
}

Tensor square(const Tensor& x) {
  return x * x;
}

Tensor reciprocal(const Tensor& x) {
  return unary_op("reciprocal", Unary::reciprocal, x, [](const Tensor& y) { return -square(y); });
}

Tensor relu(const Tensor& x) {
  // Where it is flat is seen in the output too, which the layer after keeps anyway.
  return record("relu", run_unary(Unary::relu, x), {x}, [](const Tensor& g, const Tensor& y, const Needs&) {
    return std::vector<Tensor>{gate(g, y)};
  });
}

Tensor leaky_relu(const Tensor& x, float slope) {
  return relu(x) - relu(-x) * slope;
}

Tensor clamp(const Tensor& x, float low, float high) {
  const auto bound = [&](float value) {
    return Tensor::full(x.backend(), {}, value);
  };
  return -maximum(-maximum(x, bound(low)), bound(-high));
}

Tensor sigmoid(const Tensor& x) {
  return unary_op("sigmoid", Unary::sigmoid, x, [](const Tensor& y) { return y * (1.0f - y); });
}

Tensor tanh(const Tensor& x) {
  return unary_op("tanh", Unary::tanh, x, [](const Tensor& y) { return 1.0f - square(y); });
}

Tensor erf(const Tensor& x) {
  const auto scale = static_cast<float>(2.0 / std::sqrt(std::numbers::pi));
  return unary_op("erf", Unary::erf, x, [x, scale] { return exp(-square(x)) * scale; });
}

Tensor gelu(const Tensor& x) {
  CALTROP_COUNT_OP("gelu");
  return unary_op("gelu", Unary::gelu, x, [x] { return gelu_grad(x); });
}

Tensor gelu_tanh(const Tensor& x) {
  const auto scale = static_cast<float>(std::sqrt(2.0 / std::numbers::pi));
  const Tensor inner = (x + square(x) * x * 0.044715f) * scale;
  return x * (tanh(inner) + 1.0f) * 0.5f;
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  if (broadcast_shape("broadcast_to", x.shape(), shape) != shape) {
    fail("[broadcast_to] expected a shape that {} broadcasts to, got {}", to_string(x.shape()),
         to_string(shape));
  }
  Dims dims{static_cast<int>(shape.size()), {}};
  std::copy(shape.begin(), shape.end(), dims.size);
  Tensor y = Tensor::uninitialized(x.backend(), shape);
  const Tensor nothing = scalar(x, -0.0f);  // x + -0 is x, for every x
  x.backend().binary(Binary::add, dims, strided(x, shape.size()), strided(nothing, shape.size()),
                     y.mutable_data());
  return record("broadcast_to", y, {x}, [](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{g};  // the driver sums it back
  });
}

}  // namespace caltrop
