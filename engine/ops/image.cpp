// Convolution, pooling, normalisation and dropout.

#include <algorithm>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

Conv2d conv_shape(const char* op, const Shape& x, const Shape& w, const ConvOptions& options) {
  if (x.size() != 4 || w.size() != 4 || x[3] != w[2]) {
    fail("[{}] expected x (n,h,w,cin) and w (kh,kw,cin,cout), got {} and {}", op, to_string(x), to_string(w));
  }
  const Conv2d shape{
      x[0],          x[1],         x[2], x[3], w[3], w[0], w[1], options.stride_h, options.stride_w,
      options.pad_h, options.pad_w};
  if (shape.stride_h < 1 || shape.stride_w < 1 || shape.pad_h < 0 || shape.pad_w < 0) {
    fail("[{}] expected strides of at least 1 and padding of at least 0, got stride {}x{}, padding {}x{}", op,
         shape.stride_h, shape.stride_w, shape.pad_h, shape.pad_w);
  }
  if (shape.kh < 1 || shape.kw < 1 || shape.h + 2 * shape.pad_h < shape.kh ||
      shape.w + 2 * shape.pad_w < shape.kw) {
    fail("[{}] expected a padded image of at least the window, got {} and {}", op, to_string(x),
         to_string(w));
  }
  return shape;
}

void check_gradient(const char* op, const Conv2d& shape, const Tensor& g) {
  const Shape expected{shape.n, shape.out_h(), shape.out_w(), shape.cout};
  if (g.shape() != expected)
    fail("[{}] expected a gradient of shape {}, got {}", op, to_string(expected), to_string(g.shape()));
}

Pool2d pool_shape(const char* op, const Shape& x, const PoolOptions& options) {
  if (x.size() != 4) fail("[{}] expected x (n,h,w,c), got {}", op, to_string(x));
  const Pool2d shape{
      x[0], x[1], x[2], x[3], options.window_h, options.window_w, options.stride_h, options.stride_w};
  if (shape.kh < 1 || shape.kw < 1 || shape.stride_h < 1 || shape.stride_w < 1 || shape.h < shape.kh ||
      shape.w < shape.kw) {
    fail("[{}] expected a window of at most {}x{} and strides of at least 1, got window {}x{}, stride {}x{}",
         op, shape.h, shape.w, shape.kh, shape.kw, shape.stride_h, shape.stride_w);
  }
  return shape;
}

Shape output_shape(const Pool2d& shape) {
  return {shape.n, shape.out_h(), shape.out_w(), shape.c};
}

Tensor maxpool_scatter(const Tensor& g, const Buffer<int32_t>& index, const Pool2d& shape);

// The same values with a place of their own in the graph.
Tensor alias(const Tensor& x) {
  return record("alias", x.detach(), {x},
                [](const Tensor& g, const Needs&) { return std::vector<Tensor>{g}; });
}

// The gradient of a fused op where a graph of it is asked for: that of its composed form. The aliases make these
// partial derivatives: the inputs may depend on one another, and those paths are the caller's walk.
template <typename Composed>
std::vector<Tensor> composed_gradient(const std::vector<Tensor>& inputs, const Needs& needs, const Tensor& g,
                                      const Composed& composed) {
  std::vector<Tensor> aliases, wanted, d(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    aliases.push_back(alias(inputs[i]));
    if (needs[i]) wanted.push_back(aliases[i]);
  }
  const std::vector<Tensor> found =
      grad({composed(aliases)}, wanted, {.create_graph = true, .grad_outputs = {g}});
  for (size_t i = 0, k = 0; i < inputs.size(); ++i) {
    if (needs[i]) d[i] = found[k++];
  }
  return d;
}

// Reads what maxpool picked: the derivative of maxpool_scatter.
Tensor maxpool_gather(const Tensor& x, const Buffer<int32_t>& index, const Pool2d& shape) {
  Tensor y = Tensor::uninitialized(x.backend(), output_shape(shape));
  x.backend().maxpool_gather(shape, x.data(), index.data(), y.mutable_data());
  return record("maxpool_gather", y, {x}, [index, shape](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{maxpool_scatter(g, index, shape)};
  });
}

