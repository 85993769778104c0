// The fused convolution block. Its maxima are compared in two ways: on small integers, where fp32 is exact
// and ties are frequent, winner by winner; on reals, where two candidates may be closer than rounding, the
// winner must be a maximum up to rounding.

#include <algorithm>
#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

std::string text_of(const ConvBlock& b) {
  const Conv2d& s = b.conv;
  constexpr const char* kNames[] = {"none", "relu", "gelu"};
  return fmt::format("n{} {}x{}x{}->{} window {}x{} stride {}x{} pad {}x{} {} pool {}x{}", s.n, s.h, s.w,
                     s.cin, s.cout, s.kh, s.kw, s.stride_h, s.stride_w, s.pad_h, s.pad_w,
                     kNames[static_cast<int>(b.activation)], b.pool_h, b.pool_w);
}

// Every activation with every pool, over convolutions whose patches fall on either side of the limit between
// the two backward paths.
const std::vector<ConvBlock>& blocks() {
  static const std::vector<ConvBlock> all = [] {
    const std::vector<Conv2d> convolutions = {
        {2, 12, 11, 1, 32, 3, 3}, {3, 9, 9, 1, 7, 3, 3, 1, 1, 1, 1},
        {2, 8, 9, 3, 5, 3, 3},    {2, 9, 8, 3, 17, 2, 3, 1, 2, 0, 1},
        {2, 11, 11, 1, 4, 5, 5},  {1, 8, 8, 5, 33, 3, 3, 1, 1, 1, 1},
        {2, 7, 7, 16, 20, 3, 3},  {9, 7, 7, 1, 3, 2, 2, 2, 2, 1, 1},
        {33, 5, 5, 1, 2, 2, 2},   {0, 7, 7, 1, 3, 3, 3},
        {1, 5, 5, 100, 5, 3, 3},  {2, 7, 8, 36, 33, 3, 3, 1, 1, 1, 1},
    };
    const int64_t pools[][2] = {{1, 1}, {2, 2}, {3, 3}, {2, 3}, {1, 2}};
    std::vector<ConvBlock> list;
    for (const Conv2d& conv : convolutions) {
      for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
        for (const auto& pool : pools) {
          const ConvBlock b{conv, activation, pool[0], pool[1]};
          if (b.out_h() > 0 && b.out_w() > 0) list.push_back(b);
        }
      }
    }
    list.push_back({{1, 28, 28, 1, 100, 3, 3}, Activation::relu, 2, 2});
    list.push_back({{1, 14, 14, 64, 32, 3, 3}, Activation::relu, 2, 2});
    list.push_back({{1, 20, 20, 1, 3, 1, 1}, Activation::relu, 15, 16});  // 240 positions
    return list;
  }();
  return all;
}

// Index into the convolution's output of `position` in the window of pooled element `at`.
size_t member(const ConvBlock& b, size_t at, int64_t position) {
  const Conv2d& s = b.conv;
  const auto i = static_cast<int64_t>(at);
  const int64_t o = i % s.cout, ox = i / s.cout % b.out_w(), oy = i / s.cout / b.out_w() % b.out_h();
  const int64_t n = i / s.cout / b.out_w() / b.out_h();
  const int64_t y = oy * b.pool_h + position / b.pool_w, x = ox * b.pool_w + position % b.pool_w;
  return static_cast<size_t>(((n * s.out_h() + y) * s.out_w() + x) * s.cout + o);
}

struct Case {
  std::vector<float> x, w, bias;
  Values z, scale;  // the convolution's outputs with bias, and the magnitudes of their terms
  Case(const ConvBlock& b, std::vector<float> x_, std::vector<float> w_, std::vector<float> bias_)
      : x(std::move(x_)), w(std::move(w_)), bias(std::move(bias_)) {
    const Values wide_x = reference::widen(x), wide_w = reference::widen(w);
    z = reference::conv2d(b.conv, wide_x, wide_w);
    scale = reference::conv2d(b.conv, reference::magnitudes(wide_x), reference::magnitudes(wide_w));
    for (size_t i = 0; i < z.size() && !bias.empty(); ++i) {
      const auto v = static_cast<double>(bias[i % bias.size()]);
      z[i] += v;
      scale[i] += std::fabs(v);
    }
  }
};

struct Result {
  std::vector<float> y, slope;
  std::vector<uint8_t> winner;
};

Result run(Backend& backend, const ConvBlock& b, const Case& c, Report& report) {
  const Input<float> x(backend, c.x), w(backend, c.w), bias(backend, c.bias);
  const float* shift = c.bias.empty() ? nullptr : static_cast<const float*>(bias);
  const bool sloped = b.activation == Activation::gelu;
  const Output<float> y(backend, b.pooled()), slope(backend, sloped ? b.pooled() : 0),
      alone(backend, b.pooled());
  const Output<uint8_t> winner(backend, b.pooled());
  backend.conv_block(b, x, w, shift, y.data(), winner.data(), sloped ? slope.data() : nullptr);
  backend.conv_block(b, x, w, shift, alone.data(), nullptr, nullptr);
  Result result{y.take(report, "y"), slope.take(report, "slope"), winner.take(report, "winner")};
  const std::vector<float> again = alone.take(report, "y");
  report.expect(
      again == result.y || std::any_of(again.begin(), again.end(), [](float v) { return std::isnan(v); }),
      "conv_block without winner gives other values: " + text_of(b));
  return result;
}

