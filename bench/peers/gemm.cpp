// The three matrix products of Target's dense layer by Caltrop's tile, OpenBLAS and oneDNN on one core, and
// whether the bits of a row depend on how many rows there are. Needs libopenblas-dev and libdnnl-dev; from
// the checkout:
//   g++ -std=c++20 -O2 -I. bench/peers/gemm.cpp build/kernels/libcaltrop_kernels.a
//       -lopenblas -ldnnl -lhwy -ltbb -lfmt -o build/gemm
//   OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=SKYLAKEX build/gemm      (SKYLAKEX: where the processor has AVX-512)

#include <cblas.h>
#include <dnnl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/backend.h"

namespace {

struct Product {
  const char* name;
  bool trans_a, trans_b;
  int m, n, k;
};

using Gemm = void (*)(const Product&, const float*, const float*, float*);

void caltrop_gemm(const Product& p, const float* a, const float* b, float* c) {
  caltrop::cpu_backend().matmul(p.trans_a, p.trans_b, p.m, p.n, p.k, a, b, c, {});
}

void openblas_gemm(const Product& p, const float* a, const float* b, float* c) {
  cblas_sgemm(CblasRowMajor, p.trans_a ? CblasTrans : CblasNoTrans, p.trans_b ? CblasTrans : CblasNoTrans,
              p.m, p.n, p.k, 1, a, p.trans_a ? p.m : p.k, b, p.trans_b ? p.k : p.n, 0, c, p.n);
}

void onednn_gemm(const Product& p, const float* a, const float* b, float* c) {
  dnnl_sgemm(p.trans_a ? 'T' : 'N', p.trans_b ? 'T' : 'N', p.m, p.n, p.k, 1, a, p.trans_a ? p.m : p.k, b,
             p.trans_b ? p.k : p.n, 0, c, p.n);
}

std::vector<float> values(int count, int salt) {
  std::vector<float> v(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) v[static_cast<size_t>(i)] = std::sin(0.7f * static_cast<float>(i + salt));
  return v;
}

// The largest error of a few elements against double sums.
double error_of(const Product& p, const std::vector<float>& a, const std::vector<float>& b,
                const std::vector<float>& c) {
  double worst = 0;
  for (int t = 0; t < 64; ++t) {
    const int i = t * 37 % p.m, j = t * 101 % p.n;
    double sum = 0;
    for (int k = 0; k < p.k; ++k) {
      sum += static_cast<double>(a[static_cast<size_t>(p.trans_a ? k * p.m + i : i * p.k + k)]) *
             b[static_cast<size_t>(p.trans_b ? j * p.k + k : k * p.n + j)];
    }
    worst = std::max(worst, std::fabs(sum - c[static_cast<size_t>(i * p.n + j)]));
  }
  return worst;
}

void report(const char* library, Gemm gemm, const Product& p) {
  const std::vector<float> a = values(p.m * p.k, 1), b = values(p.k * p.n, 2);
  std::vector<float> c(static_cast<size_t>(p.m) * p.n);
  gemm(p, a.data(), b.data(), c.data());
  const double error = error_of(p, a, b, c);
  if (!(error <= 1e-2)) std::printf("%s %s is wrong by %g\n", library, p.name, error);
  double best = 1e9;
  for (int repeat = 0; repeat < 50; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    gemm(p, a.data(), b.data(), c.data());
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  int differ = 0;
  for (const int rows : {1, 7, 24}) {
    if (p.trans_a) break;
    Product few = p;
    few.m = rows;
    std::vector<float> part(static_cast<size_t>(rows) * p.n);
    gemm(few, a.data(), b.data(), part.data());
    differ += std::memcmp(part.data(), c.data(), static_cast<size_t>(p.n) * sizeof(float)) != 0;
  }
  std::printf("%-9s %-9s %4d x %4d x %4d  %7.3f ms  %4.0f GFLOP/s  first row differs for %d of 3 batches\n",
              library, p.name, p.m, p.n, p.k, best * 1e3, 2e-9 * p.m * p.n * p.k / best, differ);
}

}  // namespace

int main() {
  caltrop::set_cpu_threads(1);
  const Product products[] = {{"forward", false, true, 128, 100, 5408},
                              {"d-input", false, false, 128, 5408, 100},
                              {"d-weight", true, false, 100, 5408, 128},
                              {"forward", false, true, 32, 100, 5408},
                              {"d-input", false, false, 32, 5408, 100}};
  for (const Product& p : products) {
    report("caltrop", caltrop_gemm, p);
    report("openblas", openblas_gemm, p);
    report("onednn", onednn_gemm, p);
  }
}
