#include "apps/emulate/jobs.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <type_traits>

#include "kernels/backend.h"
#include "kernels/emulation/emulation.h"
#include "kernels/error.h"
#include "kernels/ladder/check.h"
#include "kernels/ladder/lab.h"

namespace caltrop::emu::ladder {
std::unique_ptr<Lab> make_lab();  // of the instrumented kernels
}

namespace caltrop {
namespace {

// The arrays of one run, filled before the kernel under study starts.
class Bench {
 public:
  Bench(const SizeValues& sizes, uint64_t seed) : backend(emulated_backend()), sizes_(sizes), random_(seed) {}
  ~Bench() {
    for (const Owned& one : owned_) backend.deallocate(one.block, one.bytes);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  int64_t operator[](const char* name) const { return sizes_.at(name); }
  Conv2d conv() const {
    const Bench& b = *this;
    return {b["batch"],  b["height"], b["width"],  b["channels"], b["filters"], b["window"],
            b["window"], b["stride"], b["stride"], b["padding"],  b["padding"]};
  }
  ConvBlock block() const {
    const Bench& b = *this;
    return {{b["batch"], b["height"], b["width"], b["channels"], b["filters"], b["window"], b["window"]},
            Activation::relu,
            b["pool"],
            b["pool"]};
  }
  Pool2d pool() const {
    const Bench& b = *this;
    return {b["batch"],  b["height"], b["width"],  b["channels"],
            b["window"], b["window"], b["stride"], b["stride"]};
  }

  template <typename T>
  T* array(const char* name, const std::vector<T>& values) {
    const size_t bytes = values.size() * sizeof(T);
    void* block = backend.allocate(bytes);
    owned_.push_back({block, bytes});
    arrays.push_back({name, reinterpret_cast<uintptr_t>(block), bytes});
    backend.upload(block, values.data(), bytes);
    return static_cast<T*>(block);
  }
  float* floats(const char* name, int64_t count, float low = -1.0f, float high = 1.0f) {
    std::uniform_real_distribution<float> uniform(low, high);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = uniform(random_);
    return array(name, values);
  }
  int32_t* labels(const char* name, int64_t count, int64_t classes) {
    std::uniform_int_distribution<int32_t> uniform(0,
                                                   static_cast<int32_t>(std::max<int64_t>(classes, 1)) - 1);
    std::vector<int32_t> values(static_cast<size_t>(count));
    for (int32_t& value : values) value = uniform(random_);
    return array(name, values);
  }
  std::vector<float> constants(int64_t count, float value) const {
    return std::vector<float>(static_cast<size_t>(count), value);
  }

  Backend& backend;
  std::vector<NamedArray> arrays;

 private:
  struct Owned {
    void* block;
    size_t bytes;
  };
  const SizeValues& sizes_;
  std::mt19937_64 random_;
  std::vector<Owned> owned_;
};

using Job = std::function<void(Bench&)>;

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

// A window that does not fit has no result.
template <typename Shape>
Shape checked(const Shape& s, int64_t padding = 0) {
  if (s.h + 2 * padding < s.kh || s.w + 2 * padding < s.kw) {
    fail("a window of {}x{} is larger than the image of {}x{}", s.kh, s.kw, s.h, s.w);
  }
  return s;
}
ConvBlock checked_block(const ConvBlock& s) {
  checked(s.conv);
  if (s.out_h() < 1 || s.out_w() < 1) fail("a pooling window of {0}x{0} is larger than the image", s.pool_h);
  return s;
}

// Logits, labels and a result with the logits' shape.
void on_logits(Bench& b,
               const std::function<void(int64_t, int64_t, const float*, const int32_t*, float*)>& op) {
  const int64_t rows = b["rows"], cols = b["cols"];
  const float* x = b.floats("x", rows * cols, -4, 4);
  const int32_t* label = b.labels("label", rows, cols);
  op(rows, cols, x, label, b.floats("y", rows * cols));
}

// conv_block and its outputs, from which the gradients start.
struct BlockArrays {
  ConvBlock s;
  float *x, *w, *bias, *y, *slope;
  uint8_t* winner;
};
BlockArrays block_arrays(Bench& b) {
  const ConvBlock s = checked_block(b.block());
  return {s,
          b.floats("x", x_count(s.conv), 0, 1),
          b.floats("w", w_count(s.conv)),
          b.floats("bias", s.conv.cout),
          b.floats("y", s.pooled()),
          b.floats("slope", s.pooled()),
          b.array("winner", std::vector<uint8_t>(static_cast<size_t>(s.pooled())))};
}

void update(Bench& b, const std::function<void(const ParameterUpdate&, const Pace*)>& op) {
  const int64_t count = b["count"];
  float* w = b.floats("weight", count);
  const float* g = b.floats("gradient", count);
  const Pace* pace = b.array("pace", std::vector<Pace>{{0.01f, 1.0f}});
  op({w, g, b.floats("state1", count, 0, 1), b.floats("state2", count, 0, 1), count}, pace);
}

// Positions that maxpool found, for its gradient: of the first element of each window.
std::vector<int32_t> window_corners(const Pool2d& s) {
  std::vector<int32_t> corners;
  for (int64_t i = 0; i < y_count(s); ++i) {
    const int64_t column = i / s.c % s.out_w(), row = i / s.c / s.out_w() % s.out_h();
    corners.push_back(static_cast<int32_t>(row * s.stride_h * s.w + column * s.stride_w));
  }
  return corners;
}

std::vector<int64_t> rows_from_the_end(int64_t rows) {
  std::vector<int64_t> list;
  for (int64_t i = rows; i-- > 0;) list.push_back(i);
  return list;
}

// One version of a ladder. Its laboratory owns the arrays, so they have no names here.
void run_ladder(const LadderProblem& problem, int64_t version) {
  const std::unique_ptr<Lab> lab = emu::ladder::make_lab();
  const auto steps = static_cast<int64_t>(lab->steps(problem.ladder).size());
  if (version > steps) fail("this ladder has versions 1 to {}, got {}", steps, version);
  lab->run(problem, static_cast<int>(version), ladder_operands(problem, 1), 0);
}

const std::map<std::string, Job>& jobs() {
  static const std::map<std::string, Job> all = {
      {"fill",
       [](Bench& b) {
         b.backend.fill(1.0f, b.floats("y", b["count"]), b["count"]);
       }},
      {"unary",
       [](Bench& b) {
         const float* x = b.floats("x", b["count"]);
         b.backend.unary(Unary::gelu, x, b.floats("y", b["count"]), b["count"]);
       }},
      {"binary",
       [](Bench& b) {
         const int64_t rows = b["rows"], cols = b["cols"];
         const float *a = b.floats("a", rows * cols), *row = b.floats("b", cols);
         b.backend.binary(Binary::add, {2, {rows, cols}}, {a, {cols, 1}}, {row, {0, 1}},
                          b.floats("y", rows * cols));
       }},
      {"sum",
       [](Bench& b) {
         const float* x = b.floats("x", b["rows"] * b["cols"]);
         b.backend.sum({2, {b["rows"], b["cols"]}}, 1, x, b.floats("y", b["cols"]));
       }},
      {"sum-columns",
       [](Bench& b) {
         const float* x = b.floats("x", b["rows"] * b["cols"]);
         b.backend.sum({2, {b["rows"], b["cols"]}}, 2, x, b.floats("y", b["rows"]));
       }},
      {"permute",
       [](Bench& b) {
         const int perm[] = {1, 0};
         const float* x = b.floats("x", b["rows"] * b["cols"]);
         b.backend.permute({2, {b["rows"], b["cols"]}}, perm, x, b.floats("y", b["rows"] * b["cols"]));
       }},
      {"matmul",
       [](Bench& b) {
         const int64_t m = b["m"], n = b["n"], k = b["k"];
         const float *left = b.floats("a", m * k), *right = b.floats("b", k * n);
         b.backend.matmul(false, false, m, n, k, left, right, b.floats("c", m * n), {});
       }},
      {"conv2d",
       [](Bench& b) {
         const Conv2d s = checked(b.conv(), b["padding"]);
         const float *x = b.floats("x", x_count(s)), *w = b.floats("w", w_count(s));
         b.backend.conv2d(s, x, w, b.floats("y", y_count(s)));
       }},
      {"conv2d_dinput",
       [](Bench& b) {
         const Conv2d s = checked(b.conv(), b["padding"]);
         const float *g = b.floats("g", y_count(s)), *w = b.floats("w", w_count(s));
         b.backend.conv2d_dinput(s, g, w, b.floats("dx", x_count(s)));
       }},
      {"conv2d_dweight",
       [](Bench& b) {
         const Conv2d s = checked(b.conv(), b["padding"]);
         const float *x = b.floats("x", x_count(s)), *g = b.floats("g", y_count(s));
         b.backend.conv2d_dweight(s, x, g, b.floats("dw", w_count(s)));
       }},
      {"maxpool",
       [](Bench& b) {
         const Pool2d s = checked(b.pool());
         const float* x = b.floats("x", x_count(s));
         float* y = b.floats("y", y_count(s));
         b.backend.maxpool(s, x, y, b.labels("index", y_count(s), 1));
       }},
      {"maxpool_scatter",
       [](Bench& b) {
         const Pool2d s = checked(b.pool());
         const float* g = b.floats("g", y_count(s));
         const int32_t* index = b.array("index", window_corners(s));
         b.backend.maxpool_scatter(s, g, index, b.floats("dx", x_count(s)));
       }},
      {"maxpool_gather",
       [](Bench& b) {
         const Pool2d s = checked(b.pool());
         const float* x = b.floats("x", x_count(s));
         const int32_t* index = b.array("index", window_corners(s));
         b.backend.maxpool_gather(s, x, index, b.floats("y", y_count(s)));
       }},
      {"avgpool",
       [](Bench& b) {
         const Pool2d s = checked(b.pool());
         const float* x = b.floats("x", x_count(s));
         b.backend.avgpool(s, x, b.floats("y", y_count(s)));
       }},
      {"avgpool_adjoint",
       [](Bench& b) {
         const Pool2d s = checked(b.pool());
         const float* g = b.floats("g", y_count(s));
         b.backend.avgpool_adjoint(s, g, b.floats("dx", x_count(s)));
       }},
      {"conv_block",
       [](Bench& b) {
         const BlockArrays a = block_arrays(b);
         b.backend.conv_block(a.s, a.x, a.w, a.bias, a.y, a.winner, a.slope);
       }},
      {"conv_block_dinput",
       [](Bench& b) {
         const BlockArrays a = block_arrays(b);
         b.backend.conv_block_dinput(a.s, a.y, a.winner, a.slope, a.w, b.floats("dx", x_count(a.s.conv)));
       }},
      {"conv_block_dweight",
       [](Bench& b) {
         const BlockArrays a = block_arrays(b);
         b.backend.conv_block_dweight(a.s, a.x, a.y, a.winner, a.slope, b.floats("dw", w_count(a.s.conv)),
                                      b.floats("dbias", a.s.conv.cout));
       }},
      {"softmax",
       [](Bench& b) {
         on_logits(b, [&](int64_t rows, int64_t cols, const float* x, const int32_t*, float* y) {
           b.backend.softmax(rows, cols, x, y);
         });
       }},
      {"log_softmax",
       [](Bench& b) {
         on_logits(b, [&](int64_t rows, int64_t cols, const float* x, const int32_t*, float* y) {
           b.backend.log_softmax(rows, cols, x, y);
         });
       }},
      {"cross_entropy",
       [](Bench& b) {
         on_logits(b, [&](int64_t rows, int64_t cols, const float* x, const int32_t* label, float* y) {
           b.backend.cross_entropy(rows, cols, x, label, y);
         });
       }},
      {"cross_entropy_seed",
       [](Bench& b) {
         on_logits(b, [&](int64_t rows, int64_t cols, const float* x, const int32_t* label, float* y) {
           b.backend.cross_entropy_seed(rows, cols, x, label, true, y);
         });
       }},
      {"argmax",
       [](Bench& b) {
         on_logits(b, [&](int64_t rows, int64_t cols, const float* x, const int32_t*, float*) {
           b.backend.argmax(rows, cols, x, b.labels("index", rows, 1));
         });
       }},
      {"one_hot",
       [](Bench& b) {
         on_logits(b, [&](int64_t rows, int64_t cols, const float*, const int32_t* label, float* y) {
           b.backend.one_hot(rows, cols, label, y);
         });
       }},
      {"random",
       [](Bench& b) {
         std::vector<uint64_t> streams;
         for (int64_t i = 0; i < b["rows"]; ++i) streams.push_back(static_cast<uint64_t>(i));
         b.backend.random(Distribution::normal, 1, streams, b["cols"], b.floats("y", b["rows"] * b["cols"]));
       }},
      {"gather_images",
       [](Bench& b) {
         const int64_t rows = b["rows"], cols = b["cols"];
         const uint8_t* set = b.array("set", std::vector<uint8_t>(static_cast<size_t>(rows * cols), 128));
         b.backend.gather_images(set, rows_from_the_end(rows), cols, b.floats("y", rows * cols));
       }},
      {"attack_step",
       [](Bench& b) {
         const int64_t rows = b["rows"], cols = b["cols"];
         const float *x = b.floats("x", rows * cols, 0, 1), *origin = b.floats("origin", rows * cols, 0, 1);
         const float* g = b.floats("g", rows * cols);
         const std::vector<float> eps = b.constants(rows, 0.5f), size = b.constants(rows, 0.1f);
         b.backend.attack_step({.norm = Norm::l2, .rows = rows, .cols = cols}, x, origin, g, eps.data(),
                               size.data(), b.floats("y", rows * cols));
       }},
      {"row_stats",
       [](Bench& b) {
         std::vector<RowStats> stats(static_cast<size_t>(b["rows"]));
         b.backend.row_stats(b["rows"], b["cols"], b.floats("x", b["rows"] * b["cols"]), stats.data());
       }},
      {"sgd",
       [](Bench& b) {
         update(b, [&](const ParameterUpdate& u, const Pace* pace) {
           b.backend.sgd({&u, 1}, {.momentum = 0.9f}, pace);
         });
       }},
      {"adam",
       [](Bench& b) {
         update(b, [&](const ParameterUpdate& u, const Pace* pace) { b.backend.adam({&u, 1}, {}, pace); });
       }},
      {"rmsprop",
       [](Bench& b) {
         update(b, [&](const ParameterUpdate& u, const Pace* pace) { b.backend.rmsprop({&u, 1}, {}, pace); });
       }},
      {"adagrad",
       [](Bench& b) {
         update(b, [&](const ParameterUpdate& u, const Pace* pace) { b.backend.adagrad({&u, 1}, {}, pace); });
       }},
      {"ladder-matmul",
       [](Bench& b) {
         run_ladder({.ladder = Ladder::matmul, .m = b["m"], .n = b["n"], .k = b["k"]}, b["version"]);
       }},
      {"ladder-conv2d",
       [](Bench& b) {
         LadderProblem problem{.ladder = Ladder::conv2d};
         problem.conv = {b["batch"],   b["height"], b["width"], b["channels"],
                         b["filters"], b["window"], b["window"]};
         checked(problem.conv);
         run_ladder(problem, b["version"]);
       }},
      {"ladder-softmax",
       [](Bench& b) {
         run_ladder({.ladder = Ladder::softmax, .m = b["rows"], .n = b["cols"]}, b["version"]);
       }},
  };
  return all;
}

}  // namespace

std::vector<NamedArray> run_emulated(const std::string& kernel, const SizeValues& sizes, uint64_t seed) {
  Bench bench(sizes, seed);
  jobs().at(kernel)(bench);
  // Work runs when somebody waits for it.
  char byte = 0;
  for (const NamedArray& array : bench.arrays) {
    if (array.bytes > 0) {
      bench.backend.download(&byte, reinterpret_cast<const void*>(array.address), 1);
      break;
    }
  }
  return bench.arrays;
}

}  // namespace caltrop
