// A linear support vector machine with the hinge loss, and the solver of its dual: coordinate descent (Hsieh et al. 2008,
// "A Dual Coordinate Descent Method for Large-scale Linear SVM", Algorithm 1; what liblinear does for -s 3).
//
//   minimise  1/2 |w|^2 + C sum_i max(0, 1 - y_i w.x_i)       over w; the last element of x is a 1, whose weight is the bias
//
// Written here rather than taken from liblinear: that draws its order from the C library's rand(), whose numbers differ
// from one system to the next, and stops by the largest violation, which says nothing of how far the objective is from
// its end. Here the order is a function of the seed, sums run in one order in double, and it stops by the duality gap, which
// bounds that distance.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace caltrop {

struct SvmOptions {
  double cost = 1;        // C
  double gap = 1e-3;      // where to stop: (primal - dual) / primal
  int64_t passes = 1000;  // at most
  uint64_t seed = 0;      // of the order of the examples
};
struct LinearSvm {
  std::vector<double> weights;  // (features)
  double bias = 0;
  double objective = 0, gap = 0;  // the primal, and (primal - dual) / primal
  int64_t passes = 0;
};
// `rows` (count, features) row-major; `positive` of each. An Error where a kind is missing.
LinearSvm train_svm(std::span<const float> rows, const std::vector<bool>& positive,
                    const SvmOptions& options);

}  // namespace caltrop