void check_integers(Backend& backend, const ConvBlock& b, Samples& samples, Report& report) {
  const Case c(b, samples.integers(static_cast<int64_t>(reference::x_size(b.conv)), 0, 1),
               samples.integers(static_cast<int64_t>(reference::w_size(b.conv)), -1, 1),
               samples.integers(b.conv.cout, -1, 0));
  const Result r = run(backend, b, c, report);
  for (size_t at = 0; at < r.y.size(); ++at) {
    double best = 0.0, at_best = 0.0, lowest = 0.0;
    int64_t winner = -1;
    for (int64_t p = 0; p < b.pool_h * b.pool_w; ++p) {
      const double z = c.z[member(b, at, p)], value = reference::activate(b.activation, z);
      lowest = std::min(lowest, z);
      if (winner >= 0 && !(value > best)) continue;
      best = value;
      at_best = z;
      winner = p;
    }
    if (b.activation == Activation::gelu && lowest < -10.0) continue;  // gelu underflows: new ties
    if (b.activation == Activation::relu && at_best <= 0.0) winner = kDead;
    report.expect(r.winner[at] == winner,
                  fmt::format("winner[{}] of {}: expected {}, got {}", at, text_of(b), winner, r.winner[at]));
    // The sum is exact; GELU's tail errs by x^2 roundings (tests/kernels/ops/unary_check.cpp).
    const double roundings = b.activation == Activation::gelu ? 6.0 + at_best * at_best : 0.0;
    report.expect(std::fabs(static_cast<double>(r.y[at]) - best) <= roundings * kRounding * std::fabs(best),
                  fmt::format("y[{}] of {}: expected {}, got {}", at, text_of(b), best, r.y[at]));
  }
}

void check_reals(Backend& backend, const ConvBlock& b, bool biased, Samples& samples, Report& report) {
  const Conv2d& s = b.conv;
  const Case c(b, samples.floats(static_cast<int64_t>(reference::x_size(s))),
               samples.floats(static_cast<int64_t>(reference::w_size(s))),
               biased ? samples.floats(s.cout, -1.5, 1.0) : std::vector<float>());
  const Result r = run(backend, b, c, report);
  const double roundings = (4.0 + 2.0 * std::sqrt(static_cast<double>(s.kh * s.kw * s.cin))) * kRounding;
  for (size_t at = 0; at < r.y.size(); ++at) {
    double best = -HUGE_VAL, error = 0.0;  // of a convolution's output; no activation is steeper than 1.13
    for (int64_t p = 0; p < b.pool_h * b.pool_w; ++p) {
      best = std::max(best, reference::activate(b.activation, c.z[member(b, at, p)]));
      error = std::max(error, roundings * c.scale[member(b, at, p)]);
    }
    const double tolerance = 1.2 * error + 12.0 * kRounding * (1.0 + std::fabs(best));
    report.expect(std::fabs(static_cast<double>(r.y[at]) - best) <= tolerance,
                  fmt::format("y[{}] of {}: expected {}, got {}", at, text_of(b), best, r.y[at]));
    if (b.activation == Activation::relu && r.winner[at] == kDead) {
      report.expect(best <= tolerance, fmt::format("winner[{}] of {} is dead at {}", at, text_of(b), best));
      continue;
    }
    const bool inside = r.winner[at] < b.pool_h * b.pool_w;
    report.expect(inside, fmt::format("winner[{}] of {} is {}", at, text_of(b), r.winner[at]));
    if (!inside) continue;
    const double z = c.z[member(b, at, r.winner[at])];
    report.expect(reference::activate(b.activation, z) >= best - 2.0 * tolerance,
                  fmt::format("winner[{}] of {}: {} is no maximum, {} is", at, text_of(b), z, best));
    if (b.activation == Activation::relu) {
      report.expect(z >= -tolerance, fmt::format("winner[{}] of {} lives at {}", at, text_of(b), z));
    }
    if (b.activation != Activation::gelu) continue;
    const double slope = reference::gelu_grad(z);
    report.expect(std::fabs(static_cast<double>(r.slope[at]) - slope) <= tolerance,
                  fmt::format("slope[{}] of {}: expected {}, got {}", at, text_of(b), slope, r.slope[at]));
  }
}

