// Sums over every subset of axes, and every permutation of axes.

#include <algorithm>
#include <numeric>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

struct Sums {
  Values value, scale;
  double terms = 0;
};

Sums sums(const Dims& dims, uint32_t axes, const std::vector<float>& x) {
  int64_t outputs = 1, stride[kMaxRank] = {};
  for (int k = dims.rank - 1; k >= 0; --k) {
    if ((axes >> k) & 1u) continue;
    stride[k] = outputs;
    outputs *= dims.size[k];
  }
  Sums y{Values(static_cast<size_t>(outputs)), Values(static_cast<size_t>(outputs)),
         static_cast<double>(dims.count()) / static_cast<double>(std::max<int64_t>(1, outputs))};
  for (int64_t i = 0; i < dims.count(); ++i) {
    int64_t rest = i, at = 0;
    for (int k = dims.rank - 1; k >= 0; --k) {
      at += rest % dims.size[k] * stride[k];
      rest /= dims.size[k];
    }
    const auto v = static_cast<double>(x[static_cast<size_t>(i)]);
    y.value[static_cast<size_t>(at)] += v;
    y.scale[static_cast<size_t>(at)] += std::fabs(v);
  }
  return y;
}

std::string text_of(const Dims& dims) {
  return fmt::format("({})", fmt::join(dims.size, dims.size + dims.rank, ","));
}

}  // namespace

Report check_sum(Backend& backend) {
  Report report;
  Samples samples(41);
  const std::vector<Dims> all = {
      {0, {}},
      {1, {1}},
      {1, {7}},
      {1, {8}},
      {1, {100003}},
      {2, {1, 17}},
      {2, {33, 5}},
      {2, {5, 33}},
      {2, {3, 0}},
      {2, {0, 3}},
      {2, {20000, 3}},
      {2, {3, 20000}},
      {3, {2, 3, 0}},
      {3, {4, 16, 32}},
      {4, {3, 4, 5, 7}},
      {4, {2, 1, 9, 1}},
      {4, {6, 5, 5, 19}},
      {4, {8, 14, 14, 33}},  // over (0,1,2): the statistics of a batch norm, several blocks to a channel
      {5, {2, 3, 2, 3, 2}},
      {6, {2, 3, 1, 2, 3, 5}},
  };
  for (const Dims& dims : all) {
    const std::vector<float> values = samples.floats(dims.count());
    const Input<float> x(backend, values);
    for (uint32_t axes = 0; axes < (1u << dims.rank); ++axes) {
      const Sums expected = sums(dims, axes, values);
      const Output<float> y(backend, static_cast<int64_t>(expected.value.size()));
      backend.sum(dims, axes, x, y.data());
      const std::string what = fmt::format("sum of {} over axes {:b}", text_of(dims), axes);
      report.compare_sums(what, y.take(report, what), expected.value, expected.scale, expected.terms);
    }
  }
  return report;
}

Report check_permute(Backend& backend) {
  Report report;
  Samples samples(42);
  const std::vector<Dims> all = {
      {0, {}},        {1, {5}},          {2, {1, 9}},         {2, {17, 33}},           {2, {0, 4}},
      {3, {2, 3, 4}}, {4, {3, 4, 5, 7}}, {4, {2, 28, 28, 3}}, {6, {2, 3, 1, 2, 3, 5}},
  };
  for (const Dims& dims : all) {
    const std::vector<float> values = samples.floats(dims.count());
    const Input<float> x(backend, values);
    int perm[kMaxRank];
    std::iota(perm, perm + dims.rank, 0);
    do {
      // y[j] where j enumerates the output's positions; stride of its axis k in x is that of axis perm[k].
      int64_t stride[kMaxRank], step = 1;
      for (int k = dims.rank - 1; k >= 0; --k) {
        stride[k] = step;
        step *= dims.size[k];
      }
      std::vector<float> expected;
      for (int64_t j = 0; j < dims.count(); ++j) {
        int64_t rest = j, from = 0;
        for (int k = dims.rank - 1; k >= 0; --k) {
          from += rest % dims.size[perm[k]] * stride[perm[k]];
          rest /= dims.size[perm[k]];
        }
        expected.push_back(values[static_cast<size_t>(from)]);
      }
      const Output<float> y(backend, dims.count());
      backend.permute(dims, perm, x, y.data());
      const std::string what = fmt::format("permute of {}", text_of(dims));
      report.equal(what, y.take(report, what), expected);
    } while (std::next_permutation(perm, perm + dims.rank));
  }
  return report;
}

}  // namespace caltrop::test
