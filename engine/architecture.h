// A network as one line of text, the same in the zoo, flags, checkpoints and documentation:
//
//   conv 32 3x3 | relu | maxpool 2 | flatten | dense 100 | relu | dense 10
//
//   conv OUT KHxKW [stride SHxSW]        zero padding on both sides;
//       [pad PHxPW | pad same]           "same" wants odd kernels and stride 1
//   deconv OUT KHxKW [stride SHxSW]      transposed convolution: the gradient for the input of a convolution of these
//       [pad PHxPW | pad same]           sizes, from (H,W) to ((H-1)SH + KH - 2PH, ...); PyTorch's ConvTranspose2d
//   maxpool KHxKW [stride SHxSW]         no padding; the stride is the window where not given
//   avgpool KHxKW [stride SHxSW]
//   globalavgpool                        (h,w,c) -> c features, the mean of each channel
//   flatten                              (h,w,c) -> h*w*c features, in that order
//   dense OUT
//   relu | gelu | gelu tanh | leakyrelu [SLOPE=0.01] | sigmoid | tanh | softmax
//   batchnorm [momentum M=0.1] [eps E=1e-5]
//                                        running = (1 - M) running + M batch, as in PyTorch
//   dropout P                            P is the probability of a zero
//   normalize MEAN STD                   (x - MEAN) / STD
//   denoise nonlocal                     x + W F(x), W (c,c) zeros at first: F is each pixel's mean over all pixels, by
//                                        their likeness, with two embeddings of max(1, c/2) features; or
//   denoise mean K | denoise median K    ... over the KxK pixels around it, K odd (Xie et al. 2019)
//   residual | BODY | add                body(x) + x (He et al. 2016); BODY is any layers, blocks nest
//   residual | BODY | shortcut | PATH | add
//                                        body(x) + path(x), where the body changes the shape
//
// One number stands for a square: "conv 32 3" is "conv 32 3x3". Layers are counted from 0, as the modules of
// a torch.nn.Sequential, and own the tensors "<layer>.weight", "<layer>.bias" and, for batchnorm,
// "<layer>.running_mean" and "<layer>.running_var"; denoise "<layer>.weight" and, where it is nonlocal,
// "<layer>.theta" and "<layer>.phi". The words of a residual block count as layers that own
// nothing, so the names are those of a torch.nn.ModuleList whose forward() keeps a stack of inputs. Nothing
// here knows tensors or devices.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace caltrop {

struct ConvSpec {
  int64_t out = 0;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t pad_h = 0, pad_w = 0;
  bool operator==(const ConvSpec&) const = default;
};

// A transposed convolution: `of` leads from its output to its input.
struct DeconvSpec {
  ConvSpec of = {};  // but for `out`, which counts the deconvolution's own channels
  int64_t out_h(int64_t h) const { return (h - 1) * of.stride_h + of.kernel_h - 2 * of.pad_h; }
  int64_t out_w(int64_t w) const { return (w - 1) * of.stride_w + of.kernel_w - 2 * of.pad_w; }
  bool operator==(const DeconvSpec&) const = default;
};

enum class PoolKind : uint8_t { max, average };
struct PoolSpec {
  PoolKind kind = PoolKind::max;
  int64_t window_h = 1, window_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  bool operator==(const PoolSpec&) const = default;
};

struct GlobalAveragePoolSpec {
  bool operator==(const GlobalAveragePoolSpec&) const = default;
};

struct FlattenSpec {
  bool operator==(const FlattenSpec&) const = default;
};

struct DenseSpec {
  int64_t out = 0;
  bool operator==(const DenseSpec&) const = default;
};

enum class ActivationKind : uint8_t { relu, gelu, gelu_tanh, leaky_relu, sigmoid, tanh, softmax };
struct ActivationSpec {
  ActivationKind kind = ActivationKind::relu;
  float slope = 0;  // of leaky_relu for x < 0; 0 for the others
  bool operator==(const ActivationSpec&) const = default;
};

struct BatchNormSpec {
  float momentum = 0.1f;
  float epsilon = 1e-5f;
  bool operator==(const BatchNormSpec&) const = default;
};

struct DropoutSpec {
  float probability = 0;  // of a zero; in [0,1)
  bool operator==(const DropoutSpec&) const = default;
};

struct NormalizeSpec {
  float mean = 0, deviation = 1;
  bool operator==(const NormalizeSpec&) const = default;
};

