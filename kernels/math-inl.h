// Vector functions that the element-wise and fused kernels share: erf, and the normal distribution under
// GELU.
//
// Both rest on R(t) = exp(t^2) erfc(t), t >= 0 (normal_curve.h). Below 1, erf(x) = x + x S(x^2) keeps its
// relative accuracy. Tests bound both against float64.

#if defined(CALTROP_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CALTROP_MATH_INL_H_
#undef CALTROP_MATH_INL_H_
#else
#define CALTROP_MATH_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>

#include "kernels/normal_curve.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

template <size_t N>
HWY_INLINE Vec polynomial(const float (&coefficients)[N], Vec x) {
  const Floats d;
  Vec sum = hn::Set(d, coefficients[N - 1]);
  for (size_t k = N - 1; k-- > 0;) sum = hn::MulAdd(sum, x, hn::Set(d, coefficients[k]));
  return sum;
}

// exp(s^2) erfc(s) for s = t / unit >= 0.
HWY_INLINE Vec scaled_erfc(Vec t, float unit = 1.0f) {
  constexpr float kR[] = {CALTROP_SCALED_ERFC};
  const Vec center = hn::Set(Floats(), CALTROP_SCALED_ERFC_CENTER * unit);
  return polynomial(kR, hn::Div(hn::Sub(t, center), hn::Add(t, center)));
}

HWY_INLINE Vec erf_of(Vec x) {
  constexpr float kS[] = {CALTROP_ERF_NEAR_ZERO};
  const Floats d;
  const Vec t = hn::Abs(x), square = hn::Mul(t, t);
  const Vec small = hn::MulAdd(x, polynomial(kS, square), x);
  const Vec large = hn::NegMulAdd(hn::Exp(d, hn::Neg(square)), scaled_erfc(hn::Min(t, hn::Set(d, 10.0f))),
                                  hn::Set(d, 1.0f));
  // A NaN is not below 1 and would leave `large` as a number on some targets.
  const Vec y = hn::IfThenElse(hn::Lt(t, hn::Set(d, 1.0f)), small, hn::CopySign(large, x));
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

struct Normal {
  Vec cdf, pdf;
};

// Phi(x) = erfc(-x / sqrt 2) / 2 and phi(x) = exp(-x^2 / 2) / sqrt(2 pi), from one exponential: Highway's takes
// any argument, here it is never above 0. It is kept 2^64 times too large until the last product, so that it
// underflows gradually without a second factor; from 15.5 on all is zero.
HWY_INLINE Normal normal_of(Vec x) {
  constexpr float kExp2[] = {CALTROP_EXP2};
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const Vec t = hn::Min(hn::Abs(x), hn::Set(d, 15.5f)), square = hn::Mul(t, t);
  const Vec log2 = hn::Set(d, -0.72134752f);  // of exp(-1/2)
  const auto whole = hn::NearestInt(hn::Mul(square, log2));
  const Vec rest = hn::MulSub(square, log2, hn::ConvertTo(d, whole));
  const Vec power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(whole, hn::Set(di, 127 + 64))));
  const Vec density = hn::Mul(polynomial(kExp2, rest), power);
  const Vec tail = hn::Mul(hn::Mul(density, scaled_erfc(t, 1.41421356f)), hn::Set(d, 0x1p-65f));
  const Vec cdf = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail));
  return {cdf, hn::Mul(density, hn::Set(d, 0.398942280f * 0x1p-64f))};
}

HWY_INLINE Vec relu_of(Vec x) {  // NaN stays
  const Floats d;
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
}

HWY_INLINE Vec gelu_of(Vec x) {
  return hn::Mul(x, normal_of(x).cdf);
}

HWY_INLINE Vec gelu_slope(Vec x) {
  const Normal n = normal_of(x);
  return hn::MulAdd(x, n.pdf, n.cdf);
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
