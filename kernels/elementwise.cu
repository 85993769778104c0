// Element-wise ops. Unary: one pass over `count` floats. Binary: one pass over the output, each input read
// with its own strides after neighbouring axes that no input broadcasts have been merged.
//
// All of it is bound by memory, so what counts is that each warp's accesses are whole 128-byte lines: four
// floats per thread and access where the addresses allow it. Arrays that start off a 16-byte boundary by the
// same distance share a scalar head; arrays that differ go one float at a time.

#include "kernels/gpu_backend.h"
#include "kernels/gpu_math.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;

// A run of floats as [0, head) one by one, then `quads` float4, then the rest one by one.
struct Split {
  int64_t head, quads, count;
  __device__ int64_t tail() const { return head + 4 * quads; }
};

// Pointers that are read or written at each element; null for one that is not.
template <typename... T>
Split split(int64_t count, const float* y, const T*... inputs) {
  const auto phase = [](const float* p) {
    return reinterpret_cast<uintptr_t>(p) / sizeof(float) % 4;
  };
  const bool in_step = ((inputs == nullptr || phase(inputs) == phase(y)) && ...);
  const auto head = static_cast<int64_t>((4 - phase(y)) % 4);
  if (!in_step || count < head + 4) return {count, 0, count};
  return {head, (count - head) / 4, count};
}

dim3 grid_of(const Split& s) {
  return grid_for(s.quads > 0 ? s.quads : s.count, kThreads);
}

// body(i, std::integral_constant width) covers the run: element i alone or elements i .. i + 3.
template <typename One, typename Four>
__device__ void for_run(const Split& s, const One& one, const Four& four) {
  for (int64_t i = first_index(); i < s.quads; i += index_step()) four(s.head + 4 * i);
  for (int64_t i = first_index(); i < s.head; i += index_step()) one(i);
  for (int64_t i = s.tail() + first_index(); i < s.count; i += index_step()) one(i);
}

__global__ void fill_kernel(float value, float* y, Split s) {
  for_run(
      s, [&](int64_t i) { y[i] = value; },
      [&](int64_t i) { store4(y + i, make_float4(value, value, value, value)); });
}