// A NaN must reach every output whose window sees it: a hidden one would pass for a healthy gradient.
void check_nan(Backend& backend, const ConvBlock& b, Samples& samples, Report& report) {
  std::vector<float> x = samples.floats(static_cast<int64_t>(reference::x_size(b.conv)));
  if (x.empty()) return;
  x[x.size() / 2] = std::numeric_limits<float>::quiet_NaN();
  const Case c(b, std::move(x), samples.floats(static_cast<int64_t>(reference::w_size(b.conv))),
               samples.floats(b.conv.cout));
  const Result r = run(backend, b, c, report);
  for (size_t at = 0; at < r.y.size(); ++at) {
    bool seen = false;
    for (int64_t p = 0; p < b.pool_h * b.pool_w; ++p) seen = seen || std::isnan(c.z[member(b, at, p)]);
    report.expect(std::isnan(r.y[at]) == seen,
                  fmt::format("y[{}] of {} with NaN in x: got {}", at, text_of(b), r.y[at]));
  }
}

// What a backward pass receives: any gradient, any winners (some dead), slopes where the activation has them.
struct Backward {
  std::vector<float> g, slope;
  std::vector<uint8_t> winner;
  Values dense;  // the gradient of the convolution's output
  Backward(const ConvBlock& b, Samples& samples)
      : g(samples.floats(b.pooled())), winner(g.size()), dense(reference::y_size(b.conv)) {
    if (b.activation == Activation::gelu) slope = samples.floats(b.pooled(), -0.2, 1.2);
    for (size_t at = 0; at < g.size(); ++at) {
      winner[at] = static_cast<uint8_t>(samples.below(b.pool_h * b.pool_w));
      if (b.activation == Activation::relu && samples.below(3) == 0) winner[at] = kDead;
      if (winner[at] == kDead) continue;
      const double factor = slope.empty() ? 1.0 : static_cast<double>(slope[at]);
      dense[member(b, at, winner[at])] = static_cast<double>(g[at]) * factor;
    }
  }
};

}  // namespace

Report check_conv_block(Backend& backend) {
  Report report;
  Samples samples(81);
  for (const ConvBlock& b : blocks()) {
    check_integers(backend, b, samples, report);
    check_reals(backend, b, true, samples, report);
    check_reals(backend, b, false, samples, report);
    check_nan(backend, b, samples, report);
  }
  return report;
}

Report check_conv_block_dinput(Backend& backend) {
  Report report;
  Samples samples(82);
  for (const ConvBlock& b : blocks()) {
    const Backward back(b, samples);
    const std::vector<float> weights = samples.floats(static_cast<int64_t>(reference::w_size(b.conv)));
    const Input<float> g(backend, back.g), slope(backend, back.slope), w(backend, weights);
    const Input<uint8_t> winner(backend, back.winner);
    const Output<float> dx(backend, static_cast<int64_t>(reference::x_size(b.conv)));
    backend.conv_block_dinput(b, g, winner, back.slope.empty() ? nullptr : static_cast<const float*>(slope),
                              w, dx.data());
    const Values wide = reference::widen(weights);
    report.compare_sums(
        "conv_block_dinput " + text_of(b), dx.take(report, "conv_block_dinput"),
        reference::conv2d_dinput(b.conv, back.dense, wide),
        reference::conv2d_dinput(b.conv, reference::magnitudes(back.dense), reference::magnitudes(wide)),
        static_cast<double>(b.conv.kh * b.conv.kw * b.conv.cout));
  }
  return report;
}

Report check_conv_block_dweight(Backend& backend) {
  Report report;
  Samples samples(83);
  for (const ConvBlock& b : blocks()) {
    const Conv2d& s = b.conv;
    const Backward back(b, samples);
    const std::vector<float> values = samples.floats(static_cast<int64_t>(reference::x_size(s)));
    const Input<float> x(backend, values), g(backend, back.g), slope(backend, back.slope);
    const Input<uint8_t> winner(backend, back.winner);
    const float* slopes = back.slope.empty() ? nullptr : static_cast<const float*>(slope);
    const auto weights = static_cast<int64_t>(reference::w_size(s));
    const Output<float> dw(backend, weights), alone(backend, weights), dbias(backend, s.cout);
    backend.conv_block_dweight(b, x, g, winner, slopes, dw.data(), dbias.data());
    backend.conv_block_dweight(b, x, g, winner, slopes, alone.data(), nullptr);

    const Values wide = reference::widen(values), sizes = reference::magnitudes(back.dense);
    const auto terms = static_cast<double>(s.n * b.out_h() * b.out_w());
    const std::vector<float> result = dw.take(report, "conv_block_dweight");
    report.compare_sums("conv_block_dweight " + text_of(b), result,
                        reference::conv2d_dweight(s, wide, back.dense),
                        reference::conv2d_dweight(s, reference::magnitudes(wide), sizes), terms);
    report.equal("conv_block_dweight without dbias " + text_of(b), alone.take(report, "conv_block_dweight"),
                 result);
    Values sums(static_cast<size_t>(s.cout)), scale(sums);
    for (size_t i = 0; i < back.dense.size(); ++i) {
      sums[i % sums.size()] += back.dense[i];
      scale[i % sums.size()] += sizes[i];
    }
    report.compare_sums("dbias " + text_of(b), dbias.take(report, "dbias"), sums, scale, terms);
  }
  return report;
}

}  // namespace caltrop::test
