#include "apps/emulate/kernels.h"

#include "kernels/error.h"

namespace caltrop {
namespace {

using Sizes = std::vector<EmulatedSize>;

// Small enough for a table in a moment, with edges that no tile fits.
const Sizes kCount = {{"count", 1000}};
const Sizes kMatrix = {{"rows", 70}, {"cols", 50}};
const Sizes kLogits = {{"rows", 64}, {"cols", 10}};
const Sizes kImages = {{"rows", 8}, {"cols", 784}};
const Sizes kProduct = {{"m", 70}, {"n", 50}, {"k", 40}};
const Sizes kConv = {{"batch", 2},    {"height", 14}, {"width", 14}, {"channels", 8},
                     {"filters", 16}, {"window", 3},  {"stride", 1}, {"padding", 1}};
const Sizes kBlock = {{"batch", 2},    {"height", 28}, {"width", 28}, {"channels", 1},
                      {"filters", 32}, {"window", 3},  {"pool", 2}};
// A version of a teaching ladder beside the sizes.
const Sizes kLadderMatmul = {{"version", 3}, {"m", 70}, {"n", 50}, {"k", 40}};
const Sizes kLadderConv = {{"version", 3},  {"batch", 2},    {"height", 14}, {"width", 14},
                           {"channels", 8}, {"filters", 16}, {"window", 3}};
const Sizes kLadderSoftmax = {{"version", 3}, {"rows", 16}, {"cols", 300}};
const Sizes kPool = {{"batch", 2},    {"height", 14}, {"width", 14},
                     {"channels", 8}, {"window", 2},  {"stride", 2}};

}  // namespace

const std::vector<EmulatedKernel>& emulated_kernels() {
  static const std::vector<EmulatedKernel> all = {
      {"fill", "a constant", kCount},
      {"unary", "gelu", kCount},
      {"binary", "a row added to every row of a matrix", kMatrix},
      {"sum", "the sum over the rows of a matrix", kMatrix},
      {"sum-columns", "the sum over the columns of a matrix", kMatrix},
      {"permute", "the transpose of a matrix", kMatrix},
      {"matmul", "(m,k) times (k,n)", kProduct},
      {"conv2d", "convolution", kConv},
      {"conv2d_dinput", "its gradient by the images", kConv},
      {"conv2d_dweight", "its gradient by the filters", kConv},
      {"maxpool", "max-pooling", kPool},
      {"maxpool_scatter", "its gradient", kPool},
      {"maxpool_gather", "the derivative of that", kPool},
      {"avgpool", "average pooling", kPool},
      {"avgpool_adjoint", "its gradient", kPool},
      {"conv_block", "convolution, bias, relu and max-pool in one", kBlock},
      {"conv_block_dinput", "its gradient by the images", kBlock},
      {"conv_block_dweight", "its gradient by the filters", kBlock},
      {"softmax", "softmax of rows of logits", kLogits},
      {"log_softmax", "its logarithm", kLogits},
      {"cross_entropy", "the loss of each row", kLogits},
      {"cross_entropy_seed", "its gradient", kLogits},
      {"argmax", "the place of each row's maximum", kLogits},
      {"one_hot", "rows of 0 with one 1", kLogits},
      {"random", "normal random numbers", kImages},
      {"gather_images", "images picked from a data set", kImages},
      {"attack_step", "one L2 step of an attack", kImages},
      {"row_stats", "norms of rows", kImages},
      {"sgd", "an update of the weights", kCount},
      {"adam", "an update of the weights", kCount},
      {"rmsprop", "an update of the weights", kCount},
      {"adagrad", "an update of the weights", kCount},
      {"ladder-matmul", "a version of the teaching ladder (docs/kernels.md)", kLadderMatmul},
      {"ladder-conv2d", "a version of the teaching ladder", kLadderConv},
      {"ladder-softmax", "a version of the teaching ladder", kLadderSoftmax},
  };
  return all;
}

const EmulatedKernel& emulated_kernel(const std::string& name) {
  for (const EmulatedKernel& kernel : emulated_kernels()) {
    if (kernel.name == name) return kernel;
  }
  fail("unknown kernel {}", name);
}

const std::vector<SizeHelp>& emulated_sizes() {
  static const std::vector<SizeHelp> all = {
      {"version", "V", "which version of a ladder, from 1 (naive)", 1},
      {"count", "N", "elements"},
      {"rows", "N", "rows"},
      {"cols", "N", "columns of each row"},
      {"m", "N", "rows of the product"},
      {"n", "N", "columns of the product"},
      {"k", "N", "terms of each sum"},
      {"batch", "N", "images"},
      {"height", "N", "rows of an image"},
      {"width", "N", "columns of an image"},
      {"channels", "N", "channels of an image"},
      {"filters", "N", "channels of the result"},
      {"window", "N", "rows and columns of a filter or of a pooling window", 1},
      {"stride", "N", "pixels from window to window", 1},
      {"padding", "N", "pixels of zeros on each side"},
      {"pool", "N", "rows and columns of a block's pooling window", 1},
  };
  return all;
}

}  // namespace caltrop
