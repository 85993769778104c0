#include "kernels/emulation/tool/kernels.h"

#include <algorithm>
#include <numeric>

#include "kernels/error.h"

namespace caltrop {

Bench::~Bench() {
  for (const NamedArray& one : arrays) backend.deallocate(reinterpret_cast<void*>(one.address), one.bytes);
}

void* Bench::upload(const char* name, const void* values, size_t bytes) {
  void* block = backend.allocate(bytes);
  arrays.push_back({name, reinterpret_cast<uintptr_t>(block), bytes});
  backend.upload(block, values, bytes);
  return block;
}

float* Bench::floats(const char* name, int64_t count, float low, float high) {
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(random_);
  return array(name, values);
}

float* Bench::matrix(const char* name, float low, float high) {
  return floats(name, (*this)["rows"] * (*this)["cols"], low, high);
}

int32_t* Bench::labels(const char* name, int64_t count, int64_t classes) {
  std::uniform_int_distribution<int32_t> uniform(0, static_cast<int32_t>(std::max<int64_t>(classes, 1)) - 1);
  std::vector<int32_t> values(static_cast<size_t>(count));
  for (int32_t& value : values) value = uniform(random_);
  return array(name, values);
}

namespace {

// Small enough for a table in a moment, with edges that no tile fits.
constexpr EmulatedSize kCount[] = {{"count", 1000}};
constexpr EmulatedSize kMatrix[] = {{"rows", 70}, {"cols", 50}};
constexpr EmulatedSize kLogits[] = {{"rows", 64}, {"cols", 10}};
constexpr EmulatedSize kImages[] = {{"rows", 8}, {"cols", 784}};
constexpr EmulatedSize kProduct[] = {{"m", 70}, {"n", 50}, {"k", 40}};
constexpr EmulatedSize kConv[] = {{"batch", 2},    {"height", 14}, {"width", 14}, {"channels", 8},
                                  {"filters", 16}, {"window", 3},  {"stride", 1}, {"padding", 1}};
constexpr EmulatedSize kBlock[] = {{"batch", 2},    {"height", 28}, {"width", 28}, {"channels", 1},
                                   {"filters", 32}, {"window", 3},  {"pool", 2}};
constexpr EmulatedSize kPool[] = {{"batch", 2},    {"height", 14}, {"width", 14},
                                  {"channels", 8}, {"window", 2},  {"stride", 2}};
// A version of a teaching ladder beside the sizes.
constexpr EmulatedSize kLadderMatmul[] = {{"version", 3}, {"m", 70}, {"n", 50}, {"k", 40}};
constexpr EmulatedSize kLadderConv[] = {{"version", 3},  {"batch", 2},    {"height", 14}, {"width", 14},
                                        {"channels", 8}, {"filters", 16}, {"window", 3}};
constexpr EmulatedSize kLadderSoftmax[] = {{"version", 3}, {"rows", 16}, {"cols", 300}};

// A window that does not fit has no result.
template <typename Shape>
Shape checked(const Shape& s, int64_t padding = 0) {
  if (s.h + 2 * padding < s.kh || s.w + 2 * padding < s.kw) {
    fail("a window of {}x{} is larger than the image of {}x{}", s.kh, s.kw, s.h, s.w);
  }
  return s;
}

struct Conv : Conv2d {
  explicit Conv(const Bench& b)
      : Conv2d(checked(Conv2d{b["batch"], b["height"], b["width"], b["channels"], b["filters"], b["window"],
                              b["window"], b["stride"], b["stride"], b["padding"], b["padding"]},
                       b["padding"])) {}
};
struct Pool : Pool2d {
  explicit Pool(const Bench& b)
      : Pool2d(checked(Pool2d{b["batch"], b["height"], b["width"], b["channels"], b["window"], b["window"],
                              b["stride"], b["stride"]})) {}
};

int64_t x_count(const Conv2d& s) {
  return s.n * s.h * s.w * s.cin;
}
int64_t w_count(const Conv2d& s) {
  return s.kh * s.kw * s.cin * s.cout;
}
int64_t y_count(const Conv2d& s) {
  return s.n * s.out_h() * s.out_w() * s.cout;
}
int64_t x_count(const Pool2d& s) {
  return s.n * s.h * s.w * s.c;
}
int64_t y_count(const Pool2d& s) {
  return s.n * s.out_h() * s.out_w() * s.c;
}

// The arrays of conv_block; `y` stands for the gradient where that is asked for.
struct Block {
  ConvBlock s;
  float *x, *w, *bias, *y, *slope;
  uint8_t* winner;
  explicit Block(Bench& b)
      : s{checked(Conv2d{b["batch"], b["height"], b["width"], b["channels"], b["filters"], b["window"],
                         b["window"]}),
          Activation::relu, b["pool"], b["pool"]} {
    if (s.out_h() < 1 || s.out_w() < 1)
      fail("a pooling window of {0}x{0} is larger than the image", s.pool_h);
    x = b.floats("x", x_count(s.conv), 0, 1);
    w = b.floats("w", w_count(s.conv));
    bias = b.floats("bias", s.conv.cout);
    y = b.floats("y", s.pooled());
    slope = b.floats("slope", s.pooled());
    winner = b.array("winner", std::vector<uint8_t>(static_cast<size_t>(s.pooled())));
  }
};

// Positions that maxpool found, for its gradient: of the first element of each window.
const int32_t* corners(Bench& b, const Pool2d& s) {
  std::vector<int32_t> corners;
  for (int64_t i = 0; i < y_count(s); ++i) {
    const int64_t column = i / s.c % s.out_w(), row = i / s.c / s.out_w() % s.out_h();
    corners.push_back(static_cast<int32_t>(row * s.stride_h * s.w + column * s.stride_w));
  }
  return b.array("index", corners);
}

template <typename Rule>
void update(Bench& b, void (Backend::*op)(std::span<const ParameterUpdate>, const Rule&, const Pace*),
            const Rule& rule = {}) {
  const int64_t count = b["count"];
  const ParameterUpdate one{b.floats("weight", count), b.floats("gradient", count),
                            b.floats("state1", count, 0, 1), b.floats("state2", count, 0, 1), count};
  (b.backend.*op)({&one, 1}, rule, b.array("pace", std::vector<Pace>{{0.01f, 1.0f}}));
}

const EmulatedKernel kKernels[] = {
    {"fill", "a constant", kCount,
     [](Bench& b) {
       b.backend.fill(1.0f, b.floats("y", b["count"]), b["count"]);
     }},
    {"unary", "gelu", kCount,
     [](Bench& b) {
       b.backend.unary(Unary::gelu, b.floats("x", b["count"]), b.floats("y", b["count"]), b["count"]);
     }},
    {"binary", "a row added to every row of a matrix", kMatrix,
     [](Bench& b) {
       const int64_t rows = b["rows"], cols = b["cols"];
       b.backend.binary(Binary::add, {2, {rows, cols}}, {b.matrix("a"), {cols, 1}},
                        {b.floats("b", cols), {0, 1}}, b.matrix("y"));
     }},
    {"sum", "the sum over the rows of a matrix", kMatrix,
     [](Bench& b) {
       b.backend.sum({2, {b["rows"], b["cols"]}}, 1, b.matrix("x"), b.floats("y", b["cols"]));
     }},
    {"sum-columns", "the sum over the columns of a matrix", kMatrix,
     [](Bench& b) {
       b.backend.sum({2, {b["rows"], b["cols"]}}, 2, b.matrix("x"), b.floats("y", b["rows"]));
     }},
    {"permute", "the transpose of a matrix", kMatrix,
     [](Bench& b) {
       const int perm[] = {1, 0};
       b.backend.permute({2, {b["rows"], b["cols"]}}, perm, b.matrix("x"), b.matrix("y"));
     }},
    {"matmul", "(m,k) times (k,n)", kProduct,
     [](Bench& b) {
       const int64_t m = b["m"], n = b["n"], k = b["k"];
       b.backend.matmul(false, false, m, n, k, b.floats("a", m * k), b.floats("b", k * n),
                        b.floats("c", m * n), {});
     }},
    {"batch_matmul", "the products of 3 pairs, (m,k) times (k,n)", kProduct,
     [](Bench& b) {
       const int64_t m = b["m"], n = b["n"], k = b["k"], pairs = 3;
       b.backend.batch_matmul(false, false, pairs, m, n, k, b.floats("a", pairs * m * k),
                              b.floats("b", pairs * k * n), b.floats("c", pairs * m * n));
     }},
    {"conv2d", "convolution", kConv,
     [](Bench& b) {
       const Conv s(b);
       b.backend.conv2d(s, b.floats("x", x_count(s)), b.floats("w", w_count(s)), b.floats("y", y_count(s)),
                        {});
     }},
    {"conv2d_dinput", "its gradient by the images", kConv,
     [](Bench& b) {
       const Conv s(b);
       b.backend.conv2d_dinput(s, b.floats("g", y_count(s)), b.floats("w", w_count(s)),
                               b.floats("dx", x_count(s)));
     }},
    {"conv2d_dweight", "its gradient by the filters", kConv,
     [](Bench& b) {
       const Conv s(b);
       b.backend.conv2d_dweight(s, b.floats("x", x_count(s)), b.floats("g", y_count(s)),
                                b.floats("dw", w_count(s)));
     }},
    {"maxpool", "max-pooling", kPool,
     [](Bench& b) {
       const Pool s(b);
       b.backend.maxpool(s, b.floats("x", x_count(s)), b.floats("y", y_count(s)),
                         b.labels("index", y_count(s), 1));
     }},
    {"maxpool_scatter", "its gradient", kPool,
     [](Bench& b) {
       const Pool s(b);
       b.backend.maxpool_scatter(s, b.floats("g", y_count(s)), corners(b, s), b.floats("dx", x_count(s)));
     }},
    {"maxpool_gather", "the derivative of that", kPool,
     [](Bench& b) {
       const Pool s(b);
       b.backend.maxpool_gather(s, b.floats("x", x_count(s)), corners(b, s), b.floats("y", y_count(s)));
     }},
    {"rankpool", "rank pooling: the median of each window", kPool,
     [](Bench& b) {
       const Pool s(b);
       b.backend.rankpool(s, (s.kh * s.kw - 1) / 2, b.floats("x", x_count(s)), b.floats("y", y_count(s)),
                          b.labels("index", y_count(s), 1));
     }},
    {"avgpool", "average pooling", kPool,
     [](Bench& b) {
       const Pool s(b);
       b.backend.avgpool(s, b.floats("x", x_count(s)), b.floats("y", y_count(s)));
     }},
    {"avgpool_adjoint", "its gradient", kPool,
     [](Bench& b) {
       const Pool s(b);
       b.backend.avgpool_adjoint(s, b.floats("g", y_count(s)), b.floats("dx", x_count(s)));
     }},
    {"conv_block", "convolution, bias, relu and max-pool in one", kBlock,
     [](Bench& b) {
       const Block a(b);
       b.backend.conv_block(a.s, a.x, a.w, a.bias, a.y, a.winner, a.slope);
     }},
    {"conv_block_dinput", "its gradient by the images", kBlock,
     [](Bench& b) {
       const Block a(b);
       b.backend.conv_block_dinput(a.s, a.y, a.winner, a.slope, a.w, b.floats("dx", x_count(a.s.conv)));
     }},
    {"conv_block_dweight", "its gradient by the filters", kBlock,
     [](Bench& b) {
       const Block a(b);
       b.backend.conv_block_dweight(a.s, a.x, a.y, a.winner, a.slope, b.floats("dw", w_count(a.s.conv)),
                                    b.floats("dbias", a.s.conv.cout));
     }},
    {"batch_norm", "moments over the rows of a matrix, and its normalised values", kMatrix,
     [](Bench& b) {
       const int64_t cols = b["cols"];
       b.backend.batch_norm({b["rows"], cols, 1e-5f}, b.matrix("x"), b.floats("weight", cols),
                            b.floats("bias", cols), nullptr, b.matrix("y"), b.floats("mean", cols),
                            b.floats("variance", cols));
     }},
    {"batch_norm_backward", "its gradient", kMatrix,
     [](Bench& b) {
       const int64_t cols = b["cols"];
       b.backend.batch_norm_backward({b["rows"], cols, 1e-5f}, b.matrix("x"), b.floats("mean", cols),
                                     b.floats("variance", cols, 0, 1), b.floats("weight", cols), nullptr,
                                     b.matrix("g"), b.matrix("dx"), b.floats("dweight", cols),
                                     b.floats("dbias", cols), nullptr);
     }},
    {"softmax", "softmax of rows of logits", kLogits,
     [](Bench& b) {
       b.backend.softmax(b["rows"], b["cols"], b.matrix("x", -4, 4), b.matrix("y"));
     }},
    {"log_softmax", "its logarithm", kLogits,
     [](Bench& b) {
       b.backend.log_softmax(b["rows"], b["cols"], b.matrix("x", -4, 4), b.matrix("y"));
     }},
    {"cross_entropy", "the loss of each row", kLogits,
     [](Bench& b) {
       const int64_t rows = b["rows"], cols = b["cols"];
       b.backend.cross_entropy(rows, cols, b.matrix("x", -4, 4), b.labels("label", rows, cols),
                               b.matrix("y"));
     }},
    {"cross_entropy_backward", "its gradient", kLogits,
     [](Bench& b) {
       const int64_t rows = b["rows"], cols = b["cols"];
       b.backend.cross_entropy_backward(rows, cols, b.matrix("x", -4, 4), b.labels("label", rows, cols), true,
                                        b.matrix("y"));
     }},
    {"argmax", "the place of each row's maximum", kLogits,
     [](Bench& b) {
       b.backend.argmax(b["rows"], b["cols"], b.matrix("x", -4, 4), b.labels("index", b["rows"], 1));
     }},
    {"one_hot", "rows of 0 with one 1", kLogits,
     [](Bench& b) {
       const int64_t rows = b["rows"], cols = b["cols"];
       b.backend.one_hot(rows, cols, b.labels("label", rows, cols), b.matrix("y"));
     }},
    {"random", "normal random numbers", kImages,
     [](Bench& b) {
       std::vector<uint64_t> streams(static_cast<size_t>(b["rows"]));
       std::iota(streams.begin(), streams.end(), uint64_t{0});
       b.backend.random(Distribution::normal, 1, streams, b["cols"], b.matrix("y"));
     }},
    {"gather_images", "images picked from a data set", kImages,
     [](Bench& b) {
       std::vector<int64_t> from_the_end(static_cast<size_t>(b["rows"]));
       std::iota(from_the_end.rbegin(), from_the_end.rend(), int64_t{0});
       const std::vector<uint8_t> pixels(static_cast<size_t>(b["rows"] * b["cols"]), 128);
       b.backend.gather_images(b.array("set", pixels), from_the_end, b["cols"], b.matrix("y"));
     }},
    {"attack_step", "one L2 step of an attack", kImages,
     [](Bench& b) {
       const auto rows = static_cast<size_t>(b["rows"]);
       const std::vector<float> eps(rows, 0.5f), size(rows, 0.1f);
       b.backend.attack_step({.norm = Norm::l2, .rows = b["rows"], .cols = b["cols"]}, b.matrix("x", 0, 1),
                             b.matrix("origin", 0, 1), b.matrix("g"), eps.data(), size.data(), b.matrix("y"));
     }},
    {"row_stats", "norms of rows", kImages,
     [](Bench& b) {
       std::vector<RowStats> stats(static_cast<size_t>(b["rows"]));
       b.backend.row_stats(b["rows"], b["cols"], b.matrix("x"), stats.data());
     }},
    {"sgd", "an update of the weights", kCount,
     [](Bench& b) {
       update(b, &Backend::sgd, {.momentum = 0.9f});
     }},
    {"adam", "an update of the weights", kCount,
     [](Bench& b) {
       update(b, &Backend::adam);
     }},
    {"rmsprop", "an update of the weights", kCount,
     [](Bench& b) {
       update(b, &Backend::rmsprop);
     }},
    {"adagrad", "an update of the weights", kCount,
     [](Bench& b) {
       update(b, &Backend::adagrad);
     }},
    {"ladder-matmul", "a version of the teaching ladder (docs/kernels.md)", kLadderMatmul,
     [](Bench& b) {
       b.ladder({.ladder = Ladder::matmul, .m = b["m"], .n = b["n"], .k = b["k"]}, b["version"]);
     }},
    {"ladder-conv2d", "a version of the teaching ladder", kLadderConv,
     [](Bench& b) {
       LadderProblem problem{.ladder = Ladder::conv2d};
       problem.conv = checked(Conv2d{b["batch"], b["height"], b["width"], b["channels"], b["filters"],
                                     b["window"], b["window"]});
       b.ladder(problem, b["version"]);
     }},
    {"ladder-softmax", "a version of the teaching ladder", kLadderSoftmax,
     [](Bench& b) {
       b.ladder({.ladder = Ladder::softmax, .m = b["rows"], .n = b["cols"]}, b["version"]);
     }},
};

constexpr SizeHelp kSizes[] = {
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

}  // namespace

std::span<const EmulatedKernel> emulated_kernels() {
  return kKernels;
}

const EmulatedKernel& emulated_kernel(const std::string& name) {
  for (const EmulatedKernel& kernel : kKernels) {
    if (kernel.name == name) return kernel;
  }
  fail("unknown kernel {}", name);
}

std::span<const SizeHelp> emulated_sizes() {
  return kSizes;
}

}  // namespace caltrop
