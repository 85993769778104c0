// What the op suite knows about each public op: where to evaluate it, a plain definition over doubles, and
// how far its kinks are. op_suite_test.cpp turns each case into a check of values, of the gradient and of the
// Hessian.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/ops.h"
#include "tests/reference.h"

namespace caltrop::test {

using reference::Samples;
using reference::Values;

// The backend that the suite is running on; cases that hold tensors of their own put them there.
Backend& case_backend();

// The differentiable inputs of an op, on the device and as doubles.
using Tensors = std::vector<Tensor>;
using Inputs = std::vector<Values>;

struct Range {
  double low = -2.0, high = 2.0;
};

struct OpCase {
  std::string op;       // its signature in engine/ops.h, as op_suite_test.cpp reads it
  std::string variant;  // which use of it
  std::vector<Shape> shapes;
  std::function<Tensor(const Tensors&)> run;
  std::function<Values(const Inputs&)> reference;

  std::vector<Range> ranges = {};  // of each input; the default where absent
  // All inputs together are a shuffled grid: no two values are close, so that no maximum is in doubt.
  bool distinct = false;
  // How near the inputs are to a point without derivative; they are drawn anew until it is `margin` or more.
  std::function<double(const Inputs&)> kink = {};
  double margin = 0.02;
  double step = 1e-3;          // of the finite differences; small enough to stay on one side of a kink
  bool differentiable = true;  // else the result must carry no history
  // Relative to the largest element: some ten roundings of fp32, and more where terms cancel.
  double value_tolerance = 3e-6, first_tolerance = 5e-6, second_tolerance = 1e-5;
};

std::vector<OpCase> elementwise_cases();
std::vector<OpCase> shape_cases();
std::vector<OpCase> image_cases();
std::vector<OpCase> block_cases();
std::vector<OpCase> loss_cases();

// NumPy's broadcasting over doubles.
template <typename F>
Values broadcast(const Shape& shape_a, const Values& a, const Shape& shape_b, const Values& b, const F& f) {
  const size_t rank = std::max(shape_a.size(), shape_b.size());
  const auto extent = [rank](const Shape& shape, size_t k) {
    return k + shape.size() < rank ? 1 : shape[k + shape.size() - rank];
  };
  int64_t count = 1;
  for (size_t k = 0; k < rank; ++k) count *= std::max(extent(shape_a, k), extent(shape_b, k));
  Values y;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at[2] = {0, 0}, stride[2] = {1, 1};
    for (size_t k = rank; k-- > 0;) {
      const int64_t sizes[2] = {extent(shape_a, k), extent(shape_b, k)}, size = std::max(sizes[0], sizes[1]);
      for (int side = 0; side < 2; ++side) {
        if (sizes[side] > 1) at[side] += rest % size * stride[side];
        stride[side] *= sizes[side];
      }
      rest /= size;
    }
    y.push_back(f(a[static_cast<size_t>(at[0])], b[static_cast<size_t>(at[1])]));
  }
  return y;
}

}  // namespace caltrop::test