template <Unary kOp>
__device__ float apply(float x) {
  if constexpr (kOp == Unary::neg) return -x;
  if constexpr (kOp == Unary::abs) return fabsf(x);
  if constexpr (kOp == Unary::sign) return x == x ? static_cast<float>((x > 0.0f) - (x < 0.0f)) : x;
  if constexpr (kOp == Unary::exp) return exp_of(x);
  if constexpr (kOp == Unary::log) return logf(x);
  if constexpr (kOp == Unary::sqrt) return sqrtf(x);
  if constexpr (kOp == Unary::reciprocal) return 1.0f / x;
  if constexpr (kOp == Unary::relu) return x < 0.0f ? 0.0f : x;
  if constexpr (kOp == Unary::step) return x > 0.0f ? 1.0f : 0.0f;
  if constexpr (kOp == Unary::sigmoid) {
    // e^-|x| does not overflow: s = 1 / (1 + e) for x >= 0, e / (1 + e) below.
    const float e = exp_of(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
  }
  if constexpr (kOp == Unary::tanh) return tanhf(x);
  if constexpr (kOp == Unary::erf) return erf_of(x);
  if constexpr (kOp == Unary::gelu) return gelu_of(x);
  if constexpr (kOp == Unary::gelu_grad) return gelu_slope(x);
  if constexpr (kOp == Unary::gelu_curve) return gelu_curve(x);
}

// y may be x: each element is read by the thread that writes it, before it does.
template <Unary kOp>
__global__ void unary_kernel(const float* x, float* y, Split s) {
  for_run(
      s, [&](int64_t i) { y[i] = apply<kOp>(x[i]); },
      [&](int64_t i) {
        const float4 v = load4(x + i);
        store4(y + i, make_float4(apply<kOp>(v.x), apply<kOp>(v.y), apply<kOp>(v.z), apply<kOp>(v.w)));
      });
}

template <Binary kOp>
__device__ float apply(float a, float b) {
  if constexpr (kOp == Binary::add) return a + b;
  if constexpr (kOp == Binary::sub) return a - b;
  if constexpr (kOp == Binary::mul) return a * b;
  if constexpr (kOp == Binary::div) return a / b;
  if constexpr (kOp == Binary::maximum) return b > a ? b : a;
  if constexpr (kOp == Binary::greater) return a > b ? 1.0f : 0.0f;
  if constexpr (kOp == Binary::equal) return a == b ? 1.0f : 0.0f;
  if constexpr (kOp == Binary::gate) return b > 0.0f ? a : 0.0f;
}

template <Binary kOp>
__device__ float4 apply(float4 a, float4 b) {
  return make_float4(apply<kOp>(a.x, b.x), apply<kOp>(a.y, b.y), apply<kOp>(a.z, b.z), apply<kOp>(a.w, b.w));
}

// Four elements of an input that runs on (step 1) or stands still (step 0).
__device__ float4 read4(const float* from, int64_t step) {
  if (step != 0) return load4(from);
  const float v = *from;
  return make_float4(v, v, v, v);
}

// Both inputs run on or stand still over the whole output.
template <Binary kOp>
__global__ void binary_run(const float* a, int64_t a_step, const float* b, int64_t b_step, float* y,
                           Split s) {
  for_run(
      s, [&](int64_t i) { y[i] = apply<kOp>(a[i * a_step], b[i * b_step]); },
      [&](int64_t i) {
        store4(y + i, apply<kOp>(read4(a + i * a_step, a_step), read4(b + i * b_step, b_step)));
      });
}

// The axes of the output after merging, outermost first.
struct Axes {
  int rank = 0;
  int64_t extent[kMaxRank], a[kMaxRank], b[kMaxRank];
};

// Any strides. Each thread owns kWidth neighbours along the innermost axis, whose extent is then a multiple
// of kWidth. Index is 32 bits wide where the output allows it: a 64-bit division costs several times as much.
template <Binary kOp, int kWidth, typename Index>
__global__ void binary_strided(Axes axes, const float* a, const float* b, float* y, int64_t count) {
  const int last = axes.rank - 1;
  const int64_t a_step = axes.a[last], b_step = axes.b[last];
  for (int64_t i = first_index(); i < count / kWidth; i += index_step()) {
    Index rest = static_cast<Index>(i);
    int64_t at_a = 0, at_b = 0;
    for (int k = last; k >= 0; --k) {
      const auto extent = static_cast<Index>(k == last ? axes.extent[k] / kWidth : axes.extent[k]);
      const Index outer = rest / extent;
      const auto position = static_cast<int64_t>(rest - outer * extent) * (k == last ? kWidth : 1);
      at_a += position * axes.a[k];
      at_b += position * axes.b[k];
      rest = outer;
    }
    if constexpr (kWidth == 4) {
      store4(y + 4 * i, apply<kOp>(read4(a + at_a, a_step), read4(b + at_b, b_step)));
    } else {
      y[i] = apply<kOp>(a[at_a], b[at_b]);
    }
  }
}

Axes merge(const Dims& dims, const Strided& a, const Strided& b) {
  Axes axes;
  int& rank = axes.rank;
  for (int k = 0; k < dims.rank; ++k) {
    const int64_t extent = dims.size[k], step_a = a.stride[k], step_b = b.stride[k];
    if (extent == 1) continue;
    if (rank > 0 && axes.a[rank - 1] == step_a * extent && axes.b[rank - 1] == step_b * extent) {
      --rank;
      axes.extent[rank] *= extent;
    } else {
      axes.extent[rank] = extent;
    }
    axes.a[rank] = step_a;
    axes.b[rank] = step_b;
    ++rank;
  }
  if (rank == 0) {
    axes.extent[0] = 1;
    axes.a[0] = axes.b[0] = 0;
    rank = 1;
  }
  return axes;
}

// Whether each run of four outputs along the innermost axis is one aligned float4 of y, and of each input
// that runs on there.
bool in_fours(const Axes& axes, const float* a, const float* b, const float* y) {
  const int last = axes.rank - 1;
  const auto allows = [&](const float* from, const int64_t* stride) {
    if (stride[last] == 0) return true;
    bool yes = stride[last] == 1 && is_aligned16(from);
    for (int k = 0; k < last; ++k) yes = yes && stride[k] % 4 == 0;
    return yes;
  };
  return axes.extent[last] % 4 == 0 && is_aligned16(y) && allows(a, axes.a) && allows(b, axes.b);
}

template <Binary kOp, int kWidth>
void launch_strided(Stream& stream, const Axes& axes, const float* a, const float* b, float* y,
                    int64_t count) {
  const dim3 grid = grid_for(count / kWidth, kThreads);
  constexpr int64_t kNarrow = int64_t{1} << 32;
  if (count < kNarrow) {
    launch("binary", binary_strided<kOp, kWidth, uint32_t>, grid, kThreads, 0, stream, axes, a, b, y, count);
  } else {
    launch("binary", binary_strided<kOp, kWidth, uint64_t>, grid, kThreads, 0, stream, axes, a, b, y, count);
  }
}

template <Binary kOp>
void run_binary(Stream& stream, const Axes& axes, const float* a, const float* b, float* y, int64_t count) {
  const int64_t a_step = axes.a[0], b_step = axes.b[0];
  if (axes.rank == 1 && (a_step == 0 || a_step == 1) && (b_step == 0 || b_step == 1)) {
    const Split s = split(count, y, a_step != 0 ? a : nullptr, b_step != 0 ? b : nullptr);
    launch("binary", binary_run<kOp>, grid_of(s), kThreads, 0, stream, a, a_step, b, b_step, y, s);
  } else if (in_fours(axes, a, b, y)) {
    launch_strided<kOp, 4>(stream, axes, a, b, y, count);
  } else {
    launch_strided<kOp, 1>(stream, axes, a, b, y, count);
  }
}

template <Unary kOp>
void run_unary(Stream& stream, const float* x, float* y, int64_t count) {
  const Split s = split(count, y, x);
  launch("unary", unary_kernel<kOp>, grid_of(s), kThreads, 0, stream, x, y, s);
}

}  // namespace

