#include "engine/torch_layout.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>

#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

enum class ModuleKind : uint8_t { conv, dense, norm, denoise };
constexpr std::array kModuleKinds = {ModuleKind::conv, ModuleKind::dense, ModuleKind::norm,
                                     ModuleKind::denoise};
constexpr std::string_view kIgnored =
    "num_batches_tracked";  // PyTorch's count of batches; nothing here uses it

const char* name_of(ModuleKind kind) {
  switch (kind) {
    case ModuleKind::conv:
      return "convolution";
    case ModuleKind::dense:
      return "dense";
    case ModuleKind::norm:
      return "batch norm";
    case ModuleKind::denoise:
      return "denoising";
  }
  return "unknown";
}

// A layer that owns parameters.
struct Owner {
  int64_t layer = 0;
  std::string text;
  ModuleKind kind = ModuleKind::conv;
  std::vector<ParameterSpec> parameters;
  // The image that flatten turned into this layer's input features, where their order differs between
  // layouts.
  std::optional<FeatureShape> flattened;
};

std::string suffix_of(std::string_view name) {
  return std::string(name.substr(name.rfind('.') + 1));  // npos + 1 == 0: the whole name
}

std::string prefix_of(std::string_view name) {
  const size_t dot = name.rfind('.');
  return std::string(name.substr(0, dot == std::string_view::npos ? 0 : dot));
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ","));
}

std::vector<Owner> owners_of(const Architecture& architecture, ImageShape input) {
  const std::vector<LayerInfo> layers = describe_layers(architecture, input);
  std::map<int64_t, std::vector<ParameterSpec>> parameters;
  for (ParameterSpec& parameter : parameter_specs(architecture, input)) {
    parameters[parameter.layer].push_back(std::move(parameter));
  }
  std::vector<Owner> owners;
  std::optional<FeatureShape> flattened;
  int64_t open_blocks = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerSpec& spec = architecture.layers[i];
    const FeatureShape& shape = layers[i].input;
    if (const auto* branch = std::get_if<BranchSpec>(&spec)) {
      open_blocks += branch->point == BranchPoint::residual ? 1 : branch->point == BranchPoint::add ? -1 : 0;
    }
    // With one pixel or one channel the two orders are the same.
    if (std::holds_alternative<FlattenSpec>(spec) && shape.spatial && shape.channels > 1 &&
        shape.height * shape.width > 1) {
      flattened = shape;
    }
    if (flattened && open_blocks > 0) {
      fail("layer {} ({}): a residual block on the flattened image {} has no counterpart in PyTorch's order",
           i, layers[i].text, to_string(*flattened));
    }
    const auto found = parameters.find(static_cast<int64_t>(i));
    if (found == parameters.end()) continue;
    const bool conv = std::holds_alternative<ConvSpec>(spec) || std::holds_alternative<DeconvSpec>(spec);
    const ModuleKind kind = conv                                        ? ModuleKind::conv
                            : std::holds_alternative<DenseSpec>(spec)   ? ModuleKind::dense
                            : std::holds_alternative<DenoiseSpec>(spec) ? ModuleKind::denoise
                                                                        : ModuleKind::norm;
    owners.push_back({static_cast<int64_t>(i), layers[i].text, kind, std::move(found->second), flattened});
    if (kind == ModuleKind::dense) flattened.reset();
  }
  if (flattened) {
    fail(
        "the network ends with the flattened image {}: its outputs would come in another order than "
        "PyTorch's",
        to_string(*flattened));
  }
  return owners;
}

std::vector<int64_t> torch_shape_of(const ParameterSpec& parameter) {
  const std::vector<int64_t>& shape = parameter.shape;
  if (parameter.kind != ParameterKind::conv_weight) return shape;
  return {shape[3], shape[2], shape[0], shape[1]};
}

// Feature j of PyTorch's flatten (c,h,w) is feature order[j] of ours (h,w,c).
std::vector<size_t> feature_order(const FeatureShape& image) {
  std::vector<size_t> order;
  order.reserve(static_cast<size_t>(image.features()));
  for (int64_t c = 0; c < image.channels; ++c) {
    for (int64_t pixel = 0; pixel < image.height * image.width; ++pixel) {
      order.push_back(static_cast<size_t>(pixel * image.channels + c));
    }
  }
  return order;
}

// For each element of the tensor in PyTorch's layout its place in ours; empty where all stay in place.
std::vector<size_t> places_of(const Owner& owner, const ParameterSpec& parameter) {
  std::vector<size_t> places;
  if (parameter.kind == ParameterKind::conv_weight) {
    const int64_t taps = parameter.shape[0] * parameter.shape[1], in = parameter.shape[2],
                  out = parameter.shape[3];
    places.reserve(static_cast<size_t>(taps * in * out));
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t tap = 0; tap < taps; ++tap)
          places.push_back(static_cast<size_t>((tap * in + i) * out + o));
      }
    }
  } else if (owner.flattened && parameter.kind == ParameterKind::dense_weight) {
    const std::vector<size_t> order = feature_order(*owner.flattened);
    places.reserve(static_cast<size_t>(parameter.shape[0]) * order.size());
    for (size_t row = 0; row < static_cast<size_t>(parameter.shape[0]); ++row) {
      for (const size_t column : order) places.push_back(row * order.size() + column);
    }
  } else if (owner.flattened && owner.kind == ModuleKind::norm) {
    places = feature_order(*owner.flattened);
  }
  return places;
}

