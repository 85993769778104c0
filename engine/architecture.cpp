#include "engine/architecture.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

std::vector<std::string_view> split_words(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::vector<std::string_view> words;
  for (size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kSpace, end);
  }
  return words;
}

struct Extents {
  int64_t h = 0, w = 0;
};

// The words of one layer, taken from left to right; refuses with the layer's number, text and accepted form.
class LayerWords {
 public:
  LayerWords(size_t layer, std::string_view text) : layer_(layer), words_(split_words(text)) {}

  bool done() const { return next_ == words_.size(); }
  std::string_view peek() const { return done() ? std::string_view() : words_[next_]; }
  std::string_view take(std::string_view what) {
    if (done()) refuse("{} is missing", what);
    return words_[next_++];
  }
  bool take_if(std::string_view word) {
    if (peek() != word) return false;
    ++next_;
    return true;
  }
  void accept_only(std::string_view form) { form_ = form; }
  std::string text() const { return shown(fmt::format("{}", fmt::join(words_, " "))); }

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> why, Args&&... args) const {
    fail("layer {} ({}): {}; the accepted form is: {}", layer_, text(),
         fmt::format(why, std::forward<Args>(args)...), form_);
  }

  int64_t size(std::string_view what, int64_t least = 1) {
    const std::string_view word = take(what);
    return integer(word, word, what, least);
  }

  // "3" or "3x5", height first.
  Extents extents(std::string_view what, int64_t least = 1) {
    const std::string_view word = take(what);
    const size_t cross = word.find('x');
    const int64_t h = integer(word.substr(0, cross), word, what, least);
    return {h, cross == std::string_view::npos ? h : integer(word.substr(cross + 1), word, what, least)};
  }

  float number(std::string_view what, float low, float high) {
    const std::string_view word = take(what);
    float value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || !(value >= low && value <= high)) {
      refuse("{} must be a number from {} to {}, got '{}'", what, low, high, shown(word, 30));
    }
    return value + 0.0f;  // -0 becomes 0, so that equal values have equal texts
  }

 private:
  int64_t integer(std::string_view digits, std::string_view word, std::string_view what,
                  int64_t least) const {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc::invalid_argument || end != digits.data() + digits.size()) {
      refuse("{} must be a whole number, got '{}'", what, shown(word, 30));
    }
    if (error != std::errc() || value < least || value > kMaxExtent) {
      refuse("{} must be from {} to {}, got '{}'", what, least, kMaxExtent, shown(word, 30));
    }
    return value;
  }

  size_t layer_;
  std::vector<std::string_view> words_;
  size_t next_ = 0;
  std::string_view form_;
};

ConvSpec read_conv(LayerWords& words) {
  ConvSpec conv;
  conv.out = words.size("OUT");
  const Extents kernel = words.extents("the kernel");
  conv.kernel_h = kernel.h, conv.kernel_w = kernel.w;
  bool stride_given = false, pad_given = false, same = false;
  while (!words.done()) {
    if (!stride_given && words.take_if("stride")) {
      stride_given = true;
      const Extents stride = words.extents("the stride");
      conv.stride_h = stride.h, conv.stride_w = stride.w;
    } else if (!pad_given && words.take_if("pad")) {
      pad_given = true;
      same = words.take_if("same");
      if (same) continue;
      const Extents pad = words.extents("the padding", 0);
      conv.pad_h = pad.h, conv.pad_w = pad.w;
    } else {
      words.refuse("unexpected '{}'", shown(words.peek(), 30));
    }
  }
  if (same) {
    if (conv.kernel_h % 2 == 0 || conv.kernel_w % 2 == 0 || conv.stride_h != 1 || conv.stride_w != 1) {
      words.refuse("'pad same' needs an odd kernel and stride 1");
    }
    conv.pad_h = conv.kernel_h / 2, conv.pad_w = conv.kernel_w / 2;
  }
  return conv;
}

LayerSpec parse_conv(LayerWords& words) {
  return read_conv(words);
}

LayerSpec parse_deconv(LayerWords& words) {
  return DeconvSpec{read_conv(words)};
}

template <PoolKind kind>
LayerSpec parse_pool(LayerWords& words) {
  const Extents window = words.extents("the window");
  const Extents stride = words.take_if("stride") ? words.extents("the stride") : window;
  return PoolSpec{
      .kind = kind, .window_h = window.h, .window_w = window.w, .stride_h = stride.h, .stride_w = stride.w};
}

template <ActivationKind kind>
LayerSpec parse_activation(LayerWords&) {
  return ActivationSpec{.kind = kind};
}

template <BranchPoint point>
LayerSpec parse_branch(LayerWords&) {
  return BranchSpec{.point = point};
}

constexpr float kLeakySlope = 0.01f;  // the default, PyTorch's

