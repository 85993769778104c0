// Shapes, reductions and matrix products.

#include <fmt/format.h>

#include "tests/engine/op_cases.h"

namespace caltrop::test {
namespace {

// y[i] = sum over j of x[j] where target(j) == i, times a factor: every sum, mean and rearrangement.
OpCase linear(const std::string& op, const std::string& variant, const Shape& shape, int64_t outputs,
              const std::function<Tensor(const Tensor&)>& run, const std::function<int64_t(int64_t)>& target,
              double factor = 1.0) {
  return {op,
          variant,
          {shape},
          [run](const Tensors& x) { return run(x[0]); },
          [outputs, target, factor](const Inputs& x) {
            Values y(static_cast<size_t>(outputs));
            for (size_t j = 0; j < x[0].size(); ++j)
              y[static_cast<size_t>(target(static_cast<int64_t>(j)))] += factor * x[0][j];
            return y;
          }};
}

OpCase product(int64_t m, int64_t n, int64_t k, bool trans_a, bool trans_b) {
  const Shape a = trans_a ? Shape{k, m} : Shape{m, k}, b = trans_b ? Shape{n, k} : Shape{k, n};
  return {"matmul(Tensor,Tensor,bool,bool)",
          to_string(a) + (trans_a ? "^T " : " ") + to_string(b) + (trans_b ? "^T" : ""),
          {a, b},
          [=](const Tensors& x) { return matmul(x[0], x[1], trans_a, trans_b); },
          [=](const Inputs& x) {
            return reference::matmul(trans_a, trans_b, m, n, k, x[0], x[1]);
          }};
}

OpCase products(int64_t batch, int64_t m, int64_t n, int64_t k, bool trans_a, bool trans_b) {
  const Shape a = trans_a ? Shape{batch, k, m} : Shape{batch, m, k},
              b = trans_b ? Shape{batch, n, k} : Shape{batch, k, n};
  return {"batch_matmul(Tensor,Tensor,bool,bool)",
          to_string(a) + (trans_a ? "^T " : " ") + to_string(b) + (trans_b ? "^T" : ""),
          {a, b},
          [=](const Tensors& x) { return batch_matmul(x[0], x[1], trans_a, trans_b); },
          [=](const Inputs& x) {
            Values y;
            for (int64_t i = 0; i < batch; ++i) {
              const auto pair = [&](size_t which, int64_t size) {
                return Values(x[which].begin() + i * size, x[which].begin() + (i + 1) * size);
              };
              const Values one = reference::matmul(trans_a, trans_b, m, n, k, pair(0, m * k), pair(1, k * n));
              y.insert(y.end(), one.begin(), one.end());
            }
            return y;
          }};
}

}  // namespace

std::vector<OpCase> shape_cases() {
  const auto same = [](int64_t j) {
    return j;
  };
  const auto zero = [](int64_t) {
    return int64_t{0};
  };
  std::vector<OpCase> list;
  list.push_back(linear(
      "reshape(Tensor,Shape)", "(2,6) to (3,2,2)", {2, 6}, 12,
      [](const Tensor& x) {
        return reshape(x, {3, 2, 2});
      },
      same));
  // x (2,3,4): y[k,i,j] = x[i,j,k]
  list.push_back(linear(
      "permute(Tensor,vector<int>)", "(2,3,4) to (4,2,3)", {2, 3, 4}, 24,
      [](const Tensor& x) {
        return permute(x, {2, 0, 1});
      },
      [](int64_t j) { return j % 4 * 6 + j / 4; }));
  // x (2,2,3,2) as an image batch from NHWC to NCHW
  list.push_back(linear(
      "permute(Tensor,vector<int>)", "NHWC to NCHW", {2, 2, 3, 2}, 24,
      [](const Tensor& x) {
        return permute(x, {0, 3, 1, 2});
      },
      [](int64_t j) { return j / 12 * 12 + j % 2 * 6 + j % 12 / 2; }));
  list.push_back(
      linear("transpose(Tensor)", "", {3, 5}, 15, transpose, [](int64_t j) { return j % 5 * 3 + j / 5; }));
  list.push_back({"broadcast_to(Tensor,Shape)",
                  "(3,1) to (2,3,4)",
                  {{3, 1}},
                  [](const Tensors& x) {
                    return broadcast_to(x[0], {2, 3, 4});
                  },
                  [](const Inputs& x) {
                    return broadcast({3, 1}, x[0], {2, 3, 4}, Values(24), [](double a, double) { return a; });
                  }});
  list.push_back({"broadcast_to(Tensor,Shape)",
                  "() to (2,2)",
                  {{}},
                  [](const Tensors& x) {
                    return broadcast_to(x[0], {2, 2});
                  },
                  [](const Inputs& x) {
                    return Values(4, x[0][0]);
                  }});
  list.push_back(linear(
      "sum_to(Tensor,Shape)", "(2,3,4) to (3,1)", {2, 3, 4}, 3,
      [](const Tensor& x) {
        return sum_to(x, {3, 1});
      },
      [](int64_t j) { return j / 4 % 3; }));
  list.push_back(linear(
      "sum_to(Tensor,Shape)", "(2,3) to ()", {2, 3}, 1, [](const Tensor& x) { return sum_to(x, {}); }, zero));

  const std::string sum_over = "sum(Tensor,vector<int>,bool)", mean_over = "mean(Tensor,vector<int>,bool)";
  const auto middle = [](int64_t j) {
    return j / 12 * 4 + j % 4;
  };
  const auto first = [](int64_t j) {
    return j % 12;
  };
  list.push_back(linear(
      sum_over, "axis 1 of (2,3,4)", {2, 3, 4}, 8, [](const Tensor& x) { return sum(x, {1}); }, middle));
  list.push_back(linear(
      sum_over, "axis -2 of (2,3,4), kept", {2, 3, 4}, 8, [](const Tensor& x) { return sum(x, {-2}, true); },
      middle));
  list.push_back(linear(
      sum_over, "axes 0, 2 of (2,3,4)", {2, 3, 4}, 3,
      [](const Tensor& x) {
        return sum(x, {2, 0});
      },
      [](int64_t j) { return j / 4 % 3; }));
  list.push_back(linear(
      sum_over, "no axis", {2, 3}, 6, [](const Tensor& x) { return sum(x, {}); }, same));
  list.push_back(linear(
      "sum(Tensor)", "", {2, 3, 4}, 1, [](const Tensor& x) { return sum(x); }, zero));
  list.push_back(linear(
      mean_over, "axis 0 of (2,3,4)", {2, 3, 4}, 12, [](const Tensor& x) { return mean(x, {0}); }, first,
      1.0 / 2.0));
  list.push_back(linear(
      mean_over, "axis 1 of (2,3,4), kept", {2, 3, 4}, 8, [](const Tensor& x) { return mean(x, {1}, true); },
      middle, 1.0 / 3.0));
  list.push_back(linear(
      "mean(Tensor)", "", {3, 5}, 1, [](const Tensor& x) { return mean(x); }, zero, 1.0 / 15.0));

  for (const bool trans_a : {false, true}) {
    for (const bool trans_b : {false, true}) {
      list.push_back(product(3, 4, 5, trans_a, trans_b));
      list.push_back(product(1, 2, 7, trans_a, trans_b));
      list.push_back(products(3, 2, 4, 3, trans_a, trans_b));
    }
  }
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
    const auto sums = [](const Inputs& x) {
      Values z = reference::matmul(false, true, 4, 3, 6, x[0], x[1]);
      for (size_t i = 0; i < z.size(); ++i) z[i] += x[2][i % 3];
      return z;
    };
    OpCase c{"dense(Tensor,Tensor,Tensor,Activation)",
             fmt::format("(4,6) (3,6) activation {}", static_cast<int>(activation)),
             {{4, 6}, {3, 6}, {3}},
             [activation](const Tensors& x) { return dense(x[0], x[1], x[2], activation); },
             [sums, activation](const Inputs& x) {
               Values z = sums(x);
               for (double& v : z) v = reference::activate(activation, v);
               return z;
             }};
    if (activation == Activation::relu) {
      c.kink = [sums](const Inputs& x) {
        double nearest = HUGE_VAL;
        for (const double z : sums(x)) nearest = std::min(nearest, std::fabs(z));
        return nearest;
      };
    }
    list.push_back(c);
  }
  return list;
}

}  // namespace caltrop::test
