// Shapes, parameters and costs of a parsed architecture.
#include <algorithm>
#include <initializer_list>
#include <limits>

#include "engine/architecture.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// What a layer makes of its input: the one place that knows each layer's arithmetic.
struct LayerOutcome {
  FeatureShape output;
  std::vector<ParameterSpec> parameters;  // names without the layer's number
  int64_t macs = 0;
};

class LayerRules {
 public:
  LayerRules(int64_t layer, const LayerSpec& spec, const FeatureShape& input)
      : layer_(layer), spec_(spec), input_(input) {}

  LayerOutcome outcome() const {
    LayerOutcome result = std::visit(*this, spec_);
    (void)product("features", {result.output.height, result.output.width, result.output.channels});
    return result;
  }

  LayerOutcome operator()(const ConvSpec& conv) const {
    if (!input_.spatial) refuse("the input is flat ({}), a convolution needs an image", to_string(input_));
    check_extents({conv.out, conv.kernel_h, conv.kernel_w, conv.stride_h, conv.stride_w}, 1);
    check_extents({conv.pad_h, conv.pad_w}, 0);
    const int64_t height = input_.height + 2 * conv.pad_h, width = input_.width + 2 * conv.pad_w;
    if (height < conv.kernel_h || width < conv.kernel_w) {
      refuse("the {}input {}x{}x{} is smaller than the kernel {}x{}",
             conv.pad_h > 0 || conv.pad_w > 0 ? "padded " : "", height, width, input_.channels, conv.kernel_h,
             conv.kernel_w);
    }
    LayerOutcome result;
    result.output = {.spatial = true,
                     .height = (height - conv.kernel_h) / conv.stride_h + 1,
                     .width = (width - conv.kernel_w) / conv.stride_w + 1,
                     .channels = conv.out};
    const int64_t weights = product("weights", {conv.kernel_h, conv.kernel_w, input_.channels, conv.out});
    const int64_t pixels = product("features", {result.output.height, result.output.width});
    result.macs = weights * pixels;  // at most 2^31 each
    const int64_t window = conv.kernel_h * conv.kernel_w;
    add_weight_and_bias(result, ParameterKind::conv_weight,
                        {conv.kernel_h, conv.kernel_w, input_.channels, conv.out}, window * input_.channels,
                        window * conv.out);
    return result;
  }

  LayerOutcome operator()(const DeconvSpec& deconv) const {
    const ConvSpec& conv = deconv.of;
    if (!input_.spatial) refuse("the input is flat ({}), a convolution needs an image", to_string(input_));
    check_extents({conv.out, conv.kernel_h, conv.kernel_w, conv.stride_h, conv.stride_w}, 1);
    check_extents({conv.pad_h, conv.pad_w}, 0);
    const int64_t height = deconv.out_h(input_.height), width = deconv.out_w(input_.width);
    if (height < 1 || width < 1) refuse("nothing is left of the input {}", to_string(input_));
    check_extents({height, width}, 1);
    LayerOutcome result;
    result.output = {.spatial = true, .height = height, .width = width, .channels = conv.out};
    const std::vector<int64_t> shape = {conv.kernel_h, conv.kernel_w, conv.out, input_.channels};
    const int64_t weights = product("weights", {shape[0], shape[1], shape[2], shape[3]});
    result.macs = weights * product("features", {input_.height, input_.width});  // at most 2^31 each
    // An output lies under so many windows, of the input's channels each.
    const int64_t window = conv.kernel_h * conv.kernel_w, step = conv.stride_h * conv.stride_w;
    add_weight_and_bias(result, ParameterKind::conv_weight, shape,
                        std::max<int64_t>(1, window / step) * input_.channels, window * conv.out);
    return result;
  }