enum class Direction : uint8_t { from_torch, to_torch };

SafeTensor moved(const SafeTensor& tensor, const Owner& owner, const ParameterSpec& parameter,
                 Direction direction) {
  const bool to_torch = direction == Direction::to_torch;
  SafeTensor result = tensor;
  result.shape = to_torch ? torch_shape_of(parameter) : parameter.shape;
  const std::vector<size_t> places = places_of(owner, parameter);
  if (places.empty()) return result;
  const std::span<const float> from = tensor.floats();
  if (from.size() != places.size()) {
    fail("[torch_layout] expected {} values in '{}', got {}", places.size(), parameter.name, from.size());
  }
  std::vector<float> values(from.size());
  for (size_t there = 0; there < values.size(); ++there) {
    const size_t here = places[there];
    if (to_torch) {
      values[there] = from[here];
    } else {
      values[here] = from[there];
    }
  }
  return SafeTensor::from_floats(std::move(result.shape), values);
}

// Whether natural order puts a before b: runs of digits compare as numbers, so conv2 < conv10.
bool natural_less(const std::string& a, const std::string& b) {
  const auto digit = [](const std::string& text, size_t at) {
    return at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0;
  };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!digit(a, i) || !digit(b, j)) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
      continue;
    }
    while (digit(a, i) && a[i] == '0') ++i;
    while (digit(b, j) && b[j] == '0') ++j;
    const size_t start_a = i, start_b = j;
    while (digit(a, i)) ++i;
    while (digit(b, j)) ++j;
    if (i - start_a != j - start_b) return i - start_a < j - start_b;
    const int order = a.compare(start_a, i - start_a, b, start_b, j - start_b);
    if (order != 0) return order < 0;
  }
  if ((i < a.size()) != (j < b.size())) return j < b.size();
  return a < b;  // equal but for leading zeros
}

struct Module {
  std::string prefix;
  std::map<std::string, const SafeTensor*, std::less<>> tensors;  // by suffix

  const SafeTensor* find(std::string_view suffix) const {
    const auto found = tensors.find(suffix);
    return found == tensors.end() ? nullptr : found->second;
  }
};

std::optional<ModuleKind> kind_of(const Module& module) {
  const SafeTensor* weight = module.find("weight");
  if (weight == nullptr) return std::nullopt;
  if (module.find("running_mean") != nullptr) return ModuleKind::norm;
  if (module.find("theta") != nullptr) return ModuleKind::denoise;  // mean and median are known by name alone
  if (weight->shape.size() == 4) return ModuleKind::conv;
  if (weight->shape.size() == 2) return ModuleKind::dense;
  return std::nullopt;
}

std::vector<Module> modules_of(const SafeTensorFile& file) {
  std::map<std::string, Module> by_prefix;
  for (const auto& [name, tensor] : file.tensors) {
    if (suffix_of(name) == kIgnored) continue;
    Module& module = by_prefix[prefix_of(name)];
    module.prefix = prefix_of(name);
    module.tensors[suffix_of(name)] = &tensor;
  }
  std::vector<Module> modules;
  modules.reserve(by_prefix.size());
  for (auto& [prefix, module] : by_prefix) modules.push_back(std::move(module));
  std::sort(modules.begin(), modules.end(),
            [](const Module& a, const Module& b) { return natural_less(a.prefix, b.prefix); });
  return modules;
}

// Both sides of a failed match on one line, each cut where it would fill the screen.
[[noreturn]] void refuse_match(const std::string& why, const std::vector<Module>& modules,
                               const std::vector<Owner>& owners) {
  constexpr size_t kListed = 40;
  std::vector<std::string> file_side, line_side;
  for (const Module& module : modules) {
    for (const auto& [suffix, tensor] : module.tensors) {
      if (file_side.size() > kListed) continue;
      const std::string name = module.prefix.empty() ? suffix : module.prefix + "." + suffix;
      file_side.push_back(shown(name) + " " + shape_text(tensor->shape));
    }
  }
  for (const Owner& owner : owners) {
    for (const ParameterSpec& parameter : owner.parameters) {
      if (line_side.size() > kListed) continue;
      line_side.push_back(parameter.name + " " + shape_text(torch_shape_of(parameter)));
    }
  }
  for (auto* side : {&file_side, &line_side}) {
    if (side->size() > kListed) side->back() = "...";
  }
  fail(
      "the weights do not fit the architecture: {}; the file has {}; the architecture needs, in PyTorch's "
      "layout, {}",
      why, file_side.empty() ? "no tensors" : fmt::format("{}", fmt::join(file_side, ", ")),
      line_side.empty() ? "no tensors" : fmt::format("{}", fmt::join(line_side, ", ")));
}

