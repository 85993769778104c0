// Products of pairs of small matrices, as in attention between the pixels of an image: a pair is a task, whose product
// is matmul's on one thread, so the bits are those of so many calls of it.

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

namespace caltrop {

void CpuBackend::batch_matmul(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                              const float* a, const float* b, float* c) {
  parallel_for(batch, [&](int64_t i) {
    matmul(trans_a, trans_b, m, n, k, a + i * m * k, b + i * k * n, c + i * m * n, {});
  });
}

}  // namespace caltrop