Tensor maxpool_scatter(const Tensor& g, const Buffer<int32_t>& index, const Pool2d& shape) {
  Tensor dx = Tensor::uninitialized(g.backend(), {shape.n, shape.h, shape.w, shape.c});
  g.backend().maxpool_scatter(shape, g.data(), index.data(), dx.mutable_data());
  return record("maxpool_scatter", dx, {g}, [index, shape](const Tensor& gg, const Needs&) {
    return std::vector<Tensor>{maxpool_gather(gg, index, shape)};
  });
}

Tensor avgpool_adjoint(const Tensor& g, const Pool2d& shape) {
  Tensor dx = Tensor::uninitialized(g.backend(), {shape.n, shape.h, shape.w, shape.c});
  g.backend().avgpool_adjoint(shape, g.data(), dx.mutable_data());
  return record("avgpool_adjoint", dx, {g}, [shape](const Tensor& gg, const Needs&) {
    return std::vector<Tensor>{avgpool(gg, {shape.kh, shape.kw, shape.stride_h, shape.stride_w})};
  });
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& w, const ConvOptions& options) {
  CALTROP_COUNT_OP("conv2d");
  const Conv2d shape = conv_shape("conv2d", x.shape(), w.shape(), options);
  Tensor y = Tensor::uninitialized(x.backend(), {shape.n, shape.out_h(), shape.out_w(), shape.cout});
  x.backend().conv2d(shape, x.data(), w.data(), y.mutable_data(), {});
  return record("conv2d", y, {x, w}, [x, w, options](const Tensor& g, const Needs& needs) {
    return std::vector<Tensor>{needs[0] ? conv2d_dinput(g, w, x.shape(), options) : Tensor(),
                               needs[1] ? conv2d_dweight(x, g, w.shape(), options) : Tensor()};
  });
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& options,
              Activation activation, const Tensor& residual) {
  CALTROP_COUNT_OP("conv2d");
  const Conv2d shape = conv_shape("conv2d", x.shape(), w.shape(), options);
  const Shape result{shape.n, shape.out_h(), shape.out_w(), shape.cout};
  if (bias.shape() != Shape{shape.cout})
    fail("[conv2d] expected a bias of shape ({}), got {}", shape.cout, to_string(bias.shape()));
  if (residual && residual.shape() != result)
    fail("[conv2d] expected a residual of shape {}, got {}", to_string(result), to_string(residual.shape()));
  std::vector<Tensor> inputs = {x, w, bias};
  if (residual) inputs.push_back(residual);
  // The derivative of relu is seen in its output; that of gelu needs what went in.
  if (activation == Activation::gelu && recording() &&
      std::any_of(inputs.begin(), inputs.end(), [](const Tensor& input) { return input.tracked(); }))
    return gelu(conv2d(x, w, bias, options, Activation::none, residual));
  Tensor y = Tensor::uninitialized(x.backend(), result);
  x.backend().conv2d(shape, x.data(), w.data(), y.mutable_data(),
                     {bias.data(), residual ? residual.data() : nullptr, activation});
  const auto vjp = [x, w, options](const Tensor& z, const Needs& needs) {
    return std::vector<Tensor>{needs[0] ? conv2d_dinput(z, w, x.shape(), options) : Tensor(),
                               needs[1] ? conv2d_dweight(x, z, w.shape(), options) : Tensor(), z, z};
  };
  if (activation == Activation::none) return record("conv2d", y, inputs, Vjp(vjp));
  return record("conv2d", y, inputs, OutputVjp([vjp](const Tensor& g, const Tensor& out, const Needs& needs) {
                  return vjp(gate(g, out), needs);
                }));
}

