// Matrix product c = op(a) op(b), row-major.
//
// A tile broadcasts elements of op(a) against rows of op(b), whose columns have to lie next to each other: where b is
// transposed (the forward pass of a dense layer) it is first turned, which costs a tenth of the product with a hundred
// rows. Long sums are cut into blocks along k that stay in the cache. Each block is one chain of multiply-adds, and the
// blocks are added in order: the bits depend neither on how rows and columns are cut nor on the width of a register.

#include "kernels/conv_shape.h"
#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/math-inl.h"
#include "kernels/turn-inl.h"

#ifndef CALTROP_MATMUL_PRODUCT_
#define CALTROP_MATMUL_PRODUCT_
namespace caltrop {
// Terms of a sum that are one chain, and columns that are one task.
inline constexpr int64_t kProductDepth = 256, kProductColumns = 512;

struct Product {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_step;  // of op(a): distance of rows, and of neighbours along k
  const float* b;
  float* turned;  // the transpose of b, by turn(); null where op(b) is b
  float* c;
};
}  // namespace caltrop
#endif

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// Rows [i0, i1) by columns [j0, j1) of c; j0 is a multiple of kProductColumns.
void multiply(const Product& x, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  for (int64_t k = 0; k < x.k || k == 0; k += kProductDepth) {
    const int64_t depth = std::min(kProductDepth, x.k - k);
    for_column_panels(j1 - j0, [&]<int V>(int64_t panel, int64_t columns) HWY_ATTR {
      const int64_t j = j0 + panel, b_row = x.turned ? V * kLanes : x.n;
      const float* b = x.turned ? x.turned + k * whole_vectors(x.n) + j * depth : x.b + k * x.n + j;
      const bool whole = x.turned || columns == V * kLanes;
      for_row_tiles(i1 - i0, [&]<int P>(int64_t i) HWY_ATTR {
        const float* a = x.a + (i0 + i) * x.a_row + k * x.a_step;
        float* c = x.c + (i0 + i) * x.n + j;
        Sums<P, V> sums;
        tile_set(sums, 0.0f);
        if (whole) {
          tile_multiply<true>(sums, Rows<P>(a, x.a_row), x.a_step, b, b_row, depth, columns);
        } else {
          tile_multiply<false>(sums, Rows<P>(a, x.a_row), x.a_step, b, b_row, depth, columns);
        }
        if (k == 0) {
          tile_store(sums, c, x.n, columns);
        } else {
          tile_add(sums, c, x.n, columns);
        }
      });
    });
  }
}

// Rows [k, k + depth) of the transpose of b, panel by panel.
void turn(const Product& x, int64_t k, int64_t depth) {
  for_column_panels(x.n, [&]<int V>(int64_t j, int64_t columns) HWY_ATTR {
    turn_panel(x.b + j * x.k + k, x.k, columns, depth, V * kLanes,
               x.turned + k * whole_vectors(x.n) + j * depth);
  });
}

void turn_all(const float* b, int64_t distance, int64_t columns, int64_t depth, float* to) {
  turn_panel(b, distance, columns, depth, columns, to);
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

HWY_EXPORT(multiply);
HWY_EXPORT(turn_all);
HWY_EXPORT(turn);
HWY_EXPORT(finish);

void CpuBackend::matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a,
                        const float* b, float* c, const Epilogue& epilogue) {
  if (m == 0 || n == 0) return;
  if (trans_b && (trans_a || m < n)) {
    // As the transpose of b op(a)^T, for which at most the shorter op(a) is turned: the chains are the same.
    const Scratch product(*this, m * n);
    matmul(false, !trans_a, n, m, k, b, a, product.data(), {});
    HWY_DYNAMIC_DISPATCH(turn_all)(product.data(), m, n, m, c);
    return HWY_DYNAMIC_DISPATCH(finish)({m, n, k, a, k, 1, b, nullptr, c}, epilogue, 0, m, 0, n);
  }
  const Scratch turned(*this, trans_b ? k * whole_vectors(n) : 0);
  const Product x{m, n, k, a, trans_a ? 1 : k, trans_a ? m : 1, b, trans_b ? turned.data() : nullptr, c};
  if (trans_b) {
    parallel_for((k + kProductDepth - 1) / kProductDepth, [&](int64_t block) {
      const int64_t begin = block * kProductDepth;
      HWY_DYNAMIC_DISPATCH(turn)(x, begin, std::min(kProductDepth, k - begin));
    });
  }
  // Equal blocks of at most 96 rows of a, in whole tiles, so that they stay in the cache while the rows of b pass; wide
  // results are cut along their columns too.
  constexpr int64_t kRows = 96, kTile = 6;
  const int64_t parts = (m + kRows - 1) / kRows,
                block_m = ((m + parts - 1) / parts + kTile - 1) / kTile * kTile;
  const int64_t blocks_n = (n + kProductColumns - 1) / kProductColumns;
  parallel_for((m + block_m - 1) / block_m * blocks_n, [&](int64_t block) {
    const int64_t i = block / blocks_n * block_m, j = block % blocks_n * kProductColumns;
    const int64_t i1 = std::min(m, i + block_m), j1 = std::min(n, j + kProductColumns);
    HWY_DYNAMIC_DISPATCH(multiply)(x, i, i1, j, j1);
    HWY_DYNAMIC_DISPATCH(finish)(x, epilogue, i, i1, j, j1);
  });
}

}  // namespace caltrop
#endif
