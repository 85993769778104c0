// Element-wise ops. Unary ones are one vector loop; binary ones walk the output row by row with each input's
// own strides, after neighbouring axes that no input broadcasts have been merged, so that the common cases
// (equal shapes, a scalar, a bias along the last axis) are one or two long loops. A bias of few channels is
// repeated into a longer row first: sixteen floats are too little work for a call.

#include <algorithm>
#include <cmath>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

template <typename Op>
HWY_INLINE void map(const float* x, float* y, int64_t count, const Op& op) {
  const Floats d;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(op(hn::LoadU(d, x + i)), d, y + i);
  if (i < count) store_some(op(load_some(x + i, count - i)), y + i, count - i);
}

void unary_range(Unary op, const float* x, float* y, int64_t count) {
  const Floats d;
  const Vec one = hn::Set(d, 1.0f), zero = hn::Zero(d);
  switch (op) {
    case Unary::neg:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return hn::Neg(v); });
    case Unary::abs:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return hn::Abs(v); });
    case Unary::sign:
      return map(x, y, count, [&](Vec v) HWY_ATTR {
        const Vec signed_one = hn::IfThenElse(hn::Eq(v, zero), zero, hn::CopySign(one, v));
        return hn::IfThenElse(hn::Eq(v, v), signed_one, v);
      });
    case Unary::exp:
      return map(x, y, count, [&](Vec v) HWY_ATTR {
        // Highway's range ends at 104; from 89 on the result is infinite.
        return hn::IfThenElse(hn::Eq(v, v), hn::Exp(d, hn::Min(v, hn::Set(d, 100.0f))), v);
      });
    case Unary::log:
      for (int64_t i = 0; i < count; ++i) y[i] = std::log(x[i]);
      return;
    case Unary::sqrt:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return hn::Sqrt(v); });
    case Unary::reciprocal:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return hn::Div(one, v); });
    case Unary::relu:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return relu_of(v); });
    case Unary::step:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return hn::IfThenElseZero(hn::Gt(v, zero), one); });
    case Unary::sigmoid:
      return map(x, y, count, [&](Vec v) HWY_ATTR {
        // e^-|x| does not overflow: s = 1 / (1 + e) for x >= 0, e / (1 + e) below.
        const Vec e = hn::Exp(d, hn::Neg(hn::Abs(v)));
        const Vec s = hn::Div(hn::IfThenElse(hn::Lt(v, zero), e, one), hn::Add(one, e));
        return hn::IfThenElse(hn::Eq(v, v), s, v);
      });
    case Unary::tanh:
      for (int64_t i = 0; i < count; ++i) y[i] = std::tanh(x[i]);
      return;
    case Unary::erf:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return erf_of(v); });
    case Unary::gelu:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return gelu_of(v); });
    case Unary::gelu_grad:
      return map(x, y, count, [&](Vec v) HWY_ATTR { return gelu_slope(v); });
    case Unary::gelu_curve:
      return map(x, y, count, [&](Vec v) HWY_ATTR {
        // The density is 0 long before 20; beyond, the square must not overflow into 0 * infinity.
        const Vec limit = hn::Set(d, 20.0f), near = hn::IfThenElse(hn::Gt(hn::Abs(v), limit), limit, v);
        return hn::Mul(normal_of(v).pdf, hn::NegMulAdd(near, near, hn::Set(d, 2.0f)));
      });
  }
}

template <typename Op>
HWY_INLINE void zip(const float* a, int64_t a_step, const float* b, int64_t b_step, float* y, int64_t count,
                    const Op& op) {
  const Floats d;
  const auto read = [&](const float* from, int64_t step, int64_t i, int64_t n) HWY_ATTR {
    return step == 0 ? hn::Set(d, *from) : load_some(from + i, n);
  };
  if ((a_step | b_step) > 1) {
    for (int64_t i = 0; i < count; ++i) {
      y[i] = hn::GetLane(op(hn::Set(d, a[i * a_step]), hn::Set(d, b[i * b_step])));
    }
    return;
  }
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    hn::StoreU(op(read(a, a_step, i, kLanes), read(b, b_step, i, kLanes)), d, y + i);
  if (i < count)
    store_some(op(read(a, a_step, i, count - i), read(b, b_step, i, count - i)), y + i, count - i);
}

