#include "attacks/poison/poison.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "attacks/poison/forward_over_reverse.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/named.h"
#include "engine/random.h"

namespace caltrop {
namespace {

constexpr std::array kMetaGradients = {"unrolled", "stepwise", "forward-over-reverse", "differences"};
constexpr float kBeta1 = 0.9f, kBeta2 = 0.999f, kEpsilon = 1e-8f, kRootEpsilon = 1e-8f;

double dot(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double total = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    const std::vector<float> left = a[k].to_host(), right = b[k].to_host();
    for (size_t i = 0; i < left.size(); ++i)
      total += static_cast<double>(left[i]) * static_cast<double>(right[i]);
  }
  return total;
}

std::vector<Tensor> variables(const std::vector<Tensor>& values) {
  std::vector<Tensor> leaves;
  leaves.reserve(values.size());
  for (const Tensor& value : values) leaves.push_back(variable(value.detach()));
  return leaves;
}

std::vector<Tensor> detached(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> values;
  values.reserve(tensors.size());
  for (const Tensor& tensor : tensors) values.push_back(tensor.detach());
  return values;
}

double mean_on_host(const Tensor& losses) {
  double total = 0;
  for (const float loss : losses.to_host()) total += static_cast<double>(loss);
  return total / static_cast<double>(losses.size());
}

}  // namespace

MetaGradient parse_meta_gradient(std::string_view name) {
  return parse_named<MetaGradient>("meta-gradient", name, kMetaGradients);
}
std::string to_string(MetaGradient method) {
  return kMetaGradients[static_cast<size_t>(method)];
}

bool is_smooth(const Architecture& architecture) {
  return std::none_of(architecture.layers.begin(), architecture.layers.end(), [](const LayerSpec& layer) {
    if (const auto* pool = std::get_if<PoolSpec>(&layer)) return pool->kind == PoolKind::max;
    const auto* activation = std::get_if<ActivationSpec>(&layer);
    return activation &&
           (activation->kind == ActivationKind::relu || activation->kind == ActivationKind::leaky_relu);
  });
}

InnerTraining::Batch InnerTraining::batch(const Images& images, std::span<const int64_t> rows) {
  const std::vector<int32_t> labels = images.labels_of(rows);
  return {images.pixels(rows), Labels(images.backend(), std::span<const int32_t>(labels))};
}

InnerTraining::InnerTraining(const Model& model, std::vector<Batch> steps, Batch target, Labels poison_labels,
                             const InnerOptions& options)
    : model_(model),
      steps_(std::move(steps)),
      target_(std::move(target)),
      poison_labels_(std::move(poison_labels)),
      options_(options),
      parameters_(model.parameters().size()) {
  if (options.rule != Rule::sgd && options.rule != Rule::adam) {
    fail("[poison] expected sgd or adam as the inner rule, got {}", to_string(options.rule));
  }
  for (const LayerSpec& layer : model.architecture().layers) {
    if (std::holds_alternative<BatchNormSpec>(layer) || std::holds_alternative<DropoutSpec>(layer)) {
      fail(
          "poisoning differentiates training steps, which must be functions of the weights; the network has "
          "'{}'",
          to_string(layer));
    }
  }
}

InnerTraining::State InnerTraining::theta_of(const State& state) const {
  return {state.begin(), state.begin() + static_cast<std::ptrdiff_t>(parameters_)};
}

InnerTraining::State InnerTraining::first_state() const {
  State state = detached(model_.parameters());
  if (options_.rule == Rule::adam) {
    for (size_t k = 0; k < 2 * parameters_; ++k) {
      state.push_back(Tensor::zeros(model_.backend(), state[k % parameters_].shape()));
    }
  }
  return state;
}

Tensor InnerTraining::training_loss(const State& theta, const Tensor& poison, int64_t s) const {
  const Batch& clean = steps_[static_cast<size_t>(s)];
  const ForwardOptions with{.parameters = &theta};
  const Tensor ours = sum(cross_entropy(model_.forward(poison, with), poison_labels_));
  const Tensor theirs = sum(cross_entropy(model_.forward(clean.x, with), clean.labels));
  return (ours + theirs) / static_cast<float>(poison.dim(0) + clean.x.dim(0));
}

