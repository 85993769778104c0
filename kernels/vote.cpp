// The majority vote of networks. Nearly every row is decided by its votes; exponentials are taken for ties
// alone.

#include <algorithm>
#include <array>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"
#include "kernels/partition.h"

namespace caltrop {
namespace {

constexpr int64_t kGrain = 256;  // rows

}  // namespace

void CpuBackend::vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) {
  parallel_ranges(rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::array<int32_t, kMostNetworks> choices{};
      for (size_t m = 0; m < logits.size(); ++m) {
        choices[m] = static_cast<int32_t>(first_maximum(logits[m] + r * cols, cols));
      }
      const auto votes_for = [&](int32_t k) {
        return std::count(choices.begin(), choices.begin() + logits.size(), k);
      };
      const auto sum_of_softmax = [&](int32_t k) {
        double sum = 0.0;
        for (const float* z : logits) sum += partition(z + r * cols, cols).probability(z[r * cols + k]);
        return sum;
      };
      int32_t best = choices[0];
      for (size_t m = 1; m < logits.size(); ++m) {
        const int32_t k = choices[m];
        if (k == best || votes_for(k) < votes_for(best)) continue;
        if (votes_for(k) > votes_for(best)) {
          best = k;
        } else {
          const int32_t low = std::min(k, best), high = std::max(k, best);
          best = sum_of_softmax(high) > sum_of_softmax(low) ? high : low;
        }
      }
      answer[r] = best;
    }
  });
}

}  // namespace caltrop
