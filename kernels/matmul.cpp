// Matrix product c = op(a) op(b), row-major.
//
// When the columns of op(b) lie next to each other (b not transposed) a tile broadcasts elements of a against
// rows of b. When both operands run along k (a b^T, the forward pass of a dense layer) tiles of dot products
// are used instead, so that no operand is ever transposed or packed: the dense layers here are small and
// their weights are read once per call. Long sums are cut into blocks along k that stay in the cache, and go
// on where the block before left off: the order of each sum is the same whatever the blocks.

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/math-inl.h"

#ifndef CALTROP_MATMUL_PRODUCT_
#define CALTROP_MATMUL_PRODUCT_
namespace caltrop {
struct Product {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_step;  // of op(a): distance of rows, and of neighbours along k
  const float* b;
  float* c;
};
}  // namespace caltrop
#endif

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

constexpr int64_t kDepth = 1024;
constexpr int64_t kDotDepth = 1024;
// Tiles of dot products: rows of a by rows of b.
constexpr int kDotA = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 4 : 3;
constexpr int kDotB = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 5 : 3;

// Rows [i0, i1) by columns [j0, j1) of c, b not transposed.
void broadcast_product(const Product& x, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  for_column_panels(j1 - j0, [&]<int V>(int64_t j, int64_t columns) HWY_ATTR {
    const bool whole = columns == V * kLanes;
    for (int64_t k = 0; k < x.k || k == 0; k += kDepth) {
      const int64_t depth = std::min(kDepth, x.k - k);
      const float* b = x.b + k * x.n + j0 + j;
      for_row_tiles(i1 - i0, [&]<int P>(int64_t i) HWY_ATTR {
        const float* a = x.a + (i0 + i) * x.a_row + k * x.a_step;
        float* c = x.c + (i0 + i) * x.n + j0 + j;
        Sums<P, V> sums;
        if (k == 0) {
          tile_set(sums, 0.0f);
        } else {
          tile_load(sums, c, x.n, columns);
        }
        if (whole) {
          tile_multiply<true>(sums, Rows<P>(a, x.a_row), x.a_step, b, x.n, depth, columns);
        } else {
          tile_multiply<false>(sums, Rows<P>(a, x.a_row), x.a_step, b, x.n, depth, columns);
        }
        tile_store(sums, c, x.n, columns);
      });
    }
  });
}

// Lane by lane sums of one block along k go on from `partial`, (rows, columns, lanes), unless it is the
// first; after the last block the lanes are added to one another.
template <int P, int Q>
HWY_INLINE void dot_tile(const Product& x, int64_t i, int64_t j, int64_t k, int64_t depth, float* partial,
                         int64_t partial_row) {
  const Floats d;
  const float* a = x.a + i * x.k + k;
  const float* b = x.b + j * x.k + k;
  Vec sums[P][Q];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q)
      sums[p][q] = k == 0 ? hn::Zero(d) : hn::Load(d, partial + p * partial_row + q * kLanes);
  }
  const auto accumulate = [&](auto load) HWY_ATTR {
    Vec rows[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) rows[p] = load(a + p * x.k);
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      const Vec other = load(b + q * x.k);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sums[p][q] = hn::MulAdd(rows[p], other, sums[p][q]);
    }
    a += kLanes;
    b += kLanes;
  };
  int64_t t = 0;
  for (; t + kLanes <= depth; t += kLanes)
    accumulate([&](const float* at) HWY_ATTR { return hn::LoadU(d, at); });
  if (t < depth) {
    const Mask rest = hn::FirstN(d, static_cast<size_t>(depth - t));
    accumulate([&](const float* at) HWY_ATTR { return load_first(rest, at, depth - t); });
  }
  const bool last = k + depth == x.k;
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      if (last) {
        x.c[(i + p) * x.n + j + q] = hn::GetLane(hn::SumOfLanes(d, sums[p][q]));
      } else {
        hn::Store(sums[p][q], d, partial + p * partial_row + q * kLanes);
      }
    }
  }
}