  LayerOutcome operator()(const PoolSpec& pool) const {
    if (!input_.spatial) refuse("the input is flat ({}), pooling needs an image", to_string(input_));
    check_extents({pool.window_h, pool.window_w, pool.stride_h, pool.stride_w}, 1);
    if (input_.height < pool.window_h || input_.width < pool.window_w) {
      refuse("the input {} is smaller than the window {}x{}", to_string(input_), pool.window_h,
             pool.window_w);
    }
    LayerOutcome result;
    result.output = {.spatial = true,
                     .height = (input_.height - pool.window_h) / pool.stride_h + 1,
                     .width = (input_.width - pool.window_w) / pool.stride_w + 1,
                     .channels = input_.channels};
    return result;
  }

  LayerOutcome operator()(const GlobalAveragePoolSpec&) const {
    if (!input_.spatial) refuse("the input is flat ({}), pooling needs an image", to_string(input_));
    LayerOutcome result;
    result.output.channels = input_.channels;
    return result;
  }

  LayerOutcome operator()(const FlattenSpec&) const {
    LayerOutcome result;
    result.output.channels = input_.features();
    return result;
  }

  LayerOutcome operator()(const DenseSpec& dense) const {
    if (input_.spatial)
      refuse("the input is the image {}; put 'flatten' before the layer", to_string(input_));
    check_extents({dense.out}, 1);
    LayerOutcome result;
    result.output.channels = dense.out;
    result.macs = product("weights", {dense.out, input_.channels});
    add_weight_and_bias(result, ParameterKind::dense_weight, {dense.out, input_.channels}, input_.channels,
                        dense.out);
    return result;
  }

  LayerOutcome operator()(const ActivationSpec& activation) const {
    if (activation.kind == ActivationKind::softmax && input_.spatial) {
      refuse("softmax needs flat features, the input is the image {}; put 'flatten' before the layer",
             to_string(input_));
    }
    return unchanged();
  }

  LayerOutcome operator()(const BatchNormSpec&) const {
    LayerOutcome result = unchanged();
    for (const auto& [name, kind] : {std::pair{"weight", ParameterKind::norm_weight},
                                     {"bias", ParameterKind::norm_bias},
                                     {"running_mean", ParameterKind::running_mean},
                                     {"running_var", ParameterKind::running_var}}) {
      const bool trainable = kind == ParameterKind::norm_weight || kind == ParameterKind::norm_bias;
      result.parameters.push_back({.name = name,
                                   .layer = layer_,
                                   .kind = kind,
                                   .shape = {input_.channels},
                                   .trainable = trainable,
                                   .fan_in = 0,
                                   .fan_out = 0});
    }
    return result;
  }

  LayerOutcome operator()(const DenoiseSpec& denoise) const {
    if (!input_.spatial) refuse("the input is flat ({}), denoising needs an image", to_string(input_));
    const bool nonlocal = denoise.filter == DenoiseFilter::nonlocal;
    if (!nonlocal && (denoise.window < 3 || denoise.window % 2 == 0 || denoise.window > kMaxFilterWindow))
      refuse("the window must be odd and from 3 to {}, got {}", kMaxFilterWindow, denoise.window);
    const int64_t c = input_.channels, pixels = input_.height * input_.width;
    LayerOutcome result = unchanged();
    const auto add = [&](const char* name, ParameterKind kind, int64_t out) {
      (void)product("weights", {out, c});
      result.parameters.push_back({.name = name,
                                   .layer = layer_,
                                   .kind = kind,
                                   .shape = {out, c},
                                   .trainable = true,
                                   .fan_in = c,
                                   .fan_out = out});
      result.macs += pixels * out * c;
    };
    add("weight", ParameterKind::zero_weight, c);
    if (nonlocal) {
      const int64_t features = std::max<int64_t>(1, c / 2);
      add("theta", ParameterKind::embedding, features);
      add("phi", ParameterKind::embedding, features);
      // At most 2^31 pairs of pixels, of at most 2^21 numbers.
      result.macs += product("pairs of pixels", {pixels, pixels}) * (features + c);
    }
    return result;
  }