LayerSpec parse_batchnorm(LayerWords& words) {
  BatchNormSpec norm;
  bool momentum_given = false, epsilon_given = false;
  while (!words.done()) {
    if (!momentum_given && words.take_if("momentum")) {
      momentum_given = true;
      norm.momentum = words.number("the momentum", 0, 1);
    } else if (!epsilon_given && words.take_if("eps")) {
      epsilon_given = true;
      norm.epsilon = words.number("eps", 1e-12f, 1);
    } else {
      words.refuse("unexpected '{}'", shown(words.peek(), 30));
    }
  }
  return norm;
}

LayerSpec parse_normalize(LayerWords& words) {
  NormalizeSpec spec;
  spec.mean = words.number("MEAN", -1e6f, 1e6f);
  spec.deviation = words.number("STD", 1e-6f, 1e6f);
  return spec;
}

LayerSpec parse_denoise(LayerWords& words) {
  const std::string_view filter = words.take("the filter");
  if (filter == "nonlocal") return DenoiseSpec{};
  if (filter != "mean" && filter != "median")
    words.refuse("the filter must be nonlocal, mean or median, got '{}'", shown(filter, 30));
  const int64_t window = words.size("K");
  if (window < 3 || window % 2 == 0 || window > kMaxFilterWindow)
    words.refuse("K must be odd and from 3 to {}, got {}", kMaxFilterWindow, window);
  return DenoiseSpec{filter == "mean" ? DenoiseFilter::mean : DenoiseFilter::median, window};
}

struct LayerForm {
  std::string_view name, form;
  LayerSpec (*parse)(LayerWords&);
};

constexpr std::array kForms = {
    LayerForm{"conv", "conv OUT KHxKW [stride S] [pad P | pad same]", parse_conv},
    LayerForm{"deconv", "deconv OUT KHxKW [stride S] [pad P | pad same]", parse_deconv},
    LayerForm{"maxpool", "maxpool K [stride S]", parse_pool<PoolKind::max>},
    LayerForm{"avgpool", "avgpool K [stride S]", parse_pool<PoolKind::average>},
    LayerForm{"globalavgpool", "globalavgpool",
              [](LayerWords&) -> LayerSpec {
                return GlobalAveragePoolSpec{};
              }},
    LayerForm{"flatten", "flatten",
              [](LayerWords&) -> LayerSpec {
                return FlattenSpec{};
              }},
    LayerForm{"dense", "dense OUT",
              [](LayerWords& words) -> LayerSpec {
                return DenseSpec{.out = words.size("OUT")};
              }},
    LayerForm{"relu", "relu", parse_activation<ActivationKind::relu>},
    LayerForm{"gelu", "gelu [tanh]",
              [](LayerWords& words) -> LayerSpec {
                return ActivationSpec{words.take_if("tanh") ? ActivationKind::gelu_tanh
                                                            : ActivationKind::gelu};
              }},
    LayerForm{"leakyrelu", "leakyrelu [SLOPE]",
              [](LayerWords& words) -> LayerSpec {
                return ActivationSpec{ActivationKind::leaky_relu,
                                      words.done() ? kLeakySlope : words.number("SLOPE", 0, 1)};
              }},
    LayerForm{"sigmoid", "sigmoid", parse_activation<ActivationKind::sigmoid>},
    LayerForm{"tanh", "tanh", parse_activation<ActivationKind::tanh>},
    LayerForm{"softmax", "softmax", parse_activation<ActivationKind::softmax>},
    LayerForm{"batchnorm", "batchnorm [momentum M] [eps E]", parse_batchnorm},
    LayerForm{"dropout", "dropout P",
              [](LayerWords& words) -> LayerSpec {
                // The largest float below 1: with P = 1 nothing would be left to scale.
                return DropoutSpec{words.number("P", 0, std::nextafter(1.0f, 0.0f))};
              }},
    LayerForm{"normalize", "normalize MEAN STD", parse_normalize},
    LayerForm{"denoise", "denoise nonlocal | denoise mean K | denoise median K", parse_denoise},
    LayerForm{"residual", "residual", parse_branch<BranchPoint::residual>},
    LayerForm{"shortcut", "shortcut", parse_branch<BranchPoint::shortcut>},
    LayerForm{"add", "add", parse_branch<BranchPoint::add>},
};

[[noreturn]] void refuse_unknown(size_t layer, const std::string& text, std::string_view name) {
  std::vector<std::string> names;
  names.reserve(kForms.size());
  for (const LayerForm& form : kForms) names.emplace_back(form.name);
  if (const std::string meant = nearest(name, names); !meant.empty()) {
    fail("layer {} ({}): unknown layer '{}'; did you mean '{}'? The accepted form is: {}", layer, text,
         shown(name, 30), meant, std::ranges::find(kForms, meant, &LayerForm::name)->form);
  }
  fail("layer {} ({}): unknown layer '{}'; known are {}", layer, text, shown(name, 30),
       fmt::join(names, ", "));
}

