// The contract between the engine and a device: every op over raw views, its formula, shapes and tie rule
// stated here once. Bodies stand side by side, one file per op (conv2d.cpp | conv2d.cu).
//
// Conventions
// - float is fp32; images are NHWC; everything is dense and row-major; counts are 64-bit.
// - Outputs never alias inputs unless a line says so. Sizes may be zero. The caller checked the arguments.
// - Each reduction has one fixed order that depends on the sizes alone, never on the number of threads;
//   a row (image) of an output depends on the same row of the inputs only, so batch size changes no bits.
// - A NaN is not lost: sums with one are NaN, and in every maximum over several values (pooling windows, rows
//   of logits) it counts as larger than any number; of several NaNs, as of equal values, the first wins.
// - A Backend is an execution context: one device and one stream. Ops are ordered; download() waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "kernels/replay.h"

namespace caltrop {

inline constexpr int kMaxRank = 6;

// Sizes of a tensor, outermost first.
struct Dims {
  int rank = 0;
  int64_t size[kMaxRank] = {};
  int64_t count() const {
    int64_t product = 1;
    for (int i = 0; i < rank; ++i) product *= size[i];
    return product;
  }
};

// An input of an element-wise op, read with the strides of the output's dims (0 = broadcast).
struct Strided {
  const float* data = nullptr;
  int64_t stride[kMaxRank] = {};
};

enum class Unary : uint8_t {
  neg,
  abs,
  sign,  // -1, 0, 1; sign(0) = 0, sign(NaN) = NaN
  exp,
  log,
  sqrt,
  reciprocal,
  relu,     // max(x, 0); NaN stays NaN
  step,     // 1 where x > 0, else 0: the derivative of relu, 0 at 0
  sigmoid,  // 1 / (1 + e^-x), without overflow
  tanh,
  erf,
  gelu,        // x Phi(x), Phi the normal distribution function (exact form)
  gelu_grad,   // Phi(x) + x phi(x)
  gelu_curve,  // phi(x) (2 - x^2): the second derivative
};

enum class Binary : uint8_t {
  add,
  sub,
  mul,
  div,
  maximum,  // the larger; on a tie, or where one is NaN, the first
  greater,  // 1 where a > b, else 0
  equal,    // 1 where a == b, else 0
  gate,     // a where b > 0, else 0: relu's gradient a, given its output b
};

// Activations that convolution blocks and matrix products fuse; any other runs as an op of its own.
enum class Activation : uint8_t { none, relu, gelu };

// What a matrix product does with its sums before it stores them: activation(sum + bias[column]).
struct Epilogue {
  const float* bias = nullptr;  // may be null
  Activation activation = Activation::none;
};

// What a convolution does with its sums before it stores them: activation(sum + bias[channel] + residual[output]).
struct ConvEpilogue {
  const float* bias = nullptr;      // (cout); may be null
  const float* residual = nullptr;  // (n,out_h,out_w,cout), what another branch adds; may be null
  Activation activation = Activation::none;
};

// 2-D convolution in the sense of deep learning (cross-correlation), zero padding on each side.
//   y[n,oy,ox,o] = sum_{ky,kx,i} x[n, oy*stride_h - pad_h + ky, ox*stride_w - pad_w + kx, i] * w[ky,kx,i,o]
// x (n,h,w,cin), w (kh,kw,cin,cout), y (n,out_h,out_w,cout).
struct Conv2d {
  int64_t n, h, w, cin, cout, kh, kw;
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;
  int64_t out_h() const { return (h + 2 * pad_h - kh) / stride_h + 1; }
  int64_t out_w() const { return (w + 2 * pad_w - kw) / stride_w + 1; }
};

// Windows without padding; a remainder at the right and lower edge is dropped.
struct Pool2d {
  int64_t n, h, w, c, kh, kw, stride_h, stride_w;
  int64_t out_h() const { return (h - kh) / stride_h + 1; }
  int64_t out_w() const { return (w - kw) / stride_w + 1; }
};

// convolution + bias + activation + max-pool with stride = window, in one pass.
// For each pooled element the pass keeps `winner`, the position of the first maximum in its window in scan
// order (row * pool_w + column; kDead where the derivative of relu there is zero), and for gelu `slope`, the
// derivative of the activation at the winner. That is all the backward passes need besides x and w.
// A window with a NaN gives NaN.
struct ConvBlock {
  Conv2d conv;
  Activation activation = Activation::none;
  int64_t pool_h = 1, pool_w = 1;
  int64_t out_h() const { return conv.out_h() / pool_h; }
  int64_t out_w() const { return conv.out_w() / pool_w; }
  int64_t pooled() const { return conv.n * out_h() * out_w() * conv.cout; }
};
inline constexpr uint8_t kDead = 255;

// The filters of one network's block, and where its output goes.
struct BlockFilters {
  const float* w;     // (kh,kw,cin,cout)
  const float* bias;  // (cout), or null
  float* y;           // (n, out_h, out_w, cout)
  int64_t cout;
};
inline constexpr size_t kMostNetworks = 8;  // that are computed together, or vote

// Batch norm over the rows of a (rows, channels) array: images by pixels, or vectors.
struct BatchNorm {
  int64_t rows, channels;
  float epsilon;
  Activation activation = Activation::none;  // none or relu
};

enum class Norm : uint8_t { linf, l2, l1 };

// One step of a gradient attack on `rows` images of `cols` pixels: step, project, clip to the box.
struct AttackStep {
  Norm norm = Norm::linf;
  int64_t rows = 0, cols = 0;
  float direction = 1.0f;  // +1 climbs the loss, -1 descends (targeted)
  float low = 0.0f, high = 1.0f;
};

// What one row holds. NaNs are counted and left out of the norms.
struct RowStats {
  float linf = 0, l2 = 0, l1 = 0;
  float nans = 0;
};

enum class Distribution : uint8_t {
  uniform,  // [0, 1): 24 bits of word i % 4 of Philox group i / 4
  normal,   // Box-Muller in double over words (2j, 2j+1) -> elements 2j (cos) and 2j+1 (sin)
};

struct ParameterUpdate {
  float* weight;
  const float* gradient;
  float* state1;  // momentum, first moment or sum of squares
  float* state2;  // Adam's second moment
  int64_t count;
};

struct Sgd {
  float momentum = 0, weight_decay = 0;
  bool nesterov = false;
};
struct Adam {
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 0;
};
struct RmsProp {
  float decay = 0.99f, epsilon = 1e-8f, weight_decay = 0;
};
struct Adagrad {
  float epsilon = 1e-10f, weight_decay = 0;
};
// What changes from one update to the next. It lies in device memory, so that a captured update (see
// capture()) can be run again with another.
struct Pace {
  float rate;             // adam in update t = 1, 2, ...: rate / (1 - beta1^t)
  float root_second = 1;  // adam: 1 / sqrt(1 - beta2^t)
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;         // "cpu"
  virtual std::string description() const = 0;  // device, instruction set, threads: for people

