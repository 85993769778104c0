#include "attacks/poison/forward_over_reverse.h"

#include <algorithm>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

struct Dual {
  Tensor value, dot;  // dot: empty where it is zero
};

// Terms of which some are absent, being zero.
Tensor plus(const Tensor& a, const Tensor& b) {
  return !a ? b : !b ? a : a + b;
}

Tensor times(const Tensor& a, const Tensor& b) {
  return !a || !b ? Tensor() : a * b;
}

Tensor pointwise(Unary op, const Tensor& x) {
  Tensor y = Tensor::uninitialized(x.backend(), x.shape());
  x.backend().unary(op, x.data(), y.mutable_data(), x.size());
  return y;
}

bool is_relu(const LayerSpec& layer) {
  const auto* activation = std::get_if<ActivationSpec>(&layer);
  return activation && activation->kind == ActivationKind::relu;
}
bool is_max_pool(const LayerSpec& layer) {
  const auto* pool = std::get_if<PoolSpec>(&layer);
  return pool && pool->kind == PoolKind::max;
}

// An activation with its first and second derivative.
struct Curve {
  Tensor value, slope, bend;
};
Curve curve_of(ActivationKind kind, const Tensor& z) {
  switch (kind) {
    case ActivationKind::gelu:
      return {gelu(z), pointwise(Unary::gelu_grad, z), pointwise(Unary::gelu_curve, z)};
    case ActivationKind::tanh: {
      const Tensor y = tanh(z), slope = 1.0f - square(y);
      return {y, slope, y * slope * -2.0f};
    }
    case ActivationKind::sigmoid: {
      const Tensor y = sigmoid(z), slope = y * (1.0f - y);
      return {y, slope, slope * (1.0f - y * 2.0f)};
    }
    default:
      return {relu(z), step(z), {}};
  }
}

class DualPass {
 public:
  DualPass(const Model& model, const std::vector<Tensor>& theta, const std::vector<Tensor>& w, bool of_images)
      : model_(model), theta_(theta), w_(w), of_images_(of_images), products_(theta.size()) {}

  GradientDerivatives run(const Tensor& x, const Labels& labels) {
    Dual y{x, {}};
    std::vector<LayerSpec> layers = model_.architecture().layers;
    for (size_t k = 0; k + 1 < layers.size(); ++k) {
      // relu is monotone: taken after a maximum it has a quarter of the work, and the same derivatives.
      if (is_relu(layers[k]) && is_max_pool(layers[k + 1])) std::swap(layers[k], layers[k + 1]);
    }
    for (const LayerSpec& layer : layers) y = forward(layer, y);
    const Tensor p = softmax(y.value), moved = p * y.dot;
    Dual g{p - one_hot(labels, model_.outputs()), moved - p * sum(moved, {1}, true)};
    for (; !backward_.empty(); backward_.pop_back()) g = backward_.back()(g);
    return {std::move(products_), of_images_ ? g.dot : Tensor()};
  }

 private:
  // From the gradient of a layer's output to that of its input; weights' derivatives go to products_.
  using Backward = std::function<Dual(const Dual& g)>;

  Dual forward(const LayerSpec& layer, const Dual& x) {
    if (const auto* conv = std::get_if<ConvSpec>(&layer)) return convolution(*conv, x);
    if (const auto* pool = std::get_if<PoolSpec>(&layer)) return pooling(*pool, x);
    if (const auto* activation = std::get_if<ActivationSpec>(&layer)) return activated(activation->kind, x);
    if (std::holds_alternative<DenseSpec>(layer)) return product(x);
    return flattened(x);
  }

  // Whether what lies before a layer wants its gradient's value, or its derivative.
  bool first_weights() const { return next_ == 0; }

  Dual convolution(const ConvSpec& spec, const Dual& x) {
    const ConvOptions how{spec.stride_h, spec.stride_w, spec.pad_h, spec.pad_w};
    const size_t k = next_;
    const bool first = first_weights();
    next_ += 2;
    const Tensor &weight = theta_[k], &turn = w_[k];
    backward_.push_back([=, this](const Dual& g) {
      const Shape& shape = x.value.shape();
      products_[k] = conv2d_dweight(x.value, g.dot, weight.shape(), how);
      if (x.dot) products_[k] = products_[k] + conv2d_dweight(x.dot, g.value, weight.shape(), how);
      products_[k + 1] = sum(g.dot, {0, 1, 2});
      if (first && !of_images_) return Dual{};
      return Dual{first ? Tensor() : conv2d_dinput(g.value, weight, shape, how),
                  conv2d_dinput(g.dot, weight, shape, how) + conv2d_dinput(g.value, turn, shape, how)};
    });
    const Tensor carried = x.dot ? conv2d(x.dot, weight, how) : Tensor();
    return {conv2d(x.value, weight, how) + theta_[k + 1],
            plus(conv2d(x.value, turn, how) + w_[k + 1], carried)};
  }