  LayerOutcome operator()(const DropoutSpec&) const { return unchanged(); }
  LayerOutcome operator()(const NormalizeSpec&) const { return unchanged(); }
  LayerOutcome operator()(const BranchSpec&) const { return unchanged(); }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> why, Args&&... args) const {
    fail("layer {} ({}): {}", layer_, to_string(spec_), fmt::format(why, std::forward<Args>(args)...));
  }

  LayerOutcome unchanged() const {
    LayerOutcome result;
    result.output = input_;
    return result;
  }

  // Specs may be made by hand: nothing but this stands between them and a division by zero.
  void check_extents(std::initializer_list<int64_t> extents, int64_t least) const {
    for (const int64_t extent : extents) {
      if (extent < least || extent > kMaxExtent) {
        refuse("sizes must be from {} to {}, got {}", least, kMaxExtent, extent);
      }
    }
  }

  int64_t product(const char* what, std::initializer_list<int64_t> factors) const {
    int64_t total = 1;
    for (const int64_t factor : factors) {
      if (factor > kMaxParameters / total) refuse("the layer has more than {} {}", kMaxParameters, what);
      total *= factor;
    }
    return total;
  }

  void add_weight_and_bias(LayerOutcome& result, ParameterKind kind, std::vector<int64_t> shape,
                           int64_t fan_in, int64_t fan_out) const {
    const int64_t outputs = result.output.channels;
    const auto add = [&](const char* name, ParameterKind of, std::vector<int64_t> extents) {
      result.parameters.push_back({.name = name,
                                   .layer = layer_,
                                   .kind = of,
                                   .shape = std::move(extents),
                                   .trainable = true,
                                   .fan_in = fan_in,
                                   .fan_out = fan_out});
    };
    add("weight", kind, std::move(shape));
    add("bias", ParameterKind::bias, {outputs});
  }

  int64_t layer_;
  const LayerSpec& spec_;
  FeatureShape input_;
};

// The residual blocks that are open at a layer.
class OpenBlocks {
 public:
  // What leaves branch point `point` of layer `layer` when `shape` arrives.
  FeatureShape pass(int64_t layer, BranchPoint point, const FeatureShape& shape) {
    if (point == BranchPoint::residual) {
      open_.push_back({layer, shape, {}, false});
      return shape;
    }
    const char* word = point == BranchPoint::add ? "add" : "shortcut";
    if (open_.empty()) fail("layer {} ({}): there is no 'residual' before it to belong to", layer, word);
    Block& block = open_.back();
    if (point == BranchPoint::shortcut) {
      if (block.has_shortcut) {
        fail("layer {} (shortcut): the block of layer {} has one already", layer, block.layer);
      }
      block.body = shape;
      block.has_shortcut = true;
      return block.input;
    }
    const FeatureShape body = block.has_shortcut ? block.body : shape;
    const FeatureShape other = block.has_shortcut ? shape : block.input;
    if (!(body == other)) {
      fail("layer {} (add): the body of the block gives {}, its shortcut {}", layer, to_string(body),
           to_string(other));
    }
    open_.pop_back();
    return shape;
  }

  void expect_closed() const {
    if (!open_.empty()) fail("layer {} (residual): the block has no 'add'", open_.back().layer);
  }

 private:
  struct Block {
    int64_t layer;
    FeatureShape input, body;
    bool has_shortcut;
  };
  std::vector<Block> open_;
};

int64_t values_in(const ParameterSpec& parameter) {
  int64_t count = 1;
  for (const int64_t extent : parameter.shape) count *= extent;
  return count;
}