  // Memory. Blocks are aligned to 64 bytes and not initialised.
  virtual void* allocate(size_t bytes) = 0;
  virtual void deallocate(void* block, size_t bytes) noexcept = 0;
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;

  // Runs body(0) ... body(count - 1), perhaps at once, each on its own worker; ops inside one body run on
  // that worker alone. This is how independent chunks of images go depth first through a network.
  virtual void for_each(int64_t count, const std::function<void(int64_t)>& body) = 0;

  // The ops that `body` issues, to be run any number of times on the same memory: a graph on a GPU; a CPU
  // keeps the body and calls it again. capture() itself runs none of them. What they upload has the values of
  // the capture; they may not download. Memory that they allocate is theirs while the Replay lives.
  virtual std::unique_ptr<Replay> capture(std::function<void()> body) = 0;

  // How many images of `floats` activations each go best through a network of `weights` together: those that stay in
  // a core's cache, but enough to be worth the reading of its weights; or those that fill a GPU. At least 1; results do
  // not depend on it.
  virtual int64_t chunk(int64_t floats, int64_t weights) const = 0;

  // Whether conv_block is to be taken where it fits. False where a library was asked for convolutions.
  virtual bool fuses_convolutions() const = 0;

  // y = value everywhere.
  virtual void fill(float value, float* y, int64_t count) = 0;
  // y[i] = op(x[i]); y may be x.
  virtual void unary(Unary op, const float* x, float* y, int64_t count) = 0;
  // y = op(a, b) over `dims`, each input read with its own strides.
  virtual void binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) = 0;
  // y[r] = a[r] where mask[r] is not 0 (a NaN is not), else b[r], for rows of `cols` numbers. The row that is
  // not chosen has no part in y, whatever it holds.
  virtual void where(int64_t rows, int64_t cols, const float* mask, const float* a, const float* b,
                     float* y) = 0;
  // y = sum of x over the axes whose bit is set in `axes`; y has the remaining axes in order.
  virtual void sum(const Dims& dims, uint32_t axes, const float* x, float* y) = 0;
  // y[i_perm0, i_perm1, ...] = x: axis k of y is axis perm[k] of x.
  virtual void permute(const Dims& dims, const int* perm, const float* x, float* y) = 0;