// The module of each owner.
std::vector<const Module*> match(const std::vector<Module>& modules, const std::vector<Owner>& owners) {
  std::vector<const Module*> matched(owners.size(), nullptr);
  std::map<std::string, const Module*> by_prefix;
  for (const Module& module : modules) by_prefix[module.prefix] = &module;
  const auto named = [&](const Owner& owner) {
    return by_prefix.contains(std::to_string(owner.layer));
  };
  if (modules.size() == owners.size() && std::all_of(owners.begin(), owners.end(), named)) {
    std::transform(owners.begin(), owners.end(), matched.begin(),
                   [&](const Owner& owner) { return by_prefix[std::to_string(owner.layer)]; });
    return matched;
  }
  for (const Module& module : modules) {
    if (!kind_of(module)) {
      refuse_match(
          fmt::format("'{}' is no convolution, dense, batch norm or denoising module", shown(module.prefix)),
          modules, owners);
    }
  }
  for (const ModuleKind kind : kModuleKinds) {
    std::vector<const Module*> given;
    std::vector<size_t> wanted;
    for (const Module& module : modules) {
      if (kind_of(module) == kind) given.push_back(&module);
    }
    for (size_t i = 0; i < owners.size(); ++i) {
      if (owners[i].kind == kind) wanted.push_back(i);
    }
    if (given.size() != wanted.size()) {
      refuse_match(fmt::format("the file has {} {} modules where the architecture has {}", given.size(),
                               name_of(kind), wanted.size()),
                   modules, owners);
    }
    for (size_t i = 0; i < wanted.size(); ++i) matched[wanted[i]] = given[i];
  }
  return matched;
}

}  // namespace

SafeTensorFile from_torch_layout(const SafeTensorFile& file, const Architecture& architecture,
                                 ImageShape input) {
  const std::vector<Owner> owners = owners_of(architecture, input);
  const std::vector<Module> modules = modules_of(file);
  const std::vector<const Module*> matched = match(modules, owners);
  SafeTensorFile result{.metadata = file.metadata, .tensors = {}};
  result.metadata.erase("format");  // "pt": true of the file, no longer of this
  for (size_t i = 0; i < owners.size(); ++i) {
    const Owner& owner = owners[i];
    const Module& module = *matched[i];
    const std::string pairing =
        fmt::format("module '{}' against layer {} ({})", shown(module.prefix), owner.layer, owner.text);
    size_t used = 0;
    for (const ParameterSpec& parameter : owner.parameters) {
      const std::string suffix = suffix_of(parameter.name);
      const SafeTensor* tensor = module.find(suffix);
      if (tensor == nullptr && parameter.kind == ParameterKind::bias) {
        const std::vector<float> zeros(static_cast<size_t>(parameter.shape[0]));
        result.tensors.emplace_back(parameter.name, SafeTensor::from_floats(parameter.shape, zeros));
        continue;
      }
      if (tensor == nullptr) refuse_match(fmt::format("{} lacks '{}'", pairing, suffix), modules, owners);
      ++used;
      const std::vector<int64_t> expected = torch_shape_of(parameter);
      if (tensor->shape != expected) {
        refuse_match(fmt::format("{}: '{}' has the shape {} where {} is expected", pairing, suffix,
                                 shape_text(tensor->shape), shape_text(expected)),
                     modules, owners);
      }
      if (tensor->dtype != "F32") {
        fail(
            "the weights do not fit the architecture: '{}' of module '{}' has the dtype {} where F32 is "
            "expected",
            suffix, shown(module.prefix), shown(tensor->dtype));
      }
      result.tensors.emplace_back(parameter.name, moved(*tensor, owner, parameter, Direction::from_torch));
    }
    if (used != module.tensors.size()) {
      refuse_match(fmt::format("{} has tensors that the layer has no use for", pairing), modules, owners);
    }
  }
  return result;
}

SafeTensorFile to_torch_layout(const SafeTensorFile& file, const Architecture& architecture,
                               ImageShape input) {
  SafeTensorFile result{.metadata = file.metadata, .tensors = {}};
  result.metadata["format"] = "pt";  // as PyTorch's own tools mark their files
  for (const Owner& owner : owners_of(architecture, input)) {
    for (const ParameterSpec& parameter : owner.parameters) {
      const SafeTensor* tensor = file.find(parameter.name);
      if (tensor == nullptr) fail("the weights lack the tensor '{}' of the architecture", parameter.name);
      if (tensor->shape != parameter.shape || tensor->dtype != "F32") {
        fail("the weights' tensor '{}' is {} {} where the architecture needs F32 {}", parameter.name,
             shown(tensor->dtype), shape_text(tensor->shape), shape_text(parameter.shape));
      }
      result.tensors.emplace_back(parameter.name, moved(*tensor, owner, parameter, Direction::to_torch));
    }
  }
  if (result.tensors.size() != file.tensors.size()) {
    fail("the weights have {} tensors where the architecture has {}", file.tensors.size(),
         result.tensors.size());
  }
  return result;
}

}  // namespace caltrop
