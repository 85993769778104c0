// The public ops: each checks its arguments, runs on the device of its inputs and records its vjp.
// Formulas and tie rules are those of kernels/backend.h. Errors read "[op] expected X, got Y".
#pragma once

#include <vector>

#include "engine/tensor.h"

namespace caltrop {

// Element-wise, with broadcasting as in NumPy (shapes aligned at the last axis, extents equal or 1).
Tensor operator+(const Tensor& a, const Tensor& b);
Tensor operator-(const Tensor& a, const Tensor& b);
Tensor operator*(const Tensor& a, const Tensor& b);
Tensor operator/(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);  // on a tie the gradient goes to a
Tensor greater(const Tensor& a, const Tensor& b);  // 1 or 0; no gradient
Tensor equal(const Tensor& a, const Tensor& b);    // 1 or 0; no gradient
Tensor gate(const Tensor& a, const Tensor& b);     // a where b > 0, else 0; no gradient to b
// a where mask is not 0, else b. What is not chosen may be NaN. No gradient to the mask.
Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b);
Tensor operator+(const Tensor& a, float b);
Tensor operator-(const Tensor& a, float b);
Tensor operator*(const Tensor& a, float b);
Tensor operator/(const Tensor& a, float b);
Tensor operator-(float a, const Tensor& b);

Tensor operator-(const Tensor& x);
Tensor abs(const Tensor& x);   // derivative sign(x), 0 at 0
Tensor sign(const Tensor& x);  // no gradient
Tensor step(const Tensor& x);  // 1 where x > 0; no gradient
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor square(const Tensor& x);
Tensor reciprocal(const Tensor& x);
Tensor relu(const Tensor& x);  // derivative 0 at 0
Tensor leaky_relu(const Tensor& x, float slope);
Tensor clamp(const Tensor& x, float low, float high);  // on a bound the gradient passes; NaN stays
Tensor sigmoid(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor erf(const Tensor& x);
Tensor gelu(const Tensor& x);       // x Phi(x), exact
Tensor gelu_tanh(const Tensor& x);  // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), Hendrycks & Gimpel 2016

// Shape.
Tensor reshape(const Tensor& x, Shape shape);
Tensor permute(const Tensor& x, const std::vector<int>& axes);
Tensor transpose(const Tensor& x);  // of a matrix
Tensor broadcast_to(const Tensor& x, const Shape& shape);
Tensor sum_to(const Tensor& x, const Shape& shape);  // adjoint of broadcast_to

// Reductions over `axes` (negative counts from the end).
Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keep = false);
Tensor sum(const Tensor& x);  // over all axes: shape ()
Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keep = false);
Tensor mean(const Tensor& x);

// a (m,k) b (k,n) -> (m,n), each transposed first where asked.
Tensor matmul(const Tensor& a, const Tensor& b, bool trans_a = false, bool trans_b = false);
// a (batch,m,k) b (batch,k,n) -> (batch,m,n): so many products.
Tensor batch_matmul(const Tensor& a, const Tensor& b, bool trans_a = false, bool trans_b = false);
// x (n,in), w (out,in), bias (out) -> activation(x w^T + bias) (n,out)
Tensor dense(const Tensor& x, const Tensor& w, const Tensor& bias, Activation activation = Activation::none);

struct ConvOptions {
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;
  bool operator==(const ConvOptions&) const = default;
};
// x (n,h,w,cin), w (kh,kw,cin,cout) -> (n,oh,ow,cout). The adjoints take the shape they produce.
Tensor conv2d(const Tensor& x, const Tensor& w, const ConvOptions& options = {});
// activation(conv2d(x, w) + bias + residual) in one pass; bias (cout), residual of the result's shape or absent.
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& options,
              Activation activation = Activation::none, const Tensor& residual = {});
Tensor conv2d_dinput(const Tensor& g, const Tensor& w, const Shape& x_shape, const ConvOptions& options);
Tensor conv2d_dweight(const Tensor& x, const Tensor& g, const Shape& w_shape, const ConvOptions& options);

struct PoolOptions {
  int64_t window_h, window_w, stride_h, stride_w;
};
Tensor maxpool(const Tensor& x, const PoolOptions& options);  // first maximum in scan order wins
// The element of each window with `rank` others before it, from 0; equal values stand in scan order.
Tensor rankpool(const Tensor& x, int64_t rank, const PoolOptions& options);
Tensor avgpool(const Tensor& x, const PoolOptions& options);

