// Shape, reductions and matrix products.

#include <algorithm>
#include <numeric>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

Dims dims_of(const Tensor& x) {
  Dims dims{static_cast<int>(x.rank()), {}};
  std::copy(x.shape().begin(), x.shape().end(), dims.size);
  return dims;
}

// Bit k set for each axis of `axes`.
uint32_t axis_mask(const char* op, const Tensor& x, const std::vector<int>& axes) {
  uint32_t mask = 0;
  for (const int axis : axes) {
    const int64_t at = axis < 0 ? axis + x.rank() : axis;
    if (at < 0 || at >= x.rank() || (mask & (1u << at))) {
      fail("[{}] expected distinct axes of {}, got axis {}", op, to_string(x.shape()), axis);
    }
    mask |= 1u << at;
  }
  return mask;
}

std::vector<int> all_axes(const Tensor& x) {
  std::vector<int> axes(static_cast<size_t>(x.rank()));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

}  // namespace

Tensor reshape(const Tensor& x, Shape shape) {
  if (shape == x.shape()) return x;
  return record("reshape", x.view(std::move(shape)), {x},
                [before = x.shape()](const Tensor& g, const Needs&) {
                  return std::vector<Tensor>{reshape(g, before)};
                });
}

Tensor permute(const Tensor& x, const std::vector<int>& axes) {
  std::vector<int> inverse(axes.size(), -1);
  if (static_cast<int64_t>(axes.size()) != x.rank()) {
    fail("[permute] expected {} axes for {}, got {}", x.rank(), to_string(x.shape()), axes.size());
  }
  Shape shape;
  for (size_t k = 0; k < axes.size(); ++k) {
    const int axis = axes[k];
    if (axis < 0 || axis >= x.rank() || inverse[static_cast<size_t>(axis)] >= 0) {
      fail("[permute] expected each axis of {} once, got axis {}", to_string(x.shape()), axis);
    }
    inverse[static_cast<size_t>(axis)] = static_cast<int>(k);
    shape.push_back(x.dim(axis));
  }
  Tensor y = Tensor::uninitialized(x.backend(), shape);
  x.backend().permute(dims_of(x), axes.data(), x.data(), y.mutable_data());
  return record("permute", y, {x}, [inverse](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{permute(g, inverse)};
  });
}

Tensor transpose(const Tensor& x) {
  return permute(x, {1, 0});
}

Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keep) {
  const uint32_t mask = axis_mask("sum", x, axes);
  Shape kept, shape;
  for (int k = 0; k < x.rank(); ++k) {
    const bool reduced = mask & (1u << k);
    kept.push_back(reduced ? 1 : x.dim(k));
    if (!reduced || keep) shape.push_back(kept.back());
  }
  Tensor y = Tensor::uninitialized(x.backend(), shape);
  x.backend().sum(dims_of(x), mask, x.data(), y.mutable_data());
  return record("sum", y, {x}, [kept, full = x.shape()](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{broadcast_to(reshape(g, kept), full)};
  });
}

Tensor sum(const Tensor& x) {
  return sum(x, all_axes(x));
}

Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keep) {
  const Tensor total = sum(x, axes, keep);
  if (total.size() == 0 || x.size() == 0)
    fail("[mean] expected at least one element, got {}", to_string(x.shape()));
  return total * (static_cast<float>(total.size()) / static_cast<float>(x.size()));
}

Tensor mean(const Tensor& x) {
  return mean(x, all_axes(x));
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const size_t rank = x.shape().size(), extra = rank - std::min(rank, shape.size());
  bool fits = shape.size() <= rank;
  for (size_t k = 0; fits && k < shape.size(); ++k) fits = shape[k] == 1 || shape[k] == x.shape()[k + extra];
  if (!fits) {
    fail("[sum_to] expected a shape that broadcasts to {}, got {}", to_string(x.shape()), to_string(shape));
  }
  std::vector<int> axes;
  for (size_t k = 0; k < x.shape().size(); ++k) {
    if (k < extra || (shape[k - extra] == 1 && x.shape()[k] != 1)) axes.push_back(static_cast<int>(k));
  }
  return reshape(sum(x, axes), shape);
}