  // c (m,n) = epilogue(op(a) op(b)); a is (m,k), or (k,m) when trans_a; b is (k,n), or (n,k) when trans_b.
  virtual void matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a,
                      const float* b, float* c, const Epilogue& epilogue) = 0;
  // The plain product of each of `batch` pairs of matrices, which lie one behind the other in a, b and c.
  virtual void batch_matmul(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                            const float* a, const float* b, float* c) = 0;

  // Convolution, then its epilogue, and its two adjoints: without the epilogue each is bilinear and they are one
  // another's derivatives.
  virtual void conv2d(const Conv2d& shape, const float* x, const float* w, float* y,
                      const ConvEpilogue& epilogue) = 0;
  virtual void conv2d_dinput(const Conv2d& shape, const float* g, const float* w, float* dx) = 0;
  virtual void conv2d_dweight(const Conv2d& shape, const float* x, const float* g, float* dw) = 0;

  // Max-pool. `index` is the position h*W + w of the first maximum of the window in scan order (NaN counts as
  // larger than any number, so that it is seen). Scatter adds g to those positions of dx; gather reads them.
  virtual void maxpool(const Pool2d& shape, const float* x, float* y, int32_t* index) = 0;
  virtual void maxpool_scatter(const Pool2d& shape, const float* g, const int32_t* index, float* dx) = 0;
  virtual void maxpool_gather(const Pool2d& shape, const float* x, const int32_t* index, float* y) = 0;
  // The element of each window that has `rank` others before it (0: the smallest; (kh kw - 1) / 2: the median), and its
  // position; equal values stand in scan order. A window with a NaN gives its first NaN. maxpool's scatter and gather go
  // with it.
  virtual void rankpool(const Pool2d& shape, int64_t rank, const float* x, float* y, int32_t* index) = 0;
  virtual void avgpool(const Pool2d& shape, const float* x, float* y) = 0;
  virtual void avgpool_adjoint(const Pool2d& shape, const float* g, float* dx) = 0;

  // The fused block. bias may be null; winner and slope may be null when no backward pass will follow.
  virtual void conv_block(const ConvBlock& block, const float* x, const float* w, const float* bias, float* y,
                          uint8_t* winner, float* slope) = 0;
  // conv_block's y for each of several networks that see the same images, which are read once. `block` holds
  // for all of them; its conv.cout is the sum of theirs. At most kMostNetworks.
  virtual void conv_blocks(const ConvBlock& block, const float* x,
                           std::span<const BlockFilters> networks) = 0;
  virtual void conv_block_dinput(const ConvBlock& block, const float* g, const uint8_t* winner,
                                 const float* slope, const float* w, float* dx) = 0;
  // dbias may be null.
  virtual void conv_block_dweight(const ConvBlock& block, const float* x, const float* g,
                                  const uint8_t* winner, const float* slope, float* dw, float* dbias) = 0;

  // mean and variance (biased) of each channel over all rows, and y = activation((x - mean) / sqrt(variance + epsilon)
  // * weight + bias + residual); residual (rows, channels) may be null. Here a row of y depends on all rows of x. A
  // channel with a NaN or an infinity has NaN for its moments and its y; one row has variance 0; no rows have moments
  // that are NaN.
  virtual void batch_norm(const BatchNorm& shape, const float* x, const float* weight, const float* bias,
                          const float* residual, float* y, float* mean, float* variance) = 0;
  // The gradient of that y, given its moments. Under relu, g counts as 0 where y is not above 0; else y may be null.
  // With d = x - mean and s = 1 / sqrt(variance + epsilon), for each channel: dbias = sum of g; dweight = s * sum of
  // g d; dx = weight s (g - dbias / rows - d s dweight / rows); dresidual = g. Each of them may be null.
  virtual void batch_norm_backward(const BatchNorm& shape, const float* x, const float* mean,
                                   const float* variance, const float* weight, const float* y, const float* g,
                                   float* dx, float* dweight, float* dbias, float* dresidual) = 0;

  // Rows of `cols` logits; of a row with a NaN all results are NaN.
  virtual void softmax(int64_t rows, int64_t cols, const float* x, float* y) = 0;
  virtual void log_softmax(int64_t rows, int64_t cols, const float* x, float* y) = 0;
  // loss[r] = -log softmax(z[r])[label[r]]
  virtual void cross_entropy(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                             float* loss) = 0;
  // The gradient of that loss: p_k, and for the label -sum_{k != label} p_k (`stable`), which keeps its
  // digits when p_label is close to 1, or p_label - 1 (as PyTorch computes it).
  virtual void cross_entropy_backward(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                                      bool stable, float* dz) = 0;
  // index[r] = position of the first maximum of row r: of its first NaN, if it has one.
  virtual void argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) = 0;
  // The majority vote of networks, of which each has logits (rows, cols) and votes for argmax. Of classes with
  // equally many votes the one with the largest sum of softmax over the networks wins (in double, networks in
  // order), of those equal the lowest. `logits` is a host array of 1 to kMostNetworks device arrays.
  virtual void vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) = 0;
  // y[r,k] = 1 where k == index[r], else 0.
  virtual void one_hot(int64_t rows, int64_t cols, const int32_t* index, float* y) = 0;

  // Row r of y is drawn from Philox stream streams[r] of `seed` (a host array).
  virtual void random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
                      float* y) = 0;

  // y[r] = set[rows[r]] / 255 for images of `cols` 8-bit pixels resident on the device; rows is a host array.
  virtual void gather_images(const uint8_t* set, std::span<const int64_t> rows, int64_t cols, float* y) = 0;

  // y = clip_box(project(x + step_size * direction * d(g))) row by row; eps and step_size are host arrays, one per row.
  //   linf  d = sign(g);               projection: clip to origin +- eps
  //   l2    d = g / |g|_2 (fp64 norm);   projection: onto the ball of radius eps around origin
  //   l1    d = sign(g) on the coordinates that tie for max |g|, shared evenly (steepest ascent under L1);
  //         no projection: for single steps of at most eps
  // A zero gradient moves nothing, nor does under l2 one that is not finite. y may be x.
  virtual void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                           const float* eps, const float* step_size, float* y) = 0;
  // stats[r] of row r, on the host.
  virtual void row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) = 0;

  // Optimiser updates of all parameters of a model; weight and states change in place. With
  // g' = g + weight_decay w:
  //   sgd      v = momentum v + g'; w -= rate (nesterov ? g' + momentum v : v)
  //   adam     m = b1 m + (1-b1) g'; v = b2 v + (1-b2) g'^2; w -= rate m / (root_second sqrt(v) + eps)
  //            (Kingma & Ba 2015; their bias corrections are in the Pace)
  //   rmsprop  s = decay s + (1-decay) g'^2; w -= rate g' / (sqrt(s) + eps)
  //   adagrad  s = s + g'^2; w -= rate g' / (sqrt(s) + eps)
  virtual void sgd(std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace) = 0;
  virtual void adam(std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace) = 0;
  virtual void rmsprop(std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace) = 0;
  virtual void adagrad(std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace) = 0;
};

// The CPU backend of this process; it lives until the end of the program.
Backend& cpu_backend();
// Worker threads of the CPU backend: 0 = one per core. Results do not depend on it.
void set_cpu_threads(int threads);
int cpu_threads();

enum class DeviceState : uint8_t { not_built, no_device, ready };
// Whether this program can compute with CUDA here; a program built without it says not_built.
DeviceState cuda_state();

}  // namespace caltrop
