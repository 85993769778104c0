// Optimiser updates: one pass over each parameter, weight, gradient and states read once.

#include <cmath>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/optimizer.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// y = op(i, count) for each vector of a parameter.
template <typename Op>
HWY_INLINE void for_vectors(int64_t count, const Op& op) {
  for (int64_t i = 0; i < count; i += kLanes) op(i, std::min<int64_t>(kLanes, count - i));
}

HWY_INLINE Vec decayed(const ParameterUpdate& u, int64_t i, int64_t n, Vec w, float decay) {
  return hn::MulAdd(hn::Set(Floats(), decay), w, load_some(u.gradient + i, n));
}

void sgd_update(const ParameterUpdate& u, const Sgd& rule, const Pace& pace) {
  const Floats d;
  const Vec rate = hn::Set(d, pace.rate), momentum = hn::Set(d, rule.momentum);
  for_vectors(u.count, [&](int64_t i, int64_t n) HWY_ATTR {
    const Vec w = load_some(u.weight + i, n);
    const Vec g = decayed(u, i, n, w, rule.weight_decay);
    Vec v = g;
    if (u.state1) {
      v = hn::MulAdd(momentum, load_some(u.state1 + i, n), g);
      store_some(v, u.state1 + i, n);
      if (rule.nesterov) v = hn::MulAdd(momentum, v, g);
    }
    store_some(hn::NegMulAdd(rate, v, w), u.weight + i, n);
  });
}

void adam_update(const ParameterUpdate& u, const Adam& rule, const Pace& pace) {
  const Floats d;
  const Vec beta1 = hn::Set(d, rule.beta1), beta2 = hn::Set(d, rule.beta2);
  const Vec rest1 = hn::Set(d, 1.0f - rule.beta1), rest2 = hn::Set(d, 1.0f - rule.beta2);
  const Vec rate = hn::Set(d, pace.rate), root = hn::Set(d, pace.root_second),
            epsilon = hn::Set(d, rule.epsilon);
  for_vectors(u.count, [&](int64_t i, int64_t n) HWY_ATTR {
    const Vec w = load_some(u.weight + i, n);
    const Vec g = decayed(u, i, n, w, rule.weight_decay);
    const Vec m = hn::MulAdd(beta1, load_some(u.state1 + i, n), hn::Mul(rest1, g));
    const Vec v = hn::MulAdd(beta2, load_some(u.state2 + i, n), hn::Mul(rest2, hn::Mul(g, g)));
    store_some(m, u.state1 + i, n);
    store_some(v, u.state2 + i, n);
    const Vec scale = hn::MulAdd(hn::Sqrt(v), root, epsilon);
    store_some(hn::NegMulAdd(rate, hn::Div(m, scale), w), u.weight + i, n);
  });
}

void rmsprop_update(const ParameterUpdate& u, const RmsProp& rule, const Pace& pace) {
  const Floats d;
  for_vectors(u.count, [&](int64_t i, int64_t n) HWY_ATTR {
    const Vec w = load_some(u.weight + i, n);
    const Vec g = decayed(u, i, n, w, rule.weight_decay);
    const Vec s = hn::MulAdd(hn::Set(d, rule.decay), load_some(u.state1 + i, n),
                             hn::Mul(hn::Set(d, 1.0f - rule.decay), hn::Mul(g, g)));
    store_some(s, u.state1 + i, n);
    const Vec scale = hn::Add(hn::Sqrt(s), hn::Set(d, rule.epsilon));
    store_some(hn::NegMulAdd(hn::Set(d, pace.rate), hn::Div(g, scale), w), u.weight + i, n);
  });
}

void adagrad_update(const ParameterUpdate& u, const Adagrad& rule, const Pace& pace) {
  const Floats d;
  for_vectors(u.count, [&](int64_t i, int64_t n) HWY_ATTR {
    const Vec w = load_some(u.weight + i, n);
    const Vec g = decayed(u, i, n, w, rule.weight_decay);
    const Vec s = hn::MulAdd(g, g, load_some(u.state1 + i, n));
    store_some(s, u.state1 + i, n);
    const Vec scale = hn::Add(hn::Sqrt(s), hn::Set(d, rule.epsilon));
    store_some(hn::NegMulAdd(hn::Set(d, pace.rate), hn::Div(g, scale), w), u.weight + i, n);
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

HWY_EXPORT(sgd_update);
HWY_EXPORT(adam_update);
HWY_EXPORT(rmsprop_update);
HWY_EXPORT(adagrad_update);

namespace {
constexpr int64_t kGrain = 1 << 14;  // a multiple of every vector length

template <typename Rule>
void for_parameters(std::span<const ParameterUpdate> updates, const Rule& rule, const Pace& pace,
                    void (*apply)(const ParameterUpdate&, const Rule&, const Pace&)) {
  for (const ParameterUpdate& u : updates) {
    parallel_ranges(u.count, kGrain, [&](int64_t begin, int64_t end) {
      apply({u.weight + begin, u.gradient + begin, u.state1 ? u.state1 + begin : nullptr,
             u.state2 ? u.state2 + begin : nullptr, end - begin},
            rule, pace);
    });
  }
}
}  // namespace

void CpuBackend::sgd(std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace) {
  for_parameters(updates, rule, *pace, HWY_DYNAMIC_DISPATCH(sgd_update));
}

void CpuBackend::adam(std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace) {
  for_parameters(updates, rule, *pace, HWY_DYNAMIC_DISPATCH(adam_update));
}

void CpuBackend::rmsprop(std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace) {
  for_parameters(updates, rule, *pace, HWY_DYNAMIC_DISPATCH(rmsprop_update));
}

void CpuBackend::adagrad(std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace) {
  for_parameters(updates, rule, *pace, HWY_DYNAMIC_DISPATCH(adagrad_update));
}

}  // namespace caltrop
#endif