void GpuBackend::fill(float value, float* y, int64_t count) {
  const Stream::Op range(stream_, "fill");
  const Split s = split(count, y);
  launch("fill", fill_kernel, grid_of(s), kThreads, 0, stream_, value, y, s);
}

void GpuBackend::unary(Unary op, const float* x, float* y, int64_t count) {
  const Stream::Op range(stream_, "unary");
  switch (op) {
    case Unary::neg:
      return run_unary<Unary::neg>(stream_, x, y, count);
    case Unary::abs:
      return run_unary<Unary::abs>(stream_, x, y, count);
    case Unary::sign:
      return run_unary<Unary::sign>(stream_, x, y, count);
    case Unary::exp:
      return run_unary<Unary::exp>(stream_, x, y, count);
    case Unary::log:
      return run_unary<Unary::log>(stream_, x, y, count);
    case Unary::sqrt:
      return run_unary<Unary::sqrt>(stream_, x, y, count);
    case Unary::reciprocal:
      return run_unary<Unary::reciprocal>(stream_, x, y, count);
    case Unary::relu:
      return run_unary<Unary::relu>(stream_, x, y, count);
    case Unary::step:
      return run_unary<Unary::step>(stream_, x, y, count);
    case Unary::sigmoid:
      return run_unary<Unary::sigmoid>(stream_, x, y, count);
    case Unary::tanh:
      return run_unary<Unary::tanh>(stream_, x, y, count);
    case Unary::erf:
      return run_unary<Unary::erf>(stream_, x, y, count);
    case Unary::gelu:
      return run_unary<Unary::gelu>(stream_, x, y, count);
    case Unary::gelu_grad:
      return run_unary<Unary::gelu_grad>(stream_, x, y, count);
    case Unary::gelu_curve:
      return run_unary<Unary::gelu_curve>(stream_, x, y, count);
  }
}

void GpuBackend::binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) {
  const Stream::Op range(stream_, "binary");
  const int64_t count = dims.count();
  if (count == 0) return;
  const Axes axes = merge(dims, a, b);
  switch (op) {
    case Binary::add:
      return run_binary<Binary::add>(stream_, axes, a.data, b.data, y, count);
    case Binary::sub:
      return run_binary<Binary::sub>(stream_, axes, a.data, b.data, y, count);
    case Binary::mul:
      return run_binary<Binary::mul>(stream_, axes, a.data, b.data, y, count);
    case Binary::div:
      return run_binary<Binary::div>(stream_, axes, a.data, b.data, y, count);
    case Binary::maximum:
      return run_binary<Binary::maximum>(stream_, axes, a.data, b.data, y, count);
    case Binary::greater:
      return run_binary<Binary::greater>(stream_, axes, a.data, b.data, y, count);
    case Binary::equal:
      return run_binary<Binary::equal>(stream_, axes, a.data, b.data, y, count);
    case Binary::gate:
      return run_binary<Binary::gate>(stream_, axes, a.data, b.data, y, count);
  }
}

}  // namespace caltrop::CALTROP_WORLD