Tensor conv2d_dinput(const Tensor& g, const Tensor& w, const Shape& x_shape, const ConvOptions& options) {
  CALTROP_COUNT_OP("conv2d_dinput");
  const Conv2d shape = conv_shape("conv2d_dinput", x_shape, w.shape(), options);
  check_gradient("conv2d_dinput", shape, g);
  Tensor dx = Tensor::uninitialized(g.backend(), x_shape);
  g.backend().conv2d_dinput(shape, g.data(), w.data(), dx.mutable_data());
  return record("conv2d_dinput", dx, {g, w}, [g, w, options](const Tensor& u, const Needs& needs) {
    return std::vector<Tensor>{needs[0] ? conv2d(u, w, options) : Tensor(),
                               needs[1] ? conv2d_dweight(u, g, w.shape(), options) : Tensor()};
  });
}

Tensor conv2d_dweight(const Tensor& x, const Tensor& g, const Shape& w_shape, const ConvOptions& options) {
  CALTROP_COUNT_OP("conv2d_dweight");
  const Conv2d shape = conv_shape("conv2d_dweight", x.shape(), w_shape, options);
  check_gradient("conv2d_dweight", shape, g);
  Tensor dw = Tensor::uninitialized(x.backend(), w_shape);
  x.backend().conv2d_dweight(shape, x.data(), g.data(), dw.mutable_data());
  return record("conv2d_dweight", dw, {x, g}, [x, g, options](const Tensor& u, const Needs& needs) {
    return std::vector<Tensor>{needs[0] ? conv2d_dinput(g, u, x.shape(), options) : Tensor(),
                               needs[1] ? conv2d(x, u, options) : Tensor()};
  });
}

Tensor maxpool(const Tensor& x, const PoolOptions& options) {
  CALTROP_COUNT_OP("maxpool");
  const Pool2d shape = pool_shape("maxpool", x.shape(), options);
  Tensor y = Tensor::uninitialized(x.backend(), output_shape(shape));
  const Buffer<int32_t> index(x.backend(), y.size());
  x.backend().maxpool(shape, x.data(), y.mutable_data(), index.data());
  return record("maxpool", y, {x}, [index, shape](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{maxpool_scatter(g, index, shape)};
  });
}

Tensor rankpool(const Tensor& x, int64_t rank, const PoolOptions& options) {
  CALTROP_COUNT_OP("rankpool");
  const Pool2d shape = pool_shape("rankpool", x.shape(), options);
  if (rank < 0 || rank >= shape.kh * shape.kw)
    fail("[rankpool] expected a rank from 0 to {}, got {}", shape.kh * shape.kw - 1, rank);
  Tensor y = Tensor::uninitialized(x.backend(), output_shape(shape));
  const Buffer<int32_t> index(x.backend(), y.size());
  x.backend().rankpool(shape, rank, x.data(), y.mutable_data(), index.data());
  return record("rankpool", y, {x}, [index, shape](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{maxpool_scatter(g, index, shape)};
  });
}

Tensor avgpool(const Tensor& x, const PoolOptions& options) {
  CALTROP_COUNT_OP("avgpool");
  const Pool2d shape = pool_shape("avgpool", x.shape(), options);
  Tensor y = Tensor::uninitialized(x.backend(), output_shape(shape));
  x.backend().avgpool(shape, x.data(), y.mutable_data());
  return record("avgpool", y, {x}, [shape](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{avgpool_adjoint(g, shape)};
  });
}

Tensor conv_block_composed(const Tensor& x, const Tensor& w, const Tensor& bias,
                           const ConvBlockOptions& options) {
  Tensor y = conv2d(x, w, options.conv) + bias;
  if (options.activation == Activation::relu) y = relu(y);
  if (options.activation == Activation::gelu) y = gelu(y);
  if (options.pool_h == 1 && options.pool_w == 1) return y;
  return maxpool(y, {options.pool_h, options.pool_w, options.pool_h, options.pool_w});
}

