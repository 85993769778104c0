// Device functions of CUDA's math library. Names that C has too (expf, fmaf, erff ...) are the C library's;
// results may differ from a GPU's in the last bits, so tests compare with tolerances.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

#include "kernels/emulation/builtins.h"

namespace caltrop::emu {

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

// CUDA's min and max take two of one type; of a number and a NaN they give the number.
template <typename T>
constexpr T min(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return b != b || a < b ? a : (a != a || b < a ? b : a);
  return b < a ? b : a;
}
template <typename T>
constexpr T max(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return b != b || a > b ? a : (a != a || b > a ? b : a);
  return a < b ? b : a;
}

template <typename T>
__forceinline__ T __ldg(const T* address) {
  return *address;
}
template <typename T>
__forceinline__ T __ldcs(const T* address) {
  return *address;
}
template <typename T>
__forceinline__ T __ldcg(const T* address) {
  return *address;
}
template <typename T>
__forceinline__ void __stcs(T* address, std::type_identity_t<T> value) {
  *address = value;
}
template <typename T>
__forceinline__ void __stcg(T* address, std::type_identity_t<T> value) {
  *address = value;
}

// Bits.
inline float __int_as_float(int bits) {
  return same_bytes<float>(bits);
}
inline float __uint_as_float(unsigned bits) {
  return same_bytes<float>(bits);
}
inline int __float_as_int(float value) {
  return same_bytes<int>(value);
}
inline unsigned __float_as_uint(float value) {
  return same_bytes<unsigned>(value);
}
inline long long __double_as_longlong(double value) {
  return same_bytes<long long>(value);
}
inline double __longlong_as_double(long long bits) {
  return same_bytes<double>(bits);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1u) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<uint64_t>(a) * b) >> 32);
}
inline int __mulhi(int a, int b) {
  return static_cast<int>((static_cast<int64_t>(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ typedef unsigned __int128 Wide;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t both = static_cast<uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(both >> ((selector >> 4 * i & 7) * 8) & 0xFF) << 8 * i;
  return result;
}

// Arithmetic with one rounding each.
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fsqrt_rn(float a) {
  return std::sqrt(a);
}
inline float __frcp_rn(float a) {
  return 1.0f / a;
}
inline double __dmul_rn(double a, double b) {
  return a * b;
}
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline double __dsqrt_rn(double a) {
  return std::sqrt(a);
}
inline double __ddiv_rn(double a, double b) {
  return a / b;
}
inline double __fma_rn(double a, double b, double c) {
  return std::fma(a, b, c);
}
inline float __double2float_rn(double a) {
  return static_cast<float>(a);
}
inline int __float2int_rn(float a) {
  return static_cast<int>(std::nearbyint(a));
}
inline int __float2int_rd(float a) {
  return static_cast<int>(std::floor(a));
}
inline float __int2float_rn(int a) {
  return static_cast<float>(a);
}
inline float __uint2float_rn(unsigned a) {
  return static_cast<float>(a);
}
inline float __saturatef(float a) {
  return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f;
}

// Functions that C lacks, and the fast ones, which are no faster here.
inline float rsqrtf(float x) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float normcdff(float x) {
  return static_cast<float>(0.5 * std::erfc(-static_cast<double>(x) / std::numbers::sqrt2));
}
inline double normcdf(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}
inline void sincospi(double x, double* sine, double* cosine) {
  const double turn = std::fmod(x, 2.0);
  *sine = std::sin(std::numbers::pi * turn);
  *cosine = std::cos(std::numbers::pi * turn);
}
inline void sincospif(float x, float* sine, float* cosine) {
  double s, c;
  sincospi(static_cast<double>(x), &s, &c);
  *sine = static_cast<float>(s);
  *cosine = static_cast<float>(c);
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __exp2f(float x) {
  return std::exp2(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}
inline float __sinf(float x) {
  return std::sin(x);
}
inline float __cosf(float x) {
  return std::cos(x);
}
inline float __powf(float x, float y) {
  return std::pow(x, y);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __tanhf(float x) {
  return std::tanh(x);
}

}  // namespace caltrop::emu
