// Element-wise functions of two arguments: every way to broadcast, other strides, and the rules at ties and
// NaN.

#include <array>
#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

struct Function {
  Binary op;
  const char* name;
  float (*f)(float, float);
};
constexpr std::array<Function, 8> kFunctions = {{
    {Binary::add, "add",
     [](float a, float b) {
       return a + b;
     }},
    {Binary::sub, "sub",
     [](float a, float b) {
       return a - b;
     }},
    {Binary::mul, "mul",
     [](float a, float b) {
       return a * b;
     }},
    {Binary::div, "div",
     [](float a, float b) {
       return a / b;
     }},
    {Binary::maximum, "maximum",
     [](float a, float b) {
       return b > a ? b : a;
     }},
    {Binary::greater, "greater",
     [](float a, float b) {
       return a > b ? 1.0f : 0.0f;
     }},
    {Binary::equal, "equal",
     [](float a, float b) {
       return a == b ? 1.0f : 0.0f;
     }},
    {Binary::gate, "gate",
     [](float a, float b) {
       return b > 0.0f ? a : 0.0f;
     }},
}};

// Offset of position `index` of `dims` under strides.
int64_t offset(const Dims& dims, const int64_t* stride, int64_t index) {
  int64_t at = 0;
  for (int k = dims.rank - 1; k >= 0; --k) {
    at += index % dims.size[k] * stride[k];
    index /= dims.size[k];
  }
  return at;
}

// These are single operations, correctly rounded everywhere: the bits must be those of a plain loop.
void check_bits(Backend& backend, const Dims& dims, const int64_t* stride_a, const int64_t* stride_b,
                const std::vector<float>& values_a, const std::vector<float>& values_b, Report& report) {
  const Input<float> a(backend, values_a), b(backend, values_b);
  Strided left{a, {}}, right{b, {}};
  std::copy_n(stride_a, kMaxRank, left.stride);
  std::copy_n(stride_b, kMaxRank, right.stride);
  for (const Function& function : kFunctions) {
    const Output<float> y(backend, dims.count());
    backend.binary(function.op, dims, left, right, y.data());
    const std::vector<float> actual = y.take(report, function.name);
    for (int64_t i = 0; i < dims.count(); ++i) {
      const float p = values_a[static_cast<size_t>(offset(dims, stride_a, i))];
      const float q = values_b[static_cast<size_t>(offset(dims, stride_b, i))];
      const float expected = function.f(p, q), got = actual[static_cast<size_t>(i)];
      const bool both_nan = std::isnan(expected) && std::isnan(got);
      if (both_nan || same_bits(expected, got)) continue;
      report.expect(
          false, fmt::format("{}({}, {})[{}]: expected {}, got {}", function.name, p, q, i, expected, got));
    }
    report.expect(true, "");
  }
}

// Bits 0 and 1 of each base-4 digit of `pattern`: whether that axis is broadcast in a, in b.
void check_broadcast(Backend& backend, const Dims& dims, int pattern, Samples& samples, Report& report) {
  int64_t stride[2][kMaxRank] = {}, size[2] = {1, 1};
  for (int k = dims.rank - 1; k >= 0; --k) {
    for (int side = 0; side < 2; ++side) {
      if ((pattern >> (2 * k + side)) & 1) continue;
      stride[side][k] = size[side];
      size[side] *= dims.size[k];
    }
  }
  // Integers, so that `equal` and ties of `maximum` occur.
  check_bits(backend, dims, stride[0], stride[1], samples.integers(size[0], -2, 2),
             samples.integers(size[1], -2, 2), report);
  check_bits(backend, dims, stride[0], stride[1], samples.floats(size[0]), samples.floats(size[1]), report);
}

}  // namespace

Report check_binary(Backend& backend) {
  Report report;
  Samples samples(31);
  for (int pattern = 0; pattern < 256; ++pattern) {
    check_broadcast(backend, Dims{4, {2, 3, 5, 7}}, pattern, samples, report);
  }
  for (int pattern = 0; pattern < 16; ++pattern) {
    for (const int64_t columns : {1, 2, 4, 8, 15, 16, 17, 33, 100}) {
      check_broadcast(backend, Dims{2, {3, columns}}, pattern, samples, report);
    }
    check_broadcast(backend, Dims{2, {0, 3}}, pattern, samples, report);
    check_broadcast(backend, Dims{2, {3, 0}}, pattern, samples, report);
  }
  for (int pattern : {0, 1, 2, 0x555, 0xaaa, 0x123, 0x912}) {
    check_broadcast(backend, Dims{6, {2, 1, 3, 2, 1, 5}}, pattern, samples, report);
  }
  for (int pattern = 0; pattern < 4; ++pattern) {
    check_broadcast(backend, Dims{1, {70001}}, pattern, samples, report);  // over two threads
    check_broadcast(backend, Dims{2, {300, 257}}, pattern, samples, report);
    check_broadcast(backend, Dims{1, {1}}, pattern, samples, report);
  }
  // Images and a number for each channel, as a batch norm scales and shifts them, in fours and one by one.
  for (const int64_t channels : {32, 33}) {
    check_broadcast(backend, Dims{4, {8, 14, 14, channels}}, 0b00101010, samples, report);
  }
  check_broadcast(backend, Dims{0, {}}, 0, samples, report);

  // Any strides: a transposed matrix against a plain one, and every third element.
  const Dims dims{2, {9, 11}};
  const int64_t transposed[kMaxRank] = {1, 9}, plain[kMaxRank] = {11, 1}, sparse[kMaxRank] = {33, 3};
  check_bits(backend, dims, transposed, plain, samples.floats(99), samples.floats(99), report);
  check_bits(backend, dims, plain, transposed, samples.floats(99), samples.floats(99), report);
  check_bits(backend, dims, sparse, transposed, samples.floats(297), samples.floats(99), report);

  // NaN is neither greater than nor equal to anything; maximum is left to what its comparison says.
  constexpr float kInf = std::numeric_limits<float>::infinity(),
                  kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> p = {kNan, 1.0f, kNan, 0.0f, -0.0f, kInf, -kInf, kInf, 1.0f, 0.0f, 1e-45f, 3e38f};
  const std::vector<float> q = {1.0f, kNan, kNan, -0.0f, 0.0f, kInf, kInf, -kInf, 0.0f, 0.0f, 0.0f, 3e38f};
  const int64_t one[kMaxRank] = {1};
  check_bits(backend, Dims{1, {12}}, one, one, p, q, report);
  return report;
}

}  // namespace caltrop::test