Tensor matmul(const Tensor& a, const Tensor& b, bool trans_a, bool trans_b) {
  if (a.rank() != 2 || b.rank() != 2) {
    fail("[matmul] expected two matrices, got {} and {}", to_string(a.shape()), to_string(b.shape()));
  }
  const int64_t m = a.dim(trans_a ? 1 : 0), k = a.dim(trans_a ? 0 : 1), n = b.dim(trans_b ? 0 : 1);
  if (b.dim(trans_b ? 1 : 0) != k) {
    fail("[matmul] expected equal inner extents, got {}{} and {}{}", to_string(a.shape()),
         trans_a ? "^T" : "", to_string(b.shape()), trans_b ? "^T" : "");
  }
  Tensor y = Tensor::uninitialized(a.backend(), {m, n});
  a.backend().matmul(trans_a, trans_b, m, n, k, a.data(), b.data(), y.mutable_data(), {});
  CALTROP_COUNT_OP("matmul");
  return record("matmul", y, {a, b}, [=](const Tensor& g, const Needs& needs) {
    // y = a b: da = g b^T, db = a^T g; the transposes of a and b move to the gradients.
    std::vector<Tensor> d(2);
    if (needs[0]) d[0] = trans_a ? matmul(b, g, trans_b, true) : matmul(g, b, false, !trans_b);
    if (needs[1]) d[1] = trans_b ? matmul(g, a, true, trans_a) : matmul(a, g, !trans_a, false);
    return d;
  });
}

Tensor batch_matmul(const Tensor& a, const Tensor& b, bool trans_a, bool trans_b) {
  CALTROP_COUNT_OP("batch_matmul");
  if (a.rank() != 3 || b.rank() != 3 || a.dim(0) != b.dim(0)) {
    fail("[batch_matmul] expected equally many matrices (batch,rows,columns), got {} and {}",
         to_string(a.shape()), to_string(b.shape()));
  }
  const int64_t batch = a.dim(0), m = a.dim(trans_a ? 2 : 1), k = a.dim(trans_a ? 1 : 2),
                n = b.dim(trans_b ? 1 : 2);
  if (b.dim(trans_b ? 2 : 1) != k) {
    fail("[batch_matmul] expected equal inner extents, got {}{} and {}{}", to_string(a.shape()),
         trans_a ? "^T" : "", to_string(b.shape()), trans_b ? "^T" : "");
  }
  Tensor y = Tensor::uninitialized(a.backend(), {batch, m, n});
  a.backend().batch_matmul(trans_a, trans_b, batch, m, n, k, a.data(), b.data(), y.mutable_data());
  return record("batch_matmul", y, {a, b}, [=](const Tensor& g, const Needs& needs) {
    std::vector<Tensor> d(2);  // as of matmul
    if (needs[0]) d[0] = trans_a ? batch_matmul(b, g, trans_b, true) : batch_matmul(g, b, false, !trans_b);
    if (needs[1]) d[1] = trans_b ? batch_matmul(g, a, true, trans_a) : batch_matmul(a, g, !trans_a, false);
    return d;
  });
}

Tensor dense(const Tensor& x, const Tensor& w, const Tensor& bias, Activation activation) {
  if (x.rank() != 2 || w.rank() != 2 || x.dim(1) != w.dim(1)) {
    fail("[dense] expected x (n,in) and w (out,in), got {} and {}", to_string(x.shape()),
         to_string(w.shape()));
  }
  const int64_t n = x.dim(0), outputs = w.dim(0);
  if (bias.shape() != Shape{outputs})
    fail("[dense] expected a bias of shape ({}), got {}", outputs, to_string(bias.shape()));
  const bool backward = recording() && (x.tracked() || w.tracked() || bias.tracked());
  // The derivative of relu is seen in its output; that of gelu needs what went in.
  if (backward && activation == Activation::gelu) return gelu(dense(x, w, bias));
  Tensor y = Tensor::uninitialized(x.backend(), {n, outputs});
  x.backend().matmul(false, true, n, outputs, x.dim(1), x.data(), w.data(), y.mutable_data(),
                     {bias.data(), activation});
  return record("dense", y, {x, w, bias}, [=](const Tensor& g, const Tensor& out, const Needs& needs) {
    const Tensor z = activation == Activation::relu ? gate(g, out) : g;
    std::vector<Tensor> d(3);
    if (needs[0]) d[0] = matmul(z, w);
    if (needs[1]) {
      CALTROP_COUNT_OP("dense_dweight");
      d[1] = matmul(z, x, true, false);
    }
    if (needs[2]) d[2] = z;
    return d;
  });
}

}  // namespace caltrop