Tensor InnerTraining::target_losses(const State& theta) const {
  return cross_entropy(model_.forward(target_.x, {.parameters = &theta}), target_.labels);
}

std::vector<Tensor> InnerTraining::training_gradient(const State& state, const Tensor& poison, int64_t s,
                                                     bool create_graph) const {
  const State theta = theta_of(state);
  return grad({training_loss(theta, poison, s)}, theta, {.create_graph = create_graph});
}

// The state after step s (counted from 0), as a differentiable function of the state before and of the
// gradient.
InnerTraining::State InnerTraining::updated(const State& state, const std::vector<Tensor>& g,
                                            int64_t s) const {
  State next(state.size());
  const size_t p = parameters_;
  if (options_.rule == Rule::sgd) {
    for (size_t k = 0; k < p; ++k) next[k] = state[k] - g[k] * options_.rate;
    return next;
  }
  const auto t = static_cast<double>(s + 1);
  const auto rate =
      static_cast<float>(static_cast<double>(options_.rate) / (1 - std::pow(static_cast<double>(kBeta1), t)));
  const auto unbias = static_cast<float>(1 / (1 - std::pow(static_cast<double>(kBeta2), t)));
  for (size_t k = 0; k < p; ++k) {
    const Tensor m = state[p + k] * kBeta1 + g[k] * (1 - kBeta1);
    const Tensor v = state[2 * p + k] * kBeta2 + square(g[k]) * (1 - kBeta2);
    next[k] = state[k] - m * rate / (sqrt(v * unbias + kRootEpsilon) + kEpsilon);
    next[p + k] = m;
    next[2 * p + k] = v;
  }
  return next;
}

double InnerTraining::target_loss(const Tensor& poison) const {
  State state = first_state();
  for (size_t s = 0; s < steps_.size(); ++s) {
    const auto step = static_cast<int64_t>(s);
    const State leaves = variables(state);
    const std::vector<Tensor> g = training_gradient(leaves, poison.detach(), step, false);
    const NoGrad values_only;
    state = updated(state, g, step);
  }
  const NoGrad values_only;
  return mean_on_host(target_losses(theta_of(state)));
}

Tensor InnerTraining::meta_gradient(const Tensor& poison) const {
  return options_.method == MetaGradient::unrolled ? unrolled(poison.detach()) : stepwise(poison.detach());
}

double InnerTraining::difference(const Tensor& poison, const Tensor& direction, float h) const {
  const auto central = [&](float reach) {
    const double up = target_loss(poison + direction * reach), down = target_loss(poison - direction * reach);
    return (up - down) / (2 * static_cast<double>(reach));
  };
  return (4 * central(h / 2) - central(h)) / 3;
}

Tensor InnerTraining::unrolled(const Tensor& poison) const {
  const auto count = static_cast<int64_t>(steps_.size());
  const int64_t length = options_.checkpoint > 0 ? std::min(options_.checkpoint, count) : count;
  const int64_t last = (count - 1) / length;  // segment
  std::vector<State> starts;                  // of the segments
  State running = first_state();
  for (int64_t s = 0; s <= last * length; ++s) {
    if (s % length == 0) starts.push_back(running);
    if (s == last * length) break;
    const std::vector<Tensor> g = training_gradient(variables(running), poison, s, false);
    const NoGrad values_only;
    running = updated(running, g, s);
  }
  Tensor total = Tensor::zeros(poison.backend(), poison.shape());
  State cotangent;  // of the state at the end of the segment
  for (int64_t segment = last; segment >= 0; --segment) {
    const State leaves = variables(starts.back());
    starts.pop_back();
    const Tensor x = variable(poison);
    State state = leaves;
    for (int64_t s = segment * length; s < std::min(count, (segment + 1) * length); ++s) {
      state = updated(state, training_gradient(state, x, s, true), s);
    }
    std::vector<Tensor> wrt = leaves;
    wrt.push_back(x);
    State pulled = cotangent.empty() ? grad({mean(target_losses(theta_of(state)))}, wrt)
                                     : grad(state, wrt, {.grad_outputs = cotangent});
    total = total + pulled.back();
    pulled.pop_back();
    cotangent = std::move(pulled);
  }
  return total;
}

