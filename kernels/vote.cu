// The majority vote of networks: a thread for each row. Nearly every row is decided by its votes; exponentials
// are taken for ties alone, in double, as on the CPU.

#include "kernels/gpu.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

struct Votes {
  const float* logits[kMostNetworks];
  int count;
};

__device__ int choice_of(const float* z, int64_t cols) {
  int best = 0;
  for (int k = 1; k < cols; ++k) {
    if (is_larger(z[k], z[best])) best = k;
  }
  return best;
}

// softmax(z)[k]
__device__ double share_of(const float* z, int64_t cols, int k) {
  const double highest = z[choice_of(z, cols)];
  double sum = 0.0;
  for (int64_t i = 0; i < cols; ++i) sum += exp(z[i] - highest);
  return exp(z[k] - highest) / sum;
}

__device__ int votes_for(const Votes& from, int64_t row, int64_t cols, int k) {
  int votes = 0;
  for (int m = 0; m < from.count; ++m) votes += choice_of(from.logits[m] + row * cols, cols) == k;
  return votes;
}

__device__ double sum_of_softmax(const Votes& from, int64_t row, int64_t cols, int k) {
  double sum = 0.0;
  for (int m = 0; m < from.count; ++m) sum += share_of(from.logits[m] + row * cols, cols, k);
  return sum;
}

__global__ void vote_kernel(int64_t rows, int64_t cols, const __grid_constant__ Votes from, int32_t* answer) {
  for (int64_t row = first_index(); row < rows; row += index_step()) {
    int best = choice_of(from.logits[0] + row * cols, cols), most = votes_for(from, row, cols, best);
    for (int m = 1; m < from.count; ++m) {
      const int k = choice_of(from.logits[m] + row * cols, cols), votes = votes_for(from, row, cols, k);
      if (k == best || votes < most) continue;
      if (votes == most) {
        const int low = k < best ? k : best, high = k < best ? best : k;
        best = sum_of_softmax(from, row, cols, high) > sum_of_softmax(from, row, cols, low) ? high : low;
        continue;
      }
      best = k;
      most = votes;
    }
    answer[row] = best;
  }
}

}  // namespace

void GpuBackend::vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) {
  const Stream::Op range(stream_, "vote");
  if (rows == 0) return;
  constexpr int kThreads = 128;
  Votes from{{}, static_cast<int>(logits.size())};
  for (size_t m = 0; m < logits.size(); ++m) from.logits[m] = logits[m];
  launch("vote", vote_kernel, grid_for(rows, kThreads), kThreads, 0, stream_, rows, cols, from, answer);
}

}  // namespace caltrop::CALTROP_WORLD
