// exp, erf, GELU and its derivatives for the threads of a kernel: the formulas and coefficients of
// math-inl.h, accurate to a few roundings over all floats (tests/kernels bound them), with one exponential
// and one division each. All of it is IEEE arithmetic, so the bits of a GPU are those of the emulation.
#pragma once

#include "kernels/gpu.cuh"
#include "kernels/normal_curve.h"

namespace caltrop::CALTROP_WORLD {

template <int kCount>
__device__ inline float polynomial(const float (&coefficients)[kCount], float x) {
  float sum = coefficients[kCount - 1];
#pragma unroll
  for (int k = kCount - 2; k >= 0; --k) sum = fmaf(sum, x, coefficients[k]);
  return sum;
}

// e^x = 2^n e^r with |r| <= log(2) / 2. CUDA's expf is shorter, but rests on the approximate ex2, whose
// error NVIDIA states as a bound from tests; the polynomial stays below one unit in the last place.
__device__ inline float exp_of(float x) {
  constexpr float kP[] = {1.0f,         1.0f,          1.0f / 2.0f,   1.0f / 6.0f,
                          1.0f / 24.0f, 1.0f / 120.0f, 1.0f / 720.0f, 1.0f / 5040.0f};
  x = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;  // 0 and infinity from there on; NaN stays
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  const float shifted = fmaf(x, 1.44269504f, kRound), n = shifted - kRound;
  // log(2) in two parts, of which n times the first is exact.
  const float r = fmaf(n, -1.42860677e-6f, fmaf(n, -0.693145752f, x));
  // 2^n in two factors, each a normal number also where e^x is not. Unsigned, so that a NaN's bits may wrap.
  const uint32_t power = __float_as_uint(shifted) - __float_as_uint(kRound) + 2 * 127;
  const float first = __uint_as_float(power / 2 << 23), second = __uint_as_float((power + 1) / 2 << 23);
  return polynomial(kP, r) * first * second;
}

// exp(s^2) erfc(s) for s = t / unit >= 0.
__device__ inline float scaled_erfc(float t, float unit = 1.0f) {
  constexpr float kR[] = {CALTROP_SCALED_ERFC};
  const float center = CALTROP_SCALED_ERFC_CENTER * unit;
  return polynomial(kR, (t - center) / (t + center));
}

__device__ inline float erf_of(float x) {
  constexpr float kS[] = {CALTROP_ERF_NEAR_ZERO};
  const float t = fabsf(x), square = t * t;
  if (t < 1.0f) return fmaf(x, polynomial(kS, square), x);
  const float large = fmaf(-exp_of(-square), scaled_erfc(fminf(t, 10.0f)), 1.0f);
  return copysignf(large, x);
}

struct Normal {
  float cdf, pdf;
};

// Phi(x) = erfc(-x / sqrt 2) / 2 and phi(x) = exp(-x^2 / 2) / sqrt(2 pi). The exponential is kept 2^64 times too
// large until the last product, so that it underflows gradually without a second factor; from 15.5 on all is
// zero. Of a NaN this makes numbers: callers multiply by x.
__device__ inline Normal normal_of(float x) {
  constexpr float kExp2[] = {CALTROP_EXP2};
  constexpr float kLog2 = -0.72134752f;  // of exp(-1/2)
  constexpr float kRound = 12582912.0f;  // as in exp_of
  const float t = fminf(fabsf(x), 15.5f), square = t * t;
  const float shifted = fmaf(square, kLog2, kRound), rest = fmaf(square, kLog2, kRound - shifted);
  const uint32_t power = __float_as_uint(shifted) - __float_as_uint(kRound) + 127 + 64;
  const float density = polynomial(kExp2, rest) * __uint_as_float(power << 23);
  const float tail = density * scaled_erfc(t, 1.41421356f) * 0x1p-65f;
  return {x < 0.0f ? tail : 1.0f - tail, density * (0.398942280f * 0x1p-64f)};
}

__device__ inline float gelu_of(float x) {
  return x * normal_of(x).cdf;
}

// Phi(x) + x phi(x)
__device__ inline float gelu_slope(float x) {
  const Normal n = normal_of(x);
  return fmaf(x, n.pdf, n.cdf);
}

// phi(x) (2 - x^2). The density is 0 long before 20; beyond, the square must not overflow into 0 * infinity.
__device__ inline float gelu_curve(float x) {
  const float near = fabsf(x) > 20.0f ? 20.0f : x;
  return exp_of(x * x * -0.5f) * 0.398942280f * fmaf(-near, near, 2.0f);
}

}  // namespace caltrop::CALTROP_WORLD