std::vector<Tensor> InnerTraining::products(const State& theta, const Tensor& poison, int64_t s,
                                            const std::vector<Tensor>& w) const {
  if (options_.method == MetaGradient::stepwise) {
    std::vector<Tensor> leaves = variables(theta);
    const State at = leaves;
    leaves.push_back(variable(poison));
    return grad(training_gradient(at, leaves.back(), s, true), leaves, {.grad_outputs = w});
  }
  if (options_.method == MetaGradient::forward_over_reverse) {
    const Batch& clean = steps_[static_cast<size_t>(s)];
    const GradientDerivatives ours = forward_over_reverse(model_, theta, w, poison, poison_labels_, true);
    const GradientDerivatives theirs = forward_over_reverse(model_, theta, w, clean.x, clean.labels, false);
    const auto images = static_cast<float>(poison.dim(0) + clean.x.dim(0));
    std::vector<Tensor> all;
    for (size_t k = 0; k < parameters_; ++k) all.push_back((ours.weights[k] + theirs.weights[k]) / images);
    all.push_back(ours.images / images);
    return all;
  }
  const double length = std::sqrt(dot(w, w));
  const float h =
      length > 0 ? static_cast<float>(static_cast<double>(options_.reach) / length) : options_.reach;
  const auto moved = [&](float by) {
    std::vector<Tensor> leaves;
    leaves.reserve(parameters_ + 1);
    for (size_t k = 0; k < parameters_; ++k) leaves.push_back(variable(theta[k] + w[k] * by));
    const State there = leaves;
    leaves.push_back(variable(poison));
    return grad({training_loss(there, leaves.back(), s)}, leaves);
  };
  std::vector<Tensor> change = moved(h);
  const std::vector<Tensor> behind = moved(-h);
  for (size_t k = 0; k < change.size(); ++k) change[k] = (change[k] - behind[k]) / (2 * h);
  return change;
}

Tensor InnerTraining::stepwise(const Tensor& poison) const {
  const auto count = static_cast<int64_t>(steps_.size());
  std::vector<State> states = {first_state()}, gradients;
  for (int64_t s = 0; s < count; ++s) {
    gradients.push_back(training_gradient(variables(states.back()), poison, s, false));
    const NoGrad values_only;
    states.push_back(updated(states.back(), gradients.back(), s));
  }
  const State last = variables(theta_of(states.back()));
  State cotangent = grad({mean(target_losses(last))}, last);
  for (size_t k = parameters_; k < states.back().size(); ++k) {
    cotangent.push_back(Tensor::zeros(poison.backend(), states.back()[k].shape()));
  }
  Tensor total = Tensor::zeros(poison.backend(), poison.shape());
  for (int64_t s = count - 1; s >= 0; --s) {
    const auto at = static_cast<size_t>(s);
    // Through the update rule: to the state before, and to the gradient it used.
    std::vector<Tensor> leaves = variables(states[at]);
    const std::vector<Tensor> g = variables(gradients[at]);
    const State next = updated(leaves, g, s);
    const size_t before = leaves.size();
    leaves.insert(leaves.end(), g.begin(), g.end());
    State pulled = grad(next, leaves, {.grad_outputs = cotangent});
    const std::vector<Tensor> w(pulled.begin() + static_cast<std::ptrdiff_t>(before), pulled.end());
    pulled.resize(before);
    cotangent = std::move(pulled);
    const std::vector<Tensor> through = products(theta_of(states[at]), poison, s, w);
    for (size_t k = 0; k < parameters_; ++k) cotangent[k] = cotangent[k] + through[k];
    total = total + through.back();
  }
  return total;
}

}  // namespace caltrop
