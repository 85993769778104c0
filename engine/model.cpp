#include "engine/model.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/named.h"
#include "engine/random.h"
#include "engine/text.h"

namespace caltrop {
namespace {

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

constexpr std::array<const char*, 5> kInitializers = {"he_uniform", "he_normal", "glorot_uniform",
                                                      "glorot_normal", "torch"};

// One draw for a weight with these fans.
float draw(Initializer initializer, const ParameterSpec& spec, Random& random) {
  const auto in = static_cast<float>(spec.fan_in), both = static_cast<float>(spec.fan_in + spec.fan_out);
  const auto uniform = [&](float bound) {
    return random.uniform(-bound, bound);
  };
  switch (initializer) {
    case Initializer::he_uniform:
      return uniform(std::sqrt(6.0f / in));
    case Initializer::he_normal:
      return random.normal() * std::sqrt(2.0f / in);
    case Initializer::glorot_uniform:
      return uniform(std::sqrt(6.0f / both));
    case Initializer::glorot_normal:
      return random.normal() * std::sqrt(2.0f / both);
    case Initializer::torch:
      return uniform(1.0f / std::sqrt(in));
  }
  return 0.0f;
}

bool is_one_at_first(ParameterKind kind) {
  return kind == ParameterKind::norm_weight || kind == ParameterKind::running_var;
}

Tensor activate(const ActivationSpec& spec, const Tensor& x) {
  switch (spec.kind) {
    case ActivationKind::relu:
      return relu(x);
    case ActivationKind::gelu:
      return gelu(x);
    case ActivationKind::gelu_tanh:
      return gelu_tanh(x);
    case ActivationKind::leaky_relu:
      return leaky_relu(x, spec.slope);
    case ActivationKind::sigmoid:
      return sigmoid(x);
    case ActivationKind::tanh:
      return tanh(x);
    case ActivationKind::softmax:
      return softmax(x);
  }
  return x;
}

const PoolSpec* block_pool(const LayerSpec& layer) {
  const auto* pool = std::get_if<PoolSpec>(&layer);
  const bool fits = pool && pool->kind == PoolKind::max && pool->stride_h == pool->window_h &&
                    pool->stride_w == pool->window_w && pool->window_h * pool->window_w < kDead;
  return fits ? pool : nullptr;
}

const ActivationSpec* block_activation(const LayerSpec& layer) {
  const auto* activation = std::get_if<ActivationSpec>(&layer);
  const bool fits =
      activation && (activation->kind == ActivationKind::relu || activation->kind == ActivationKind::gelu);
  return fits ? activation : nullptr;
}

Activation fused(const ActivationSpec& activation) {
  return activation.kind == ActivationKind::relu ? Activation::relu : Activation::gelu;
}

bool is_pooled(const ConvBlockOptions& block) {
  return block.pool_h * block.pool_w > 1;
}

bool is_add(const LayerSpec& layer) {
  const auto* branch = std::get_if<BranchSpec>(&layer);
  return branch && branch->point == BranchPoint::add;
}

// The end of what one fused op can take along, from `first` on: a convolution its batch norm (in evaluation alone, where
// its numbers stand fixed), the sum that ends a residual block, the activation, and where nothing was added the pool.
size_t block_end(const std::vector<LayerSpec>& layers, size_t first, bool fuse_convolutions) {
  const bool conv = std::holds_alternative<ConvSpec>(layers[first]) && fuse_convolutions;
  size_t last = first + 1;
  const auto take = [&](bool fits) {
    last += fits ? 1 : 0;
    return fits;
  };
  const auto next = [&](const auto& fits) {
    return last < layers.size() && fits(layers[last]);
  };
  if (!conv && !std::holds_alternative<DenseSpec>(layers[first])) return last;
  take(conv && next([](const LayerSpec& l) { return std::holds_alternative<BatchNormSpec>(l); }));
  const bool adds = take(conv && next(is_add));
  take(next([](const LayerSpec& l) { return block_activation(l) != nullptr; }));
  take(conv && !adds && next([](const LayerSpec& l) { return block_pool(l) != nullptr; }));
  return last;
}

}  // namespace

Initializer parse_initializer(std::string_view name) {
  return parse_named<Initializer>("initialiser", name, kInitializers);
}

std::string to_string(Initializer initializer) {
  return kInitializers[static_cast<size_t>(initializer)];
}

Model::Model(Architecture architecture, ImageShape input, Backend& backend)
    : architecture_(std::move(architecture)),
      input_(input),
      backend_(&backend),
      specs_(parameter_specs(architecture_, input)) {
  const std::vector<FeatureShape> shapes = infer_shapes(architecture_, input);
  if (shapes.empty() || shapes.back().spatial)
    fail("the network must end in logits; end its line with `flatten | dense N`");
  outputs_ = shapes.back().channels;
  for (const ParameterSpec& spec : specs_) {
    Tensor values = Tensor::full(backend, spec.shape, is_one_at_first(spec.kind) ? 1.0f : 0.0f);
    tensors_[spec.name] = spec.trainable ? variable(values) : values;
    if (spec.trainable) places_.emplace(spec.name, places_.size());
  }
  int64_t widest = input.height * input.width * input.channels;
  for (size_t k = 0; k < architecture_.layers.size();) {
    const size_t end = block_end(architecture_.layers, k, backend.fuses_convolutions());
    widest = std::max(widest, shapes[end - 1].features());
    if (const auto* denoise = std::get_if<DenoiseSpec>(&architecture_.layers[k]);
        denoise && denoise->filter == DenoiseFilter::nonlocal) {
      const int64_t pixels = shapes[k].height * shapes[k].width;
      widest = std::max(widest, pixels * pixels);
    }
    steps_.push_back({k, end});
    k = end;
  }
  int64_t weights = 0;
  for (const ParameterSpec& spec : specs_) weights += element_count(spec.shape);
  chunk_ = backend.chunk(widest, weights);
}

void Model::initialize(Initializer initializer, uint64_t seed) {
  for (size_t k = 0; k < specs_.size(); ++k) {
    const ParameterSpec& spec = specs_[k];
    const bool weight = spec.kind == ParameterKind::conv_weight || spec.kind == ParameterKind::dense_weight ||
                        spec.kind == ParameterKind::embedding;
    const bool drawn = weight || (spec.kind == ParameterKind::bias && initializer == Initializer::torch);
    std::vector<float> values(static_cast<size_t>(element_count(spec.shape)),
                              is_one_at_first(spec.kind) ? 1.0f : 0.0f);
    Random random(seed, Purpose::weights, k);
    if (drawn) std::generate(values.begin(), values.end(), [&] { return draw(initializer, spec, random); });
    backend_->upload(tensors_[spec.name].mutable_data(), values.data(), values.size() * sizeof(float));
  }
}

const Tensor& Model::tensor(size_t layer, const char* name, const ForwardOptions& options) const {
  const std::string full = fmt::format("{}.{}", layer, name);
  if (options.parameters) {
    if (const auto place = places_.find(full); place != places_.end()) {
      return (*options.parameters)[place->second];
    }
  }
  return tensors_.at(full);
}

Tensor Model::forward(const Tensor& x, const ForwardOptions& options) const {
  const Shape expected{x.rank() > 0 ? x.dim(0) : 0, input_.height, input_.width, input_.channels};
  if (x.shape() != expected) {
    fail("[model] expected images (n,{},{},{}), got {}", input_.height, input_.width, input_.channels,
         to_string(x.shape()));
  }
  if (options.parameters && options.parameters->size() != places_.size()) {
    fail("[model] expected {} parameters, got {}", places_.size(), options.parameters->size());
  }
  return run_steps(0, steps_.size(), x, options);
}

Tensor Model::features(const Tensor& x) const {
  const Tensor y = run_steps(0, steps_.size() - 1, x, {});
  return y.view({x.dim(0), x.dim(0) > 0 ? y.size() / x.dim(0) : 0});
}

Tensor Model::run_steps(size_t first, size_t last, const Tensor& x, const ForwardOptions& options) const {
  // Of the residual blocks around the present layer: their input and, from the shortcut on, their body's
  // result.
  std::vector<Tensor> aside;
  Tensor y = x;
  const auto joined = [&aside] {
    const Tensor other = aside.back();
    aside.pop_back();
    return other;
  };
  const auto run = [&](size_t layer) {
    const auto* branch = std::get_if<BranchSpec>(&architecture_.layers[layer]);
    if (!branch) {
      y = run_layer(layer, y, options);
    } else if (branch->point == BranchPoint::residual) {
      aside.push_back(y);
    } else if (branch->point == BranchPoint::shortcut) {
      std::swap(y, aside.back());
    } else {
      y = joined() + y;
    }
  };
  for (size_t k = first; k < last; ++k) {
    const Step& step = steps_[k];
    if (options.fuse && !options.convolutions && step.last > step.first + 1) {
      y = run_block(step, y, adds(step) ? joined() : Tensor(), options);
    } else {
      for (size_t layer = step.first; layer < step.last; ++layer) run(layer);
    }
  }
  return y;
}

ConvBlockOptions Model::block_options(const Step& step) const {
  const auto& conv = std::get<ConvSpec>(architecture_.layers[step.first]);
  ConvBlockOptions block;
  block.conv = {conv.stride_h, conv.stride_w, conv.pad_h, conv.pad_w};
  for (size_t k = step.first + 1; k < step.last; ++k) {
    if (const ActivationSpec* activation = block_activation(architecture_.layers[k])) {
      block.activation = fused(*activation);
    } else if (const PoolSpec* pool = block_pool(architecture_.layers[k])) {
      block.pool_h = pool->window_h;
      block.pool_w = pool->window_w;
    }
  }
  return block;
}

std::optional<Model::FirstBlock> Model::first_block() const {
  const Step& step = steps_[0];
  if (!std::holds_alternative<ConvSpec>(architecture_.layers[step.first]) || step.last == step.first + 1)
    return std::nullopt;
  const ConvBlockOptions block = block_options(step);
  if (!is_pooled(block)) return std::nullopt;
  const BlockWeights filters = block_weights(step, {});
  return FirstBlock{filters.w, filters.bias, block};
}

bool Model::adds(const Step& step) const {
  return std::any_of(architecture_.layers.begin() + static_cast<std::ptrdiff_t>(step.first),
                     architecture_.layers.begin() + static_cast<std::ptrdiff_t>(step.last), is_add);
}

const BatchNormSpec* Model::batch_norm_of(const Step& step) const {
  return step.last > step.first + 1 ? std::get_if<BatchNormSpec>(&architecture_.layers[step.first + 1])
                                    : nullptr;
}

BlockWeights Model::block_weights(const Step& step, const ForwardOptions& options) const {
  const Tensor &weight = tensor(step.first, "weight", options), &bias = tensor(step.first, "bias", options);
  const BatchNormSpec* norm = batch_norm_of(step);
  if (!norm) return {weight, bias};
  // (conv(x) + bias - mean) * scale + shift = conv(x) with scaled filters + (bias - mean) * scale + shift
  const size_t k = step.first + 1;
  const Tensor scale =
      tensor(k, "weight", options) * reciprocal(sqrt(tensor(k, "running_var", options) + norm->epsilon));
  return {weight * scale, (bias - tensor(k, "running_mean", options)) * scale + tensor(k, "bias", options)};
}

Tensor Model::run_block(const Step& step, const Tensor& x, const Tensor& residual,
                        const ForwardOptions& options) const {
  if (options.training && batch_norm_of(step)) {
    // Batch norm by the moments of the batch takes along what stands behind it, up to relu.
    size_t k = step.first;
    const Tensor z = run_layer(k++, x, options);
    const bool with_relu = block_options(step).activation == Activation::relu;
    Tensor y = run_batch_norm(k++, z, options, with_relu ? Activation::relu : Activation::none, residual);
    for (k += (residual ? 1 : 0) + (with_relu ? 1 : 0); k < step.last; ++k) y = run_layer(k, y, options);
    return y;
  }
  const BlockWeights filters = block_weights(step, options);
  if (std::holds_alternative<DenseSpec>(architecture_.layers[step.first])) {
    return dense(x, filters.w, filters.bias, fused(*block_activation(architecture_.layers[step.first + 1])));
  }
  const ConvBlockOptions block = block_options(step);
  if (is_pooled(block)) return conv_block(x, filters.w, filters.bias, block);
  return conv2d(x, filters.w, filters.bias, block.conv, block.activation, residual);
}

Tensor Model::run_layer(size_t k, const Tensor& x, const ForwardOptions& options) const {
  const LayerSpec& layer = architecture_.layers[k];
  if (const auto* conv = std::get_if<ConvSpec>(&layer)) {
    const Tensor y = conv2d(x, tensor(k, "weight", options), tensor(k, "bias", options),
                            {conv->stride_h, conv->stride_w, conv->pad_h, conv->pad_w});
    if (options.convolutions) options.convolutions->push_back(y);
    return y;
  }
  if (const auto* deconv = std::get_if<DeconvSpec>(&layer)) {
    const ConvSpec& of = deconv->of;
    const Shape shape{x.dim(0), deconv->out_h(x.dim(1)), deconv->out_w(x.dim(2)), of.out};
    return conv2d_dinput(x, tensor(k, "weight", options), shape,
                         {of.stride_h, of.stride_w, of.pad_h, of.pad_w}) +
           tensor(k, "bias", options);
  }
  if (const auto* pool = std::get_if<PoolSpec>(&layer)) {
    const PoolOptions window{pool->window_h, pool->window_w, pool->stride_h, pool->stride_w};
    return pool->kind == PoolKind::max ? maxpool(x, window) : avgpool(x, window);
  }
  if (std::holds_alternative<GlobalAveragePoolSpec>(layer)) return mean(x, {1, 2});
  if (std::holds_alternative<FlattenSpec>(layer))
    return reshape(x, {x.dim(0), element_count(Shape(x.shape().begin() + 1, x.shape().end()))});
  if (std::holds_alternative<DenseSpec>(layer))
    return dense(x, tensor(k, "weight", options), tensor(k, "bias", options));
  if (const auto* activation = std::get_if<ActivationSpec>(&layer)) return activate(*activation, x);
  if (std::holds_alternative<BatchNormSpec>(layer)) return run_batch_norm(k, x, options);
  if (const auto* drop = std::get_if<DropoutSpec>(&layer)) {
    if (!options.training || drop->probability == 0.0f) return x;
    // 2^32 updates of 2^16 layers: no two masks of a run share a stream.
    return dropout(x, drop->probability, options.seed, stream_of(Purpose::dropout, (options.step << 16) | k));
  }
  if (const auto* denoise = std::get_if<DenoiseSpec>(&layer)) return run_denoise(k, *denoise, x, options);
  const auto& normalize = std::get<NormalizeSpec>(layer);
  return (x - normalize.mean) / normalize.deviation;
}

Tensor Model::run_denoise(size_t k, const DenoiseSpec& spec, const Tensor& x,
                          const ForwardOptions& options) const {
  Tensor filtered;
  switch (spec.filter) {
    case DenoiseFilter::nonlocal:
      filtered = nonlocal_means(x, tensor(k, "theta", options), tensor(k, "phi", options));
      break;
    case DenoiseFilter::mean:
      filtered = mean_filter(x, spec.window);
      break;
    case DenoiseFilter::median:
      filtered = median_filter(x, spec.window);
      break;
  }
  const int64_t channels = x.dim(3);
  const Tensor pixels = reshape(filtered, {x.dim(0) * x.dim(1) * x.dim(2), channels});
  return x + reshape(matmul(pixels, tensor(k, "weight", options), false, true), x.shape());
}

Tensor Model::run_batch_norm(size_t k, const Tensor& x, const ForwardOptions& options, Activation activation,
                             const Tensor& residual) const {
  const auto& spec = std::get<BatchNormSpec>(architecture_.layers[k]);
  const Tensor &mean = tensor(k, "running_mean", options), &variance = tensor(k, "running_var", options);
  const Tensor &weight = tensor(k, "weight", options), &bias = tensor(k, "bias", options);
  if (!options.training) return batch_norm(x, mean, variance, weight, bias, spec.epsilon);
  const BatchNormed batch = batch_norm(x, weight, bias, spec.epsilon, activation, residual);
  {
    // The running variance takes the unbiased estimate, as in PyTorch.
    const NoGrad values_only;
    const int64_t rows = x.size() / x.dim(-1);
    const auto count = static_cast<float>(rows);
    const float unbias = count > 1.0f ? count / (count - 1.0f) : 1.0f;
    const auto blend = [&](const Tensor& running, const Tensor& now) {
      const Tensor next = running * (1.0f - spec.momentum) + now * spec.momentum;
      backend_->copy(running.mutable_data(), next.data(), static_cast<size_t>(next.size()) * sizeof(float));
    };
    blend(mean, batch.mean);
    blend(variance, batch.variance * unbias);
  }
  return batch.y;
}

bool Model::draws_random_numbers() const {
  return std::any_of(architecture_.layers.begin(), architecture_.layers.end(), [](const LayerSpec& layer) {
    const auto* drop = std::get_if<DropoutSpec>(&layer);
    return drop && drop->probability > 0.0f;
  });
}

std::vector<Tensor> Model::parameters() const {
  std::vector<Tensor> trained;
  for (const ParameterSpec& spec : specs_) {
    if (spec.trainable) trained.push_back(tensors_.at(spec.name));
  }
  return trained;
}

SafeTensorFile Model::state() const {
  SafeTensorFile file;
  file.metadata["arch"] = to_string(architecture_);
  file.metadata["input"] = fmt::format("{}x{}x{}", input_.height, input_.width, input_.channels);
  for (const ParameterSpec& spec : specs_) {
    file.tensors.emplace_back(spec.name,
                              SafeTensor::from_floats(spec.shape, tensors_.at(spec.name).to_host()));
  }
  return file;
}

bool Model::finite() const {
  return std::all_of(tensors_.begin(), tensors_.end(),
                     [](const auto& named) { return all_finite(named.second.to_host()); });
}

void Model::load(const SafeTensorFile& file) {
  for (const ParameterSpec& spec : specs_) {
    const SafeTensor* found = file.find(spec.name);
    if (!found) fail("the weights lack the tensor '{}' of shape {}", spec.name, to_string(spec.shape));
    if (found->shape != spec.shape) {
      fail("the weights hold '{}' of shape {}, but the network needs {}", spec.name, to_string(found->shape),
           to_string(spec.shape));
    }
    const std::span<const float> values = found->floats();
    if (!all_finite(values)) {
      fail("the weights hold values in '{}' that are not finite", spec.name);
    }
    backend_->upload(tensors_[spec.name].mutable_data(), values.data(), values.size_bytes());
  }
}

std::optional<StatedNetwork> stated_network(const SafeTensorFile& file, const std::string& name) {
  const auto line = file.metadata.find("arch"), input = file.metadata.find("input");
  if (line == file.metadata.end() || input == file.metadata.end()) return std::nullopt;
  ImageShape shape;
  int length = 0;
  if (std::sscanf(input->second.c_str(), "%5ldx%5ldx%5ld%n", &shape.height, &shape.width, &shape.channels,
                  &length) != 3 ||
      length != static_cast<int>(input->second.size()) || shape.height < 1 || shape.width < 1 ||
      shape.channels < 1) {
    fail("{} states the input '{}'; expected HEIGHTxWIDTHxCHANNELS", name, shown(input->second));
  }
  return StatedNetwork{parse_architecture(line->second), shape};
}

}  // namespace caltrop