  Dual product(const Dual& x) {
    const size_t k = next_;
    const bool first = first_weights();
    next_ += 2;
    const Tensor &weight = theta_[k], &turn = w_[k];
    backward_.push_back([=, this](const Dual& g) {
      products_[k] = matmul(g.dot, x.value, true);
      if (x.dot) products_[k] = products_[k] + matmul(g.value, x.dot, true);
      products_[k + 1] = sum(g.dot, {0});
      if (first && !of_images_) return Dual{};
      return Dual{first ? Tensor() : matmul(g.value, weight), matmul(g.dot, weight) + matmul(g.value, turn)};
    });
    const Tensor carried = x.dot ? matmul(x.dot, weight, false, true) : Tensor();
    return {dense(x.value, weight, theta_[k + 1]), plus(dense(x.value, turn, w_[k + 1]), carried)};
  }

  Dual activated(ActivationKind kind, const Dual& z) {
    const Curve f = curve_of(kind, z.value);
    const Tensor bend = times(f.bend, z.dot);
    backward_.push_back([slope = f.slope, bend](const Dual& g) {
      return Dual{times(slope, g.value), plus(times(slope, g.dot), times(bend, g.value))};
    });
    return {f.value, times(f.slope, z.dot)};
  }

  Dual pooling(const PoolSpec& spec, const Dual& x) {
    Backend& backend = x.value.backend();
    const Shape& in = x.value.shape();
    const Pool2d shape{in[0],         in[1],         in[2],         in[3],
                       spec.window_h, spec.window_w, spec.stride_h, spec.stride_w};
    const auto mapped = [&backend](const Tensor& from, const Shape& to, const auto& run) {
      if (!from) return Tensor();
      Tensor y = Tensor::uninitialized(backend, to);
      run(from.data(), y.mutable_data());
      return y;
    };
    const Shape out{in[0], shape.out_h(), shape.out_w(), in[3]};
    if (spec.kind == PoolKind::average) {
      const auto down = [&](const float* from, float* y) {
        backend.avgpool(shape, from, y);
      };
      backward_.push_back([=, &backend](const Dual& g) {
        const auto up = [&](const float* from, float* dx) {
          backend.avgpool_adjoint(shape, from, dx);
        };
        return Dual{mapped(g.value, in, up), mapped(g.dot, in, up)};
      });
      return {mapped(x.value, out, down), mapped(x.dot, out, down)};
    }
    const Buffer<int32_t> index(backend, element_count(out));
    backward_.push_back([=, &backend](const Dual& g) {
      const auto up = [&](const float* from, float* dx) {
        backend.maxpool_scatter(shape, from, index.data(), dx);
      };
      return Dual{mapped(g.value, in, up), mapped(g.dot, in, up)};
    });
    const auto largest = [&](const float* from, float* y) {
      backend.maxpool(shape, from, y, index.data());
    };
    const auto there = [&](const float* from, float* y) {
      backend.maxpool_gather(shape, from, index.data(), y);
    };
    const Tensor value = mapped(x.value, out, largest);
    return {value, mapped(x.dot, out, there)};
  }

  Dual flattened(const Dual& x) {
    const Shape in = x.value.shape(), flat{in[0], x.value.size() / std::max<int64_t>(in[0], 1)};
    const auto shaped = [](const Tensor& t, const Shape& shape) {
      return t ? reshape(t, shape) : Tensor();
    };
    backward_.push_back([=](const Dual& g) { return Dual{shaped(g.value, in), shaped(g.dot, in)}; });
    return {shaped(x.value, flat), shaped(x.dot, flat)};
  }

  const Model& model_;
  const std::vector<Tensor>&theta_, &w_;
  bool of_images_;
  size_t next_ = 0;  // of theta_
  std::vector<Tensor> products_;
  std::vector<Backward> backward_;
};

bool is_known(const LayerSpec& layer) {
  if (const auto* activation = std::get_if<ActivationSpec>(&layer))
    return activation->kind == ActivationKind::relu || activation->kind == ActivationKind::gelu ||
           activation->kind == ActivationKind::tanh || activation->kind == ActivationKind::sigmoid;
  return std::holds_alternative<ConvSpec>(layer) || std::holds_alternative<PoolSpec>(layer) ||
         std::holds_alternative<DenseSpec>(layer) || std::holds_alternative<FlattenSpec>(layer);
}

}  // namespace

bool has_forward_over_reverse(const Architecture& architecture) {
  return std::ranges::all_of(architecture.layers, is_known);
}

GradientDerivatives forward_over_reverse(const Model& model, const std::vector<Tensor>& theta,
                                         const std::vector<Tensor>& w, const Tensor& x, const Labels& labels,
                                         bool of_images) {
  const auto unknown = std::ranges::find_if_not(model.architecture().layers, is_known);
  if (unknown != model.architecture().layers.end()) {
    fail(
        "[poison] forward-over-reverse knows convolutions, dense layers, relu, gelu, tanh, sigmoid and "
        "pooling; the network "
        "has "
        "'{}' (the stepwise lane knows all)",
        to_string(*unknown));
  }
  const NoGrad values_only;
  return DualPass(model, theta, w, of_images).run(x, labels);
}

}  // namespace caltrop
