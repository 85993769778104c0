// Optimiser updates of all parameters of a model in one launch: weight, gradient and states are read once and
// written once, which is the floor. The list of parameters travels by value with the launch; each block takes
// tiles of kTile elements and finds the parameter of a tile in the list of first tiles.
//
// The same fused multiply-adds in the same order as optimizer.cpp: the bits are those of the CPU.

#include <cmath>

#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kTile = 4 * kThreads;
constexpr int kMostParameters = 64;

struct ParameterList {
  int count = 0;
  ParameterUpdate update[kMostParameters];
  int64_t first_tile[kMostParameters + 1] = {};
};
static_assert(sizeof(ParameterList) <= 4000, "kernel parameters have 4 KB");

// One element of a parameter, as the rules see it.
struct Element {
  float w, g, state1, state2;
};

__device__ float decayed(float weight_decay, const Element& e) {
  return fmaf(weight_decay, e.w, e.g);
}

struct SgdRule {
  static constexpr int kStates = 1;
  Sgd rule;
  __device__ void operator()(Element& e, const Pace& pace, bool has_momentum) const {
    const float g = decayed(rule.weight_decay, e);
    float v = g;
    if (has_momentum) {
      e.state1 = fmaf(rule.momentum, e.state1, g);
      v = rule.nesterov ? fmaf(rule.momentum, e.state1, g) : e.state1;
    }
    e.w = fmaf(-pace.rate, v, e.w);
  }
};

struct AdamRule {
  static constexpr int kStates = 2;
  Adam rule;
  __device__ void operator()(Element& e, const Pace& pace, bool) const {
    const float g = decayed(rule.weight_decay, e);
    e.state1 = fmaf(rule.beta1, e.state1, (1.0f - rule.beta1) * g);
    e.state2 = fmaf(rule.beta2, e.state2, (1.0f - rule.beta2) * (g * g));
    e.w = fmaf(-pace.rate, e.state1 / fmaf(sqrtf(e.state2), pace.root_second, rule.epsilon), e.w);
  }
};

struct RmsPropRule {
  static constexpr int kStates = 1;
  RmsProp rule;
  __device__ void operator()(Element& e, const Pace& pace, bool) const {
    const float g = decayed(rule.weight_decay, e);
    e.state1 = fmaf(rule.decay, e.state1, (1.0f - rule.decay) * (g * g));
    e.w = fmaf(-pace.rate, g / (sqrtf(e.state1) + rule.epsilon), e.w);
  }
};

struct AdagradRule {
  static constexpr int kStates = 1;
  Adagrad rule;
  __device__ void operator()(Element& e, const Pace& pace, bool) const {
    const float g = decayed(rule.weight_decay, e);
    e.state1 = fmaf(g, g, e.state1);
    e.w = fmaf(-pace.rate, g / (sqrtf(e.state1) + rule.epsilon), e.w);
  }
};

template <typename Rule>
__device__ void update_one(const Rule& rule, const Pace& pace, const ParameterUpdate& u, int64_t i) {
  const bool first = u.state1 != nullptr;
  Element e{u.weight[i], u.gradient[i], first ? u.state1[i] : 0.0f, Rule::kStates > 1 ? u.state2[i] : 0.0f};
  rule(e, pace, first);
  u.weight[i] = e.w;
  if (first) u.state1[i] = e.state1;
  if (Rule::kStates > 1) u.state2[i] = e.state2;
}

template <typename Rule>
__device__ void update_four(const Rule& rule, const Pace& pace, const ParameterUpdate& u, int64_t i) {
  const bool first = u.state1 != nullptr;
  const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  const float4 w = load4(u.weight + i), g = load4(u.gradient + i);
  const float4 s = first ? load4(u.state1 + i) : zero, t = Rule::kStates > 1 ? load4(u.state2 + i) : zero;
  Element x{w.x, g.x, s.x, t.x}, y{w.y, g.y, s.y, t.y}, z{w.z, g.z, s.z, t.z}, l{w.w, g.w, s.w, t.w};
  rule(x, pace, first);
  rule(y, pace, first);
  rule(z, pace, first);
  rule(l, pace, first);
  store4(u.weight + i, make_float4(x.w, y.w, z.w, l.w));
  if (first) store4(u.state1 + i, make_float4(x.state1, y.state1, z.state1, l.state1));
  if (Rule::kStates > 1) store4(u.state2 + i, make_float4(x.state2, y.state2, z.state2, l.state2));
}

template <typename Rule>
__global__ void __launch_bounds__(kThreads)
    update_kernel(Rule rule, const Pace* pace_of_step, ParameterList list) {
  const Pace pace = *pace_of_step;
  int p = 0;
  for (int64_t tile = blockIdx.x; tile < list.first_tile[list.count]; tile += gridDim.x) {
    while (tile >= list.first_tile[p + 1]) ++p;  // tiles of a block only grow
    const ParameterUpdate u = list.update[p];
    const int64_t begin = (tile - list.first_tile[p]) * kTile;
    const int64_t four = begin + 4 * static_cast<int64_t>(threadIdx.x);
    // A null state is aligned to everything.
    if (begin + kTile <= u.count && is_aligned16(u.weight, u.gradient, u.state1, u.state2)) {
      update_four(rule, pace, u, four);
    } else {
      for (int64_t i = begin + threadIdx.x; i < begin + kTile && i < u.count; i += kThreads) {
        update_one(rule, pace, u, i);
      }
    }
  }
}

template <typename Rule>
void update_all(Stream& stream, const char* op, std::span<const ParameterUpdate> updates, const Rule& rule,
                const Pace* pace) {
  ParameterList list;
  const auto send = [&] {
    const int64_t tiles = list.first_tile[list.count];
    launch(op, update_kernel<Rule>, grid_for(tiles, 1), kThreads, 0, stream, rule, pace, list);
    list.count = 0;
  };
  for (const ParameterUpdate& u : updates) {
    if (u.count == 0) continue;
    if (list.count == kMostParameters) send();
    list.update[list.count] = u;
    list.first_tile[list.count + 1] = list.first_tile[list.count] + (u.count - 1) / kTile + 1;
    ++list.count;
  }
  send();
}

}  // namespace

void GpuBackend::sgd(std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace) {
  const Stream::Op range(stream_, "sgd");
  update_all(stream_, "sgd", updates, SgdRule{rule}, pace);
}

void GpuBackend::adam(std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace) {
  const Stream::Op range(stream_, "adam");
  update_all(stream_, "adam", updates, AdamRule{rule}, pace);
}

void GpuBackend::rmsprop(std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace) {
  const Stream::Op range(stream_, "rmsprop");
  update_all(stream_, "rmsprop", updates, RmsPropRule{rule}, pace);
}

void GpuBackend::adagrad(std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace) {
  const Stream::Op range(stream_, "adagrad");
  update_all(stream_, "adagrad", updates, AdagradRule{rule}, pace);
}

}  // namespace caltrop::CALTROP_WORLD