// Rows [i0, i1) by columns [j0, j1) of c = a b^T.
void dot_product(const Product& x, int64_t i0, int64_t i1, int64_t j0, int64_t j1, float* partial) {
  const int64_t partial_row = (j1 - j0) * kLanes;
  for (int64_t k = 0; k < x.k || k == 0; k += kDotDepth) {
    const int64_t depth = std::min(kDotDepth, x.k - k);
    const auto rows = [&]<int Q>(int64_t j) HWY_ATTR {
      int64_t i = i0;
      const auto at = [&] {
        return partial + (i - i0) * partial_row + (j - j0) * kLanes;
      };
      for (; i + kDotA <= i1; i += kDotA) dot_tile<kDotA, Q>(x, i, j, k, depth, at(), partial_row);
      for (; i + 2 <= i1; i += 2) dot_tile<2, Q>(x, i, j, k, depth, at(), partial_row);
      if (i < i1) dot_tile<1, Q>(x, i, j, k, depth, at(), partial_row);
    };
    int64_t j = j0;
    for (; j + kDotB <= j1; j += kDotB) rows.template operator()<kDotB>(j);
    for (; j < j1; ++j) rows.template operator()<1>(j);
  }
}

template <typename Function>
HWY_INLINE void finish_columns(const Epilogue& epilogue, int64_t columns, float* c,
                               const Function& activate) {
  const float* bias = epilogue.bias;
  for (int64_t j = 0; j < columns; j += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, columns - j);
    Vec sum = load_some(c + j, count);
    if (bias) sum = hn::Add(sum, load_some(bias + j, count));
    store_some(activate(sum), c + j, count);
  }
}

// What the epilogue makes of rows [i0, i1) by columns [j0, j1) of c, which the cache still holds.
void finish(const Product& x, const Epilogue& epilogue, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const Epilogue here{epilogue.bias ? epilogue.bias + j0 : nullptr, epilogue.activation};
  for (int64_t i = i0; i < i1; ++i) {
    float* row = x.c + i * x.n + j0;
    switch (epilogue.activation) {
      case Activation::none:
        if (here.bias) finish_columns(here, j1 - j0, row, [](Vec v) HWY_ATTR { return v; });
        break;
      case Activation::relu:
        finish_columns(here, j1 - j0, row, [](Vec v) HWY_ATTR { return relu_of(v); });
        break;
      case Activation::gelu:
        finish_columns(here, j1 - j0, row, [](Vec v) HWY_ATTR { return gelu_of(v); });
        break;
    }
  }
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

namespace {
constexpr int64_t kMostLanes = 16;  // of any target
}

HWY_EXPORT(broadcast_product);
HWY_EXPORT(dot_product);
HWY_EXPORT(finish);

void CpuBackend::matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a,
                        const float* b, float* c, const Epilogue& epilogue) {
  if (m == 0 || n == 0) return;
  const Product x{m, n, k, a, trans_a ? 1 : k, trans_a ? m : 1, b, c};
  if (trans_a && trans_b) {
    // op(a) op(b) = (b a)^T: rare, so by way of a transposed result.
    const Scratch product(*this, m * n);
    matmul(false, false, n, m, k, b, a, product.data(), {});
    const int perm[] = {1, 0};
    permute(Dims{2, {n, m}}, perm, product.data(), c);
    return HWY_DYNAMIC_DISPATCH(finish)(x, epilogue, 0, m, 0, n);
  }
  // Blocks of about 32 rows of a, so that they stay in the cache while the rows of b pass; wide results are
  // cut along their columns too.
  const int64_t block_m = trans_b ? 32 : 96, block_n = trans_b ? 60 : 512;
  const int64_t blocks_n = (n + block_n - 1) / block_n;
  parallel_for((m + block_m - 1) / block_m * blocks_n, [&](int64_t block) {
    const int64_t i = block / blocks_n * block_m, j = block % blocks_n * block_n;
    const int64_t i1 = std::min(m, i + block_m), j1 = std::min(n, j + block_n);
    if (trans_b) {
      const Scratch partial(*this, block_m * block_n * kMostLanes);
      HWY_DYNAMIC_DISPATCH(dot_product)(x, i, i1, j, j1, partial.data());
    } else {
      HWY_DYNAMIC_DISPATCH(broadcast_product)(x, i, i1, j, j1);
    }
    HWY_DYNAMIC_DISPATCH(finish)(x, epilogue, i, i1, j, j1);
  });
}

}  // namespace caltrop
#endif