// Filters over an image's pixels, channel by channel, of the shape of x (n,h,w,c). Where a window, whose size is odd,
// hangs over the edge the outermost pixels are repeated.
Tensor mean_filter(const Tensor& x, int64_t window);
Tensor median_filter(const Tensor& x, int64_t window);
// Non-local means, embedded Gaussian: y_i = sum over all pixels j of softmax_j((theta x_i)^T (phi x_j) / sqrt(d)) x_j,
// with theta and phi (d,c) (Wang et al. 2018, equation 4; Xie et al. 2019, section 4.1).
Tensor nonlocal_means(const Tensor& x, const Tensor& theta, const Tensor& phi);

struct ConvBlockOptions {
  ConvOptions conv = {};
  Activation activation = Activation::none;
  int64_t pool_h = 1, pool_w = 1;  // max-pool, stride = window
  bool operator==(const ConvBlockOptions&) const = default;
};
// maxpool(activation(conv2d(x, w) + bias)) as one fused op; the composed form is its oracle, and its
// derivative where a graph of the gradient is asked for.
Tensor conv_block(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvBlockOptions& options);
Tensor conv_block_composed(const Tensor& x, const Tensor& w, const Tensor& bias,
                           const ConvBlockOptions& options);
// conv_block for each of several networks that see the same images. Where no gradient is asked for they are
// read once; else this is so many conv_blocks.
struct BlockWeights {
  Tensor w, bias;
};
std::vector<Tensor> conv_blocks(const Tensor& x, const std::vector<BlockWeights>& networks,
                                const ConvBlockOptions& options);

// Batch norm over all axes but the last. mean and variance (biased) have shape (c).
struct BatchMoments {
  Tensor mean, variance;
};
BatchMoments batch_moments(const Tensor& x);
// By given moments: what evaluation does where no convolution takes it along.
Tensor batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& weight,
                  const Tensor& bias, float epsilon);
// By the moments of x, as one fused op: what training does. The gradient flows through y, its dependence on the
// moments included; the moments themselves are values alone. The two functions above are its composed form: its
// oracle, and its derivative where a graph of the gradient is asked for.
struct BatchNormed {
  Tensor y, mean, variance;
};
// A residual (of the shape of x, or absent) is added to y, and relu may follow, in the same passes.
BatchNormed batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                       Activation activation = Activation::none, const Tensor& residual = {});

// Each element kept with probability 1 - p and scaled by 1 / (1 - p); the mask is a function of (seed,
// stream).
Tensor dropout(const Tensor& x, float p, uint64_t seed, uint64_t stream);

// Rows of logits (n,k).
Tensor softmax(const Tensor& z);
Tensor log_softmax(const Tensor& z);
Labels argmax(const Tensor& z);
// The majority vote of networks with logits (n,k) each; ties: kernels/backend.h.
Labels vote(const std::vector<Tensor>& logits);
Tensor one_hot(const Labels& labels, int64_t classes);
Tensor pick(const Tensor& z, const Labels& labels);  // z[r, label[r]] -> (n)
Tensor row_max(const Tensor& z);                     // first maximum -> (n)

// Losses, one value for each row (n): sum or average them as needed.
// `stable` and `torch` are the two gradients of cross-entropy of kernels/backend.h, cross_entropy_backward.
enum class CrossEntropyGrad : uint8_t { stable, torch };
Tensor cross_entropy(const Tensor& z, const Labels& labels,
                     CrossEntropyGrad style = CrossEntropyGrad::stable);
Tensor soft_cross_entropy(const Tensor& z, const Tensor& targets);  // -sum_k t_k log p_k
Tensor kl_divergence(const Tensor& target_logits,
                     const Tensor& z);  // sum_k t_k (log t_k - log p_k), t = softmax(target)
Tensor mean_squared_error(const Tensor& a, const Tensor& b);  // mean over the row
// max_{k != label} z_k - z_label: positive where misclassified (Carlini & Wagner 2017, f_6 without its
// clamp).
Tensor logit_margin(const Tensor& z, const Labels& labels);

}  // namespace caltrop
