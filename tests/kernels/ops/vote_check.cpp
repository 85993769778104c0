// The majority vote: clear votes, ties that the sums of softmax decide, ties of those too, NaNs.

#include <algorithm>
#include <limits>
#include <memory>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

// By the rule as backend.h states it, class by class.
int32_t elected(const std::vector<std::vector<float>>& logits, int64_t row, int64_t cols) {
  std::vector<int64_t> votes(static_cast<size_t>(cols));
  Values sums(static_cast<size_t>(cols));
  for (const std::vector<float>& all : logits) {
    const auto z = all.begin() + row * cols;
    const auto nan = std::find_if(z, z + cols, [](float v) { return std::isnan(v); });
    ++votes[static_cast<size_t>((nan != z + cols ? nan : std::max_element(z, z + cols)) - z)];
    const Values shares = reference::softmax(1, cols, reference::widen(std::vector<float>(z, z + cols)));
    for (size_t k = 0; k < sums.size(); ++k) sums[k] += shares[k];
  }
  size_t best = 0;
  for (size_t k = 1; k < votes.size(); ++k) {
    if (votes[k] > votes[best] || (votes[k] == votes[best] && sums[k] > sums[best])) best = k;
  }
  return static_cast<int32_t>(best);
}

void check(Backend& backend, const std::string& what, int64_t cols,
           const std::vector<std::vector<float>>& logits, Report& report) {
  const auto rows = static_cast<int64_t>(logits[0].size()) / cols;
  std::vector<std::unique_ptr<Input<float>>> inputs;
  std::vector<const float*> pointers;
  for (const std::vector<float>& z : logits) {
    inputs.push_back(std::make_unique<Input<float>>(backend, z));
    pointers.push_back(*inputs.back());
  }
  const Output<int32_t> answer(backend, rows);
  backend.vote(rows, cols, pointers, answer.data());
  std::vector<int32_t> expected;
  for (int64_t row = 0; row < rows; ++row) expected.push_back(elected(logits, row, cols));
  report.equal(fmt::format("vote of {} networks, {}x{} {}", logits.size(), rows, cols, what),
               answer.take(report, what), expected);
}

}  // namespace

Report check_vote(Backend& backend) {
  Report report;
  Samples samples(92);
  for (const size_t networks : {1, 2, 3, 5, 8}) {
    for (const int64_t cols : {1, 2, 10, 11, 40}) {
      const auto draw = [&](int64_t rows, double range) {
        std::vector<std::vector<float>> logits;
        for (size_t m = 0; m < networks; ++m) logits.push_back(samples.floats(rows * cols, -range, range));
        return logits;
      };
      check(backend, "rows", cols, draw(300, 4.0), report);  // votes tie often
      check(backend, "sure rows", cols, draw(50, 100.0), report);
      check(backend, "no rows", cols, draw(0, 1.0), report);
      // The same logits everywhere: every class ties for every network.
      check(backend, "equal logits", cols,
            std::vector(networks, std::vector<float>(static_cast<size_t>(cols), 0.5f)), report);
      std::vector<std::vector<float>> broken = draw(4, 4.0);
      for (int64_t row = 0; row < 4; ++row) {
        const auto place = static_cast<size_t>(row * cols + row % cols);
        broken[static_cast<size_t>(row) % networks][place] = std::numeric_limits<float>::quiet_NaN();
      }
      check(backend, "rows with NaN", cols, broken, report);
    }
  }
  // Two networks that are as sure of classes 3 and 1: the sums tie too, and the lower class wins.
  std::vector<float> one(11, 0.0f), other(11, 0.0f);
  one[3] = other[1] = 2.0f;
  check(backend, "mirrored rows", 11, {one, other}, report);
  check(backend, "mirrored rows", 11, {other, one}, report);
  return report;
}

}  // namespace caltrop::test