// Walks the layers, calling visit(index, spec, input, outcome) for each, and holds the limits of the whole.
template <typename Visit>
void walk(const Architecture& architecture, ImageShape input, Visit visit) {
  for (const int64_t extent : {input.height, input.width, input.channels}) {
    if (extent < 1 || extent > kMaxExtent) {
      fail("[architecture] expected an input of sizes from 1 to {}, got {}x{}x{}", kMaxExtent, input.height,
           input.width, input.channels);
    }
  }
  // Two extents of 2^20 times a third stay below 2^63.
  if (input.height * input.width * input.channels > kMaxParameters) {
    fail("[architecture] expected an input of at most {} values, got {}x{}x{}", kMaxParameters, input.height,
         input.width, input.channels);
  }
  if (architecture.layers.size() > static_cast<size_t>(kMaxLayers)) {
    fail("[architecture] expected at most {} layers, got {}", kMaxLayers, architecture.layers.size());
  }
  FeatureShape shape{
      .spatial = true, .height = input.height, .width = input.width, .channels = input.channels};
  int64_t values = 0, macs = 0, layer = 0;
  OpenBlocks blocks;
  for (const LayerSpec& spec : architecture.layers) {
    LayerOutcome outcome = LayerRules(layer, spec, shape).outcome();
    if (const auto* branch = std::get_if<BranchSpec>(&spec)) {
      outcome.output = blocks.pass(layer, branch->point, shape);
    }
    for (ParameterSpec& parameter : outcome.parameters) {
      values += values_in(parameter);
      if (values > kMaxParameters) {
        fail("layer {} ({}): with it the network has more than {} parameters", layer, to_string(spec),
             kMaxParameters);
      }
      parameter.name = fmt::format("{}.{}", layer, parameter.name);
    }
    if (outcome.macs > std::numeric_limits<int64_t>::max() - macs) {
      fail("layer {} ({}): with it the network has more than 2^63 multiply-accumulates", layer,
           to_string(spec));
    }
    macs += outcome.macs;
    visit(spec, shape, outcome);
    shape = outcome.output;
    ++layer;
  }
  blocks.expect_closed();
}

}  // namespace

std::string to_string(const FeatureShape& shape) {
  return shape.spatial ? fmt::format("{}x{}x{}", shape.height, shape.width, shape.channels)
                       : fmt::format("{} features", shape.channels);
}

std::vector<FeatureShape> infer_shapes(const Architecture& architecture, ImageShape input) {
  std::vector<FeatureShape> shapes;
  walk(architecture, input, [&](const LayerSpec&, const FeatureShape&, const LayerOutcome& outcome) {
    shapes.push_back(outcome.output);
  });
  return shapes;
}

std::vector<ParameterSpec> parameter_specs(const Architecture& architecture, ImageShape input) {
  std::vector<ParameterSpec> specs;
  walk(architecture, input, [&](const LayerSpec&, const FeatureShape&, LayerOutcome& outcome) {
    for (ParameterSpec& parameter : outcome.parameters) specs.push_back(std::move(parameter));
  });
  return specs;
}

std::vector<LayerInfo> describe_layers(const Architecture& architecture, ImageShape input) {
  std::vector<LayerInfo> layers;
  walk(architecture, input,
       [&](const LayerSpec& spec, const FeatureShape& shape, const LayerOutcome& outcome) {
         LayerInfo info{
             .text = to_string(spec), .input = shape, .output = outcome.output, .macs = outcome.macs};
         for (const ParameterSpec& parameter : outcome.parameters) {
           if (parameter.trainable) info.parameters += values_in(parameter);
         }
         layers.push_back(std::move(info));
       });
  return layers;
}

int64_t count_parameters(const Architecture& architecture, ImageShape input) {
  int64_t total = 0;
  for (const LayerInfo& layer : describe_layers(architecture, input)) total += layer.parameters;
  return total;
}

int64_t count_macs(const Architecture& architecture, ImageShape input) {
  int64_t total = 0;
  for (const LayerInfo& layer : describe_layers(architecture, input)) total += layer.macs;
  return total;
}

}  // namespace caltrop