namespace {

ConvBlock block_shape(const char* op, const Tensor& x, const Tensor& w, const Tensor& bias,
                      const ConvBlockOptions& options) {
  const Conv2d conv = conv_shape(op, x.shape(), w.shape(), options.conv);
  const ConvBlock block{conv, options.activation, options.pool_h, options.pool_w};
  if (bias.shape() != Shape{conv.cout})
    fail("[{}] expected a bias of shape ({}), got {}", op, conv.cout, to_string(bias.shape()));
  if (block.pool_h < 1 || block.pool_w < 1 || block.pool_h * block.pool_w >= kDead || block.out_h() < 1 ||
      block.out_w() < 1) {
    fail("[{}] expected a window of 1 to {} elements that fits {}x{}, got {}x{}", op, kDead - 1, conv.out_h(),
         conv.out_w(), block.pool_h, block.pool_w);
  }
  return block;
}

Shape output_shape(const ConvBlock& block) {
  return {block.conv.n, block.out_h(), block.out_w(), block.conv.cout};
}

}  // namespace

Tensor conv_block(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvBlockOptions& options) {
  CALTROP_COUNT_OP("conv_block");
  const ConvBlock block = block_shape("conv_block", x, w, bias, options);
  Backend& backend = x.backend();
  Tensor y = Tensor::uninitialized(backend, output_shape(block));
  const bool backward = recording() && (x.tracked() || w.tracked() || bias.tracked());
  Buffer<uint8_t> winner;
  Buffer<float> slope;
  if (backward) winner = Buffer<uint8_t>(backend, y.size());
  if (backward && options.activation == Activation::gelu) slope = Buffer<float>(backend, y.size());
  backend.conv_block(block, x.data(), w.data(), bias.data(), y.mutable_data(), winner.data(), slope.data());
  return record("conv_block", y, {x, w, bias}, [=](const Tensor& g, const Needs& needs) {
    if (recording()) {
      return composed_gradient({x, w, bias}, needs, g, [&](const std::vector<Tensor>& in) {
        return conv_block_composed(in[0], in[1], in[2], options);
      });
    }
    std::vector<Tensor> d(3);
    if (needs[0]) {
      CALTROP_COUNT_OP("conv_block_dinput");
      d[0] = Tensor::uninitialized(g.backend(), x.shape());
      g.backend().conv_block_dinput(block, g.data(), winner.data(), slope.data(), w.data(),
                                    d[0].mutable_data());
    }
    if (needs[1] || needs[2]) {
      CALTROP_COUNT_OP("conv_block_dweight");
      d[1] = Tensor::uninitialized(g.backend(), w.shape());
      d[2] = Tensor::uninitialized(g.backend(), bias.shape());
      g.backend().conv_block_dweight(block, x.data(), g.data(), winner.data(), slope.data(),
                                     d[1].mutable_data(), d[2].mutable_data());
    }
    return d;
  });
}

std::vector<Tensor> conv_blocks(const Tensor& x, const std::vector<BlockWeights>& networks,
                                const ConvBlockOptions& options) {
  CALTROP_COUNT_OP("conv_blocks");
  if (networks.empty() || networks.size() > kMostNetworks)
    fail("[conv_blocks] expected 1 to {} networks, got {}", kMostNetworks, networks.size());
  const bool backward =
      recording() &&
      (x.tracked() || std::any_of(networks.begin(), networks.end(), [](const BlockWeights& network) {
         return network.w.tracked() || network.bias.tracked();
       }));
  std::vector<Tensor> y;
  if (backward) {
    for (const auto& [w, bias] : networks) y.push_back(conv_block(x, w, bias, options));
    return y;
  }
  const Shape& first = networks[0].w.shape();
  ConvBlock all{};
  std::vector<BlockFilters> filters;
  for (const auto& [w, bias] : networks) {
    ConvBlock block = block_shape("conv_blocks", x, w, bias, options);
    if (w.dim(0) != first[0] || w.dim(1) != first[1]) {
      fail("[conv_blocks] expected filters of one size, got {} and {}", to_string(first),
           to_string(w.shape()));
    }
    y.push_back(Tensor::uninitialized(x.backend(), output_shape(block)));
    filters.push_back({w.data(), bias.data(), y.back().mutable_data(), block.conv.cout});
    block.conv.cout += all.conv.cout;
    all = block;
  }
  x.backend().conv_blocks(all, x.data(), filters);
  return y;
}

