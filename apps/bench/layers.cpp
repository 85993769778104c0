// caltrop bench layers: what share of the processor's multiply-adds each convolution and dense layer of a network reaches,
// in its three products: forward, the gradient for the input, the gradient for the weights.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <span>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/report/table.h"
#include "engine/architecture.h"
#include "engine/ops.h"
#include "engine/random.h"
#include "kernels/cpu_backend.h"

namespace caltrop {
namespace {

struct LayerOptions {
  CommonOptions common;
  ModelOptions model;
  int64_t outputs = 10, batch = 32, repeats = 5;
};

void declare(Flags& flags, LayerOptions& options) {
  flags.usage("--model NAME | --arch LINE [flags]");
  flags.about(
      "Times each convolution and dense layer of a network on images of 28x28: the forward pass, the "
      "gradient for its input "
      "and that for its weights, each alone and on random numbers. Rates count every product of the "
      "definition, whichever "
      "way it was computed (Winograd makes fewer, so it can pass the ceiling). The ceiling is measured "
      "first, with "
      "multiply-adds on registers alone. The three products are first checked against one another: they are "
      "one "
      "trilinear form.");
  add_model_flags(flags, options.model, Weights::none);
  flags.group("Layers");
  flags.integer("outputs", options.outputs, 1, 1 << 20, "K", "outputs of --model: the classes of the data");
  flags.integer("batch", options.batch, 1, 4096, "N", "images at a time");
  flags.integer("repeats", options.repeats, 1, 1000, "R", "samples of each product; the fastest counts");
  options.common.device = "cpu";
  add_common_flags(flags, options.common, true, "none", {"cpu"});
  flags.section("Files", "With --out: DIR/config.json, layers.json (as --json), layers.csv");
  flags.section(
      "JSON",
      "device, threads, batch, peak: GFLOP/s; layers: a list of {layer, input, count: how often it comes, "
      "macs: of one image, forward, dinput, dweight: GFLOP/s}");
  flags.example("caltrop bench layers --model resnet50", "Every shape of ResNet50.");
  flags.example("caltrop bench layers --arch 'conv 64 3 | relu | flatten | dense 10' --batch 128",
                "A network of one's own.");
}

// The layers of one shape, and the operands of its products: y is trilinear in x, w and g.
struct Layer {
  LayerInfo info;
  int64_t count = 1;
  Tensor x, w, g;
  ConvOptions conv;
  bool dense = false;