void binary_row(Binary op, const float* a, int64_t a_step, const float* b, int64_t b_step, float* y,
                int64_t count) {
  const Floats d;
  const Vec one = hn::Set(d, 1.0f);
  const auto run = [&](const auto& each) HWY_ATTR {
    zip(a, a_step, b, b_step, y, count, each);
  };
  switch (op) {
    case Binary::add:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::Add(p, q); });
    case Binary::sub:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::Sub(p, q); });
    case Binary::mul:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::Mul(p, q); });
    case Binary::div:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::Div(p, q); });
    case Binary::maximum:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::IfThenElse(hn::Gt(q, p), q, p); });
    case Binary::greater:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::IfThenElseZero(hn::Gt(p, q), one); });
    case Binary::equal:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::IfThenElseZero(hn::Eq(p, q), one); });
    case Binary::gate:
      return run([&](Vec p, Vec q) HWY_ATTR { return hn::IfThenElseZero(hn::Gt(q, hn::Zero(d)), p); });
  }
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

HWY_EXPORT(unary_range);
HWY_EXPORT(binary_row);

namespace {
constexpr int64_t kGrain = 1 << 15;  // elements that are worth a thread
constexpr int64_t kLongRow = 1024;   // elements that are worth a call

struct Axis {
  int64_t extent, a, b;
};

// The axes of an element-wise op with neighbours merged where both inputs run on: outermost first.
int merge(const Dims& dims, const Strided& a, const Strided& b, Axis* axes) {
  int rank = 0;
  for (int k = 0; k < dims.rank; ++k) {
    if (dims.size[k] == 1) continue;
    const Axis axis{dims.size[k], a.stride[k], b.stride[k]};
    if (rank > 0 && axes[rank - 1].a == axis.a * axis.extent && axes[rank - 1].b == axis.b * axis.extent) {
      axes[rank - 1] = {axes[rank - 1].extent * axis.extent, axis.a, axis.b};
    } else {
      axes[rank++] = axis;
    }
  }
  if (rank == 0) axes[rank++] = {1, 0, 0};
  return rank;
}

// Whether a (rows, extent) operand with these strides is contiguous, or one row repeated.
bool is_contiguous(int64_t outer, int64_t inner, int64_t extent) {
  return inner == 1 && outer == extent;
}
bool is_row(int64_t outer, int64_t inner) {
  return inner == 1 && outer == 0;
}
}  // namespace

void CpuBackend::unary(Unary op, const float* x, float* y, int64_t count) {
  parallel_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(unary_range)(op, x + begin, y + begin, end - begin);
  });
}

void CpuBackend::binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) {
  const int64_t total = dims.count();
  if (total == 0) return;
  Axis axes[kMaxRank];
  const int rank = merge(dims, a, b, axes);
  const Axis& inner = axes[rank - 1];
  if (rank == 1) {
    parallel_ranges(total, kGrain, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(binary_row)
      (op, a.data + begin * inner.a, inner.a, b.data + begin * inner.b, inner.b, y + begin, end - begin);
    });
    return;
  }
  const Axis& outer = axes[rank - 2];
  const int64_t repeats = std::min(kLongRow / inner.extent, outer.extent);
  const bool row_a = is_row(outer.a, inner.a), row_b = is_row(outer.b, inner.b);
  if (rank == 2 && repeats > 1 &&
      ((row_a && is_contiguous(outer.b, inner.b, inner.extent)) ||
       (row_b && is_contiguous(outer.a, inner.a, inner.extent)))) {
    const int64_t length = repeats * inner.extent;
    float repeated[kLongRow];
    for (int64_t i = 0; i < length; i += inner.extent)
      std::copy_n(row_a ? a.data : b.data, inner.extent, repeated + i);
    parallel_ranges(total, kGrain / length * length, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += length) {
        HWY_DYNAMIC_DISPATCH(binary_row)
        (op, row_a ? repeated : a.data + i, 1, row_a ? b.data + i : repeated, 1, y + i,
         std::min(length, end - i));
      }
    });
    return;
  }
  const int64_t grain = std::max<int64_t>(1, kGrain / inner.extent);
  parallel_ranges(total / inner.extent, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, at_a = 0, at_b = 0;
      for (int k = rank - 2; k >= 0; --k) {
        const int64_t i = rest % axes[k].extent;
        rest /= axes[k].extent;
        at_a += i * axes[k].a;
        at_b += i * axes[k].b;
      }
      HWY_DYNAMIC_DISPATCH(binary_row)
      (op, a.data + at_a, inner.a, b.data + at_b, inner.b, y + row * inner.extent, inner.extent);
    }
  });
}

}  // namespace caltrop
#endif