LayerSpec parse_layer(size_t layer, std::string_view text) {
  LayerWords words(layer, text);
  if (words.done()) fail("layer {} of the architecture is empty: expected layers separated by '|'", layer);
  const std::string_view name = words.take("the layer");
  const auto* form =
      std::find_if(kForms.begin(), kForms.end(), [&](const LayerForm& known) { return known.name == name; });
  if (form == kForms.end()) refuse_unknown(layer, words.text(), name);
  words.accept_only(form->form);
  LayerSpec spec = form->parse(words);
  if (!words.done()) words.refuse("unexpected '{}'", shown(words.peek(), 30));
  return spec;
}

std::string extents_text(int64_t h, int64_t w) {
  return h == w ? fmt::format("{}", h) : fmt::format("{}x{}", h, w);
}

struct LayerText {
  std::string operator()(const DeconvSpec& deconv) const { return "de" + (*this)(deconv.of); }
  std::string operator()(const ConvSpec& conv) const {
    std::string text = fmt::format("conv {} {}x{}", conv.out, conv.kernel_h, conv.kernel_w);
    if (conv.stride_h != 1 || conv.stride_w != 1)
      text += " stride " + extents_text(conv.stride_h, conv.stride_w);
    if (conv.pad_h != 0 || conv.pad_w != 0) text += " pad " + extents_text(conv.pad_h, conv.pad_w);
    return text;
  }
  std::string operator()(const PoolSpec& pool) const {
    std::string text = pool.kind == PoolKind::max ? "maxpool " : "avgpool ";
    text += extents_text(pool.window_h, pool.window_w);
    if (pool.stride_h != pool.window_h || pool.stride_w != pool.window_w) {
      text += " stride " + extents_text(pool.stride_h, pool.stride_w);
    }
    return text;
  }
  std::string operator()(const GlobalAveragePoolSpec&) const { return "globalavgpool"; }
  std::string operator()(const FlattenSpec&) const { return "flatten"; }
  std::string operator()(const DenseSpec& dense) const { return fmt::format("dense {}", dense.out); }
  std::string operator()(const ActivationSpec& activation) const {
    switch (activation.kind) {
      case ActivationKind::relu:
        return "relu";
      case ActivationKind::gelu:
        return "gelu";
      case ActivationKind::gelu_tanh:
        return "gelu tanh";
      case ActivationKind::leaky_relu:
        return activation.slope == kLeakySlope ? "leakyrelu" : fmt::format("leakyrelu {}", activation.slope);
      case ActivationKind::sigmoid:
        return "sigmoid";
      case ActivationKind::tanh:
        return "tanh";
      case ActivationKind::softmax:
        return "softmax";
    }
    fail("[architecture] expected a known activation, got number {}", static_cast<int>(activation.kind));
  }
  std::string operator()(const BatchNormSpec& norm) const {
    std::string text = "batchnorm";
    if (norm.momentum != BatchNormSpec{}.momentum) text += fmt::format(" momentum {}", norm.momentum);
    if (norm.epsilon != BatchNormSpec{}.epsilon) text += fmt::format(" eps {}", norm.epsilon);
    return text;
  }
  std::string operator()(const BranchSpec& branch) const {
    constexpr std::array<const char*, 3> kNames = {"residual", "shortcut", "add"};
    return kNames[static_cast<size_t>(branch.point)];
  }
  std::string operator()(const DropoutSpec& dropout) const {
    return fmt::format("dropout {}", dropout.probability);
  }
  std::string operator()(const DenoiseSpec& denoise) const {
    constexpr std::array<const char*, 3> kNames = {"nonlocal", "mean", "median"};
    std::string text = fmt::format("denoise {}", kNames[static_cast<size_t>(denoise.filter)]);
    if (denoise.filter != DenoiseFilter::nonlocal) text += fmt::format(" {}", denoise.window);
    return text;
  }
  std::string operator()(const NormalizeSpec& normalize) const {
    return fmt::format("normalize {} {}", normalize.mean, normalize.deviation);
  }
};

}  // namespace

Architecture parse_architecture(std::string_view line) {
  if (line.size() > static_cast<size_t>(kMaxLineBytes)) {
    fail("the architecture line has {} bytes, at most {} are allowed", line.size(), kMaxLineBytes);
  }
  if (split_words(line).empty()) {
    fail("the architecture line is empty: expected layers separated by '|', as in 'flatten | dense 10'");
  }
  const auto bars = std::count(line.begin(), line.end(), '|');
  if (bars >= kMaxLayers)
    fail("the architecture has {} layers, at most {} are allowed", bars + 1, kMaxLayers);
  Architecture architecture;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('|', begin), line.size());
    architecture.layers.push_back(parse_layer(architecture.layers.size(), line.substr(begin, end - begin)));
    begin = end + 1;
  }
  return architecture;
}

std::string to_string(const LayerSpec& layer) {
  return std::visit(LayerText{}, layer);
}

std::string to_string(const Architecture& architecture) {
  std::string line;
  for (const LayerSpec& layer : architecture.layers) {
    if (!line.empty()) line += " | ";
    line += to_string(layer);
  }
  return line;
}

}  // namespace caltrop
