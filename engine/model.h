// A network: the layers of an architecture line with their parameters on a device.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/architecture.h"
#include "engine/ops.h"
#include "engine/safetensors.h"
#include "engine/tensor.h"

namespace caltrop {

// How weights begin. Biases begin at zero except under `torch`, the W of denoise always.
//   he_uniform      U(+-sqrt(6 / fan_in))                He et al. 2015
//   he_normal       N(0, 2 / fan_in)
//   glorot_uniform  U(+-sqrt(6 / (fan_in + fan_out)))    Glorot & Bengio 2010
//   glorot_normal   N(0, 2 / (fan_in + fan_out))
//   torch           U(+-1 / sqrt(fan_in)), biases too    PyTorch's default for Conv2d and Linear
enum class Initializer : uint8_t { he_uniform, he_normal, glorot_uniform, glorot_normal, torch };
Initializer parse_initializer(std::string_view name);
std::string to_string(Initializer initializer);

struct ForwardOptions {
  bool training = false;  // dropout drops, batch norm uses the batch and updates its running statistics
  uint64_t seed = 0;      // of dropout, together with
  uint64_t step = 0;      // the number of the update
  bool fuse = true;       // conv or dense with what follows as one op; false runs layer by layer
  // Stand for parameters(), in its order: a network as a function of its weights, which may be tracked.
  const std::vector<Tensor>* parameters = nullptr;
  // Receives what each convolution gives (n,h,w,c), its bias added, in the order of the layers; then nothing is fused.
  std::vector<Tensor>* convolutions = nullptr;
};

class Model {
 public:
  // Parameters are zeros (batch norm: the identity) until initialize() or load().
  Model(Architecture architecture, ImageShape input, Backend& backend);

  const Architecture& architecture() const { return architecture_; }
  const ImageShape& input() const { return input_; }
  int64_t outputs() const { return outputs_; }
  Backend& backend() const { return *backend_; }

  // Each parameter is drawn from a Philox stream of its own, so that weights are a function of the seed.
  void initialize(Initializer initializer, uint64_t seed);

  // x (n,h,w,c) in [0,1] -> logits (n,outputs). Safe to call from several threads unless `training`.
  Tensor forward(const Tensor& x, const ForwardOptions& options = {}) const;

  // What the last layer takes, (n, features): its penultimate activations, flattened.
  Tensor features(const Tensor& x) const;

  // The pooled convolution block that the network begins with: several networks that see the same images can compute
  // theirs together (engine/inference.h, forward_together). Nothing where it begins otherwise.
  struct FirstBlock {
    Tensor weight, bias;
    ConvBlockOptions options;
  };
  std::optional<FirstBlock> first_block() const;
  // From the output of that block to the logits.
  Tensor forward_after_first_block(const Tensor& y) const { return run_steps(1, steps_.size(), y, {}); }

  // Whether training draws random numbers: a captured step would draw the same ones again.
  bool draws_random_numbers() const;

  // The trained parameters, in the order of the layers: tracked leaves.
  std::vector<Tensor> parameters() const;

  // Whether every value of every tensor is.
  bool finite() const;

  // All tensors by name, with "arch" and "input" in the metadata: what a checkpoint holds.
  SafeTensorFile state() const;
  // Takes the tensors that this network needs, by name; others (of an optimiser, say) are left alone. An
  // Error names what is missing, of another shape or type, or not finite.
  void load(const SafeTensorFile& file);

  // How many images to take through the network together: see Backend::chunk().
  int64_t chunk() const { return chunk_; }

 private:
  struct Step {  // layers [first, last) run as one
    size_t first, last;
  };
  const Tensor& tensor(size_t layer, const char* name, const ForwardOptions& options) const;
  ConvBlockOptions block_options(const Step& step) const;
  bool adds(const Step& step) const;                           // whether it ends a residual block
  const BatchNormSpec* batch_norm_of(const Step& step) const;  // or null
  BlockWeights block_weights(const Step& step, const ForwardOptions& options) const;
  // Steps [first, last) of steps_.
  Tensor run_steps(size_t first, size_t last, const Tensor& x, const ForwardOptions& options) const;
  // `residual` is what the step's `add` adds; absent where it has none.
  Tensor run_block(const Step& step, const Tensor& x, const Tensor& residual,
                   const ForwardOptions& options) const;
  Tensor run_layer(size_t layer, const Tensor& x, const ForwardOptions& options) const;
  // Activation and residual: in training.
  Tensor run_batch_norm(size_t layer, const Tensor& x, const ForwardOptions& options,
                        Activation activation = Activation::none, const Tensor& residual = {}) const;
  Tensor run_denoise(size_t layer, const DenoiseSpec& spec, const Tensor& x,
                     const ForwardOptions& options) const;

  Architecture architecture_;
  ImageShape input_;
  int64_t outputs_, chunk_;
  Backend* backend_;
  std::vector<ParameterSpec> specs_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, size_t> places_;  // of the trained ones in parameters()
  std::vector<Step> steps_;
};

// What a checkpoint says in its metadata of the network that it holds; nothing where it does not. `name`
// stands for the file in errors.
struct StatedNetwork {
  Architecture architecture;
  ImageShape input;
};
std::optional<StatedNetwork> stated_network(const SafeTensorFile& file, const std::string& name);

}  // namespace caltrop