enum class DenoiseFilter : uint8_t { nonlocal, mean, median };
struct DenoiseSpec {
  DenoiseFilter filter = DenoiseFilter::nonlocal;
  int64_t window = 0;  // of mean and median; 0 of nonlocal
  bool operator==(const DenoiseSpec&) const = default;
};

// Where the two paths of a residual block part, where the second begins, and where they meet.
enum class BranchPoint : uint8_t { residual, shortcut, add };
struct BranchSpec {
  BranchPoint point = BranchPoint::residual;
  bool operator==(const BranchSpec&) const = default;
};

using LayerSpec =
    std::variant<ConvSpec, DeconvSpec, PoolSpec, GlobalAveragePoolSpec, FlattenSpec, DenseSpec,
                 ActivationSpec, BatchNormSpec, DropoutSpec, NormalizeSpec, DenoiseSpec, BranchSpec>;

struct Architecture {
  std::vector<LayerSpec> layers;
  bool operator==(const Architecture&) const = default;
};

// Limits against absurd input; beyond them parsing or shape inference is an Error.
inline constexpr int64_t kMaxLayers = 1000;
inline constexpr int64_t kMaxLineBytes = 64 * 1024;
inline constexpr int64_t kMaxFilterWindow = 31;              // of denoise; a median compares all pairs in it
inline constexpr int64_t kMaxExtent = int64_t{1} << 20;      // any single size
inline constexpr int64_t kMaxParameters = int64_t{1} << 31;  // of a network; also the features of one layer

Architecture parse_architecture(std::string_view line);

// The canonical text: parse_architecture(to_string(a)) == a, and equal architectures have equal texts.
std::string to_string(const Architecture& architecture);
std::string to_string(const LayerSpec& layer);

struct ImageShape {
  int64_t height = 0, width = 0, channels = 0;
  bool operator==(const ImageShape&) const = default;
};

// What flows between two layers, for one image: (height, width, channels), or `channels` features once flat.
struct FeatureShape {
  bool spatial = false;
  int64_t height = 1, width = 1;
  int64_t channels = 0;

  int64_t features() const { return height * width * channels; }
  bool operator==(const FeatureShape&) const = default;
};
std::string to_string(const FeatureShape& shape);  // "13x13x32" or "100 features"

// The shape after each layer. An Error names the layer that does not fit: "layer 3 (maxpool 2): the input
// 1x1x32 is smaller than the window 2x2". Residual blocks are matched here.
std::vector<FeatureShape> infer_shapes(const Architecture& architecture, ImageShape input);

enum class ParameterKind : uint8_t {
  conv_weight,  // (kh,kw,cin,cout); of deconv (kh,kw,out,in), those of the convolution that it is the adjoint of
  dense_weight,  // (out,in)
  bias,          // (out), of conv and dense
  embedding,     // (d,c), of denoise
  zero_weight,   // (c,c), of denoise: zeros at first, whatever the initialiser
  norm_weight,   // (c), batch norm's scale
  norm_bias,     // (c), batch norm's shift
  running_mean,  // (c), a statistic: not trained
  running_var,   // (c), a statistic: not trained
};
struct ParameterSpec {
  std::string name;   // "0.weight"
  int64_t layer = 0;  // its owner
  ParameterKind kind = ParameterKind::bias;
  std::vector<int64_t> shape;
  bool trainable = true;
  // Inputs to one output and outputs of one input. A bias bears its weight's, from which PyTorch's default
  // initialiser draws it. Batch norm's tensors bear 0.
  int64_t fan_in = 0, fan_out = 0;
};
// In the order of the layers; within a layer weight, bias, running_mean, running_var; or weight, theta, phi.
std::vector<ParameterSpec> parameter_specs(const Architecture& architecture, ImageShape input);

// What a person asks of each layer.
struct LayerInfo {
  std::string text;  // canonical
  FeatureShape input, output;
  int64_t parameters = 0;  // trainable values
  int64_t macs =
      0;  // multiply-accumulates of conv, deconv, dense and denoise, forward, for one image; bias not counted
};
std::vector<LayerInfo> describe_layers(const Architecture& architecture, ImageShape input);
int64_t count_parameters(const Architecture& architecture, ImageShape input);
int64_t count_macs(const Architecture& architecture, ImageShape input);

}  // namespace caltrop
