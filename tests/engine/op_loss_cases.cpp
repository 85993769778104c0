// Softmax, losses, and what picks from rows of logits.

#include <algorithm>

#include "tests/engine/op_cases.h"

namespace caltrop::test {
namespace {

constexpr int64_t kRows = 4, kClasses = 5;
const Shape kLogits{kRows, kClasses};
const std::vector<int32_t> kLabels = {2, 0, 4, 2};

Labels labels() {
  return Labels(case_backend(), std::span<const int32_t>(kLabels));
}

// One value for each row, from the row and its label.
template <typename F>
Values by_row(const Values& z, const F& f) {
  Values y;
  for (size_t r = 0; r < kLabels.size(); ++r) y.push_back(f(&z[r * kClasses], kLabels[r]));
  return y;
}

double largest(const double* z, int32_t except = -1) {
  double best = -HUGE_VAL;
  for (int32_t k = 0; k < kClasses; ++k) {
    if (k != except) best = std::max(best, z[k]);
  }
  return best;
}

OpCase on_logits(const std::string& op, const std::string& variant,
                 const std::function<Tensor(const Tensor&)>& run,
                 const std::function<Values(const Values&)>& f) {
  OpCase c{op,
           variant,
           {kLogits},
           [run](const Tensors& x) { return run(x[0]); },
           [f](const Inputs& x) {
             return f(x[0]);
           }};
  c.ranges = {{-3.0, 3.0}};
  return c;
}

OpCase separated(OpCase c) {
  c.distinct = true;
  return c;
}
OpCase separated_constant(OpCase c) {
  c.differentiable = false;
  return separated(c);
}

Values cross_entropy_of(const Values& z) {
  const Values log_p = reference::log_softmax(kRows, kClasses, z);
  return by_row(log_p, [](const double* row, int32_t label) { return -row[label]; });
}

Values one_hot_of(const std::vector<int32_t>& index, int64_t classes) {
  Values y(index.size() * static_cast<size_t>(classes));
  for (size_t r = 0; r < index.size(); ++r)
    y[r * static_cast<size_t>(classes) + static_cast<size_t>(index[r])] = 1.0;
  return y;
}

Values one_hot_of_argmax(const Values& z) {
  std::vector<int32_t> index;
  for (int64_t r = 0; r < kRows; ++r) {
    const auto row = z.begin() + r * kClasses;
    index.push_back(static_cast<int32_t>(std::max_element(row, row + kClasses) - row));
  }
  return one_hot_of(index, kClasses);
}

}  // namespace

std::vector<OpCase> loss_cases() {
  std::vector<OpCase> list;
  list.push_back(on_logits("softmax(Tensor)", "", softmax,
                           [](const Values& z) { return reference::softmax(kRows, kClasses, z); }));
  list.push_back(on_logits("log_softmax(Tensor)", "", log_softmax,
                           [](const Values& z) { return reference::log_softmax(kRows, kClasses, z); }));
  list.push_back(separated_constant(on_logits(
      "argmax(Tensor)", "as one-hot", [](const Tensor& z) { return one_hot(argmax(z), kClasses); },
      one_hot_of_argmax)));
  list.push_back(separated_constant(on_logits(
      "vote(vector<Tensor>)", "as one-hot",
      [](const Tensor& z) {
        return one_hot(vote({-z, z, z}), kClasses);
      },
      one_hot_of_argmax)));
  list.push_back(separated_constant(on_logits(
      "one_hot(Labels,int64_t)", "", [](const Tensor&) { return one_hot(labels(), 6); },
      [](const Values&) { return one_hot_of(kLabels, 6); })));
  list.push_back(on_logits(
      "pick(Tensor,Labels)", "", [](const Tensor& z) { return pick(z, labels()); },
      [](const Values& z) {
        return by_row(z, [](const double* row, int32_t label) { return row[label]; });
      }));
  list.push_back(separated(on_logits("row_max(Tensor)", "", row_max, [](const Values& z) {
    return by_row(z, [](const double* row, int32_t) { return largest(row); });
  })));
  for (const CrossEntropyGrad style : {CrossEntropyGrad::stable, CrossEntropyGrad::torch}) {
    list.push_back(on_logits(
        "cross_entropy(Tensor,Labels,CrossEntropyGrad)",
        style == CrossEntropyGrad::stable ? "stable" : "torch",
        [style](const Tensor& z) { return cross_entropy(z, labels(), style); }, cross_entropy_of));
  }
  const auto two = [](const std::string& op, Tensor (*run)(const Tensor&, const Tensor&),
                      std::function<Values(const Inputs&)> f) {
    return OpCase{
        op, "in both", {kLogits, kLogits}, [run](const Tensors& x) { return run(x[0], x[1]); }, std::move(f)};
  };
  list.push_back(two("soft_cross_entropy(Tensor,Tensor)", soft_cross_entropy, [](const Inputs& x) {
    const Values log_p = reference::log_softmax(kRows, kClasses, x[0]);
    Values y(kRows);
    for (size_t i = 0; i < log_p.size(); ++i) y[i / kClasses] -= x[1][i] * log_p[i];
    return y;
  }));
  list.push_back(two("kl_divergence(Tensor,Tensor)", kl_divergence, [](const Inputs& x) {
    const Values log_t = reference::log_softmax(kRows, kClasses, x[0]),
                 log_p = reference::log_softmax(kRows, kClasses, x[1]);
    Values y(kRows);
    for (size_t i = 0; i < log_p.size(); ++i) y[i / kClasses] += std::exp(log_t[i]) * (log_t[i] - log_p[i]);
    return y;
  }));
  list.push_back(two("mean_squared_error(Tensor,Tensor)", mean_squared_error, [](const Inputs& x) {
    Values y(kRows);
    for (size_t i = 0; i < x[0].size(); ++i)
      y[i / kClasses] += (x[0][i] - x[1][i]) * (x[0][i] - x[1][i]) / static_cast<double>(kClasses);
    return y;
  }));
  list.push_back(separated(on_logits(
      "logit_margin(Tensor,Labels)", "", [](const Tensor& z) { return logit_margin(z, labels()); },
      [](const Values& z) {
        return by_row(z, [](const double* row, int32_t label) { return largest(row, label) - row[label]; });
      })));
  // All logits negative: a masked maximum that multiplies by zero would answer 0.
  OpCase negative = separated(on_logits(
      "logit_margin(Tensor,Labels)", "negative logits",
      [](const Tensor& z) { return logit_margin(z - 10.0f, labels()); },
      [](const Values& z) {
        return by_row(z, [](const double* row, int32_t label) { return largest(row, label) - row[label]; });
      }));
  negative.value_tolerance = 1e-5;  // 10 is lost again
  list.push_back(negative);
  return list;
}

}  // namespace caltrop::test