BatchMoments batch_moments(const Tensor& x) {
  std::vector<int> axes;
  for (int k = 0; k + 1 < x.rank(); ++k) axes.push_back(k);
  const Tensor m = mean(x, axes);
  return {m, mean(square(x - m), axes)};
}

namespace {

void check_channels(const Shape& channels, std::initializer_list<const Tensor*> vectors) {
  for (const Tensor* each : vectors) {
    if (each->shape() != channels)
      fail("[batch_norm] expected vectors of {} channels, got {}", channels[0], to_string(each->shape()));
  }
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& weight,
                  const Tensor& bias, float epsilon) {
  check_channels({x.dim(-1)}, {&mean, &variance, &weight, &bias});
  const Tensor scale = weight * reciprocal(sqrt(variance + epsilon));
  return (x - mean) * scale + bias;
}

BatchNormed batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                       Activation activation, const Tensor& residual) {
  CALTROP_COUNT_OP("batch_norm");
  if (x.rank() < 1 || x.size() == 0)
    fail("[batch_norm] expected x (...,c) of at least one row, got {}", to_string(x.shape()));
  const Shape channels{x.dim(-1)};
  check_channels(channels, {&weight, &bias});
  if (residual && residual.shape() != x.shape())
    fail("[batch_norm] expected a residual of shape {}, got {}", to_string(x.shape()),
         to_string(residual.shape()));
  if (activation == Activation::gelu) fail("[batch_norm] expected no activation or relu, got gelu");
  const BatchNorm shape{x.size() / channels[0], channels[0], epsilon, activation};
  Backend& backend = x.backend();
  const Tensor y = Tensor::uninitialized(backend, x.shape()), mean = Tensor::uninitialized(backend, channels),
               variance = Tensor::uninitialized(backend, channels);
  backend.batch_norm(shape, x.data(), weight.data(), bias.data(), residual ? residual.data() : nullptr,
                     y.mutable_data(), mean.mutable_data(), variance.mutable_data());
  std::vector<Tensor> inputs = {x, weight, bias};
  if (residual) inputs.push_back(residual);
  // `out` is needed under relu alone.
  const auto vjp = [=](const Tensor& g, const Tensor& out, const Needs& needs) {
    if (recording()) {
      return composed_gradient(inputs, needs, g, [&](const std::vector<Tensor>& in) {
        const auto [m, v] = batch_moments(in[0]);
        Tensor z = batch_norm(in[0], m, v, in[1], in[2], epsilon);
        if (residual) z = z + in[3];
        return activation == Activation::relu ? relu(z) : z;
      });
    }
    CALTROP_COUNT_OP("batch_norm_backward");
    std::vector<Tensor> d(inputs.size());
    float* to[4] = {};
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!needs[i]) continue;
      if (i == 3 && activation == Activation::none) {
        d[i] = g;
        continue;
      }
      d[i] = Tensor::uninitialized(g.backend(), inputs[i].shape());
      to[i] = d[i].mutable_data();
    }
    g.backend().batch_norm_backward(shape, x.data(), mean.data(), variance.data(), weight.data(),
                                    out ? out.data() : nullptr, g.data(), to[0], to[1], to[2], to[3]);
    return d;
  };
  if (activation == Activation::relu)
    return {record("batch_norm", y, inputs, OutputVjp(vjp)), mean, variance};
  const auto without_output = [vjp](const Tensor& g, const Needs& needs) {
    return vjp(g, {}, needs);
  };
  return {record("batch_norm", y, inputs, Vjp(without_output)), mean, variance};
}

Tensor dropout(const Tensor& x, float p, uint64_t seed, uint64_t stream) {
  if (!(p >= 0.0f && p < 1.0f)) fail("[dropout] expected a probability in [0, 1), got {}", p);
  Tensor draws = Tensor::uninitialized(x.backend(), x.shape());
  x.backend().random(Distribution::uniform, seed, std::span(&stream, 1), x.size(), draws.mutable_data());
  const Tensor dropped = greater(Tensor::full(x.backend(), {}, p), draws);
  return x * ((1.0f - dropped) * (1.0f / (1.0f - p)));
}

}  // namespace caltrop