  Tensor forward() const { return dense ? matmul(x, w, false, true) : conv2d(x, w, conv); }
  Tensor dinput() const { return dense ? matmul(g, w) : conv2d_dinput(g, w, x.shape(), conv); }
  Tensor dweight() const { return dense ? matmul(g, x, true, false) : conv2d_dweight(x, g, w.shape(), conv); }
};

Tensor random_tensor(Backend& backend, Shape shape, uint64_t seed, uint64_t stream) {
  Tensor x = Tensor::uninitialized(backend, std::move(shape));
  backend.random(Distribution::normal, seed, std::span(&stream, 1), x.size(), x.mutable_data());
  return x;
}

std::vector<Layer> layers_of(const Architecture& architecture, ImageShape input, int64_t batch, uint64_t seed,
                             Backend& backend) {
  std::vector<Layer> found;
  const std::vector<LayerInfo> all = describe_layers(architecture, input);
  for (size_t i = 0; i < all.size(); ++i) {
    const LayerSpec& spec = architecture.layers[i];
    if (!std::holds_alternative<ConvSpec>(spec) && !std::holds_alternative<DenseSpec>(spec)) continue;
    const auto known = std::ranges::find_if(found, [&](const Layer& layer) {
      return layer.info.text == all[i].text && layer.info.input == all[i].input;
    });
    if (known != found.end()) {
      ++known->count;
      continue;
    }
    Layer layer;
    layer.info = all[i];
    const FeatureShape &in = all[i].input, &out = all[i].output;
    const auto random = [&](Shape shape, uint64_t stream) {
      return random_tensor(backend, std::move(shape), seed, 3 * i + stream);
    };
    if (const auto* conv = std::get_if<ConvSpec>(&spec)) {
      layer.conv = {conv->stride_h, conv->stride_w, conv->pad_h, conv->pad_w};
      layer.x = random({batch, in.height, in.width, in.channels}, 0);
      layer.w = random({conv->kernel_h, conv->kernel_w, in.channels, conv->out}, 1);
      layer.g = random({batch, out.height, out.width, out.channels}, 2);
    } else {
      layer.dense = true;
      layer.x = random({batch, in.features()}, 0);
      layer.w = random({out.features(), in.features()}, 1);
      layer.g = random({batch, out.features()}, 2);
    }
    found.push_back(std::move(layer));
  }
  return found;
}

// <y, g> = <x, dx> = <w, dw>: an Error where one is off.
void check(const Layer& layer) {
  const auto product = [](const Tensor& a, const Tensor& b) {
    const std::vector<float> x = a.to_host(), y = b.to_host();
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  };
  const auto length = [&](const Tensor& a) {
    return std::sqrt(product(a, a));
  };
  const Tensor y = layer.forward();
  const double form = product(y, layer.g), scale = length(y) * length(layer.g);
  for (const double other : {product(layer.x, layer.dinput()), product(layer.w, layer.dweight())}) {
    if (!(std::abs(other - form) <= 1e-5 * scale))
      fail("{} on {}: its products disagree ({} and {}, of lengths {})", layer.info.text,
           to_string(layer.info.input), form, other, scale);
  }
}

// Operations a second of the fastest sample, each of at least a fiftieth of a second.
template <typename Product>
double rate(double operations, int64_t repeats, const Product& product) {
  const auto seconds = [&](int64_t calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < calls; ++i) product();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const auto calls = static_cast<int64_t>(std::ceil(0.02 / std::max(1e-6, seconds(1))));
  double fastest = seconds(calls);
  for (int64_t i = 1; i < repeats; ++i) fastest = std::min(fastest, seconds(calls));
  return operations * static_cast<double>(calls) / fastest;
}

void run(LayerOptions& options, const Flags& flags) {
  constexpr ImageShape kInput{28, 28, 1};
  Console console(options.common.json, options.common.quiet);
  const ZooEntry network = asked_network(options.model, options.outputs);
  Backend& backend = open_backend(options.common, console);
  const std::vector<Layer> layers = layers_of(parse_architecture(network.line), kInput, options.batch,
                                              static_cast<uint64_t>(options.common.seed), backend);
  const double peak = cpu_peak();
  using enum Column::Kind;
  Table table({{"layer", "layer"},
               {"input", "input"},
               {"count", "times", count},
               {"macs", "MACs", count},
               {"forward", "forward", number, 0},
               {"forward_share", "of peak", percent, 0},
               {"dinput", "d-input", number, 0},
               {"dinput_share", "of peak", percent, 0},
               {"dweight", "d-weight", number, 0},
               {"dweight_share", "of peak", percent, 0}});
  ProgressLine progress(console, "layers", static_cast<int64_t>(layers.size()), "shapes");
  int64_t done = 0;
  for (const Layer& layer : layers) {
    check(layer);
    const double operations = 2.0 * static_cast<double>(layer.info.macs * options.batch);
    const double rates[] = {rate(operations, options.repeats, [&] { layer.forward(); }),
                            rate(operations, options.repeats, [&] { layer.dinput(); }),
                            rate(operations, options.repeats, [&] { layer.dweight(); })};
    std::vector<Cell> row = {layer.info.text, to_string(layer.info.input), layer.count, layer.info.macs};
    for (const double each : rates) row.insert(row.end(), {1e-9 * each, each / peak});
    table.row(row);
    progress.at(++done);
  }
  console.say("{}; {}: at most {:.0f} GFLOP/s. GFLOP/s of {} images at a time:", network.name,
              backend.description(), 1e-9 * peak, options.batch);
  console.blank();
  console.say(table);
  const Json result = {{"schema", "bench-layers/1"},      {"network", network.name},
                       {"device", backend.description()}, {"threads", cpu_threads()},
                       {"batch", options.batch},          {"peak", 1e-9 * peak},
                       {"layers", table.json()}};
  const RunFolder folder(options.common.out, make_config(flags, {}), options.common.resume);
  folder.write_json("layers.json", result);
  folder.write("layers.csv", table.csv());
  console.result(result);
}

}  // namespace

Run bench_layers_command(Flags& flags) {
  return make_command<LayerOptions>(flags, declare, run);
}

}  // namespace caltrop
