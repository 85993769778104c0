// Convolution and its two adjoints, over windows, strides, paddings and channels that fit no vector.

#include <algorithm>
#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

std::string text_of(const Conv2d& s) {
  return fmt::format("n{} {}x{}x{}->{} window {}x{} stride {}x{} pad {}x{}", s.n, s.h, s.w, s.cin, s.cout,
                     s.kh, s.kw, s.stride_h, s.stride_w, s.pad_h, s.pad_w);
}

const std::vector<Conv2d>& shapes() {
  static const std::vector<Conv2d> all = [] {
    std::vector<Conv2d> list = {
        {1, 1, 1, 1, 1, 1, 1},
        {2, 28, 28, 1, 32, 3, 3},   // the models' first layer
        {2, 13, 13, 64, 32, 3, 3},  // and EAT-3's second
        {1, 9, 9, 64, 100, 3, 3},
        {3, 7, 6, 3, 7, 3, 2},  // a window that is no square
        {2, 8, 8, 5, 32, 5, 5},
        {2, 5, 5, 3, 4, 5, 5},              // a window as large as the image
        {2, 3, 3, 2, 5, 5, 5, 1, 1, 1, 1},  // larger, and padded to fit
        {2, 6, 6, 3, 7, 3, 3, 1, 1, 1, 1},  // "same"
        {2, 9, 10, 3, 7, 3, 3, 2, 2, 1, 1},
        {2, 10, 9, 5, 8, 3, 3, 2, 3, 0, 0},  // strides that leave a remainder
        {2, 11, 7, 1, 5, 2, 2, 3, 3, 0, 0},  // gaps between the windows
        {1, 8, 8, 4, 16, 1, 1, 2, 2, 0, 0},
        {2, 4, 4, 3, 5, 1, 1, 1, 1, 2, 3},  // windows that see padding alone
        {2, 5, 6, 2, 3, 2, 3, 1, 2, 3, 2},
        {1, 5, 40, 1, 3, 1, 7, 1, 1, 0, 3},
        {2, 9, 7, 16, 24, 3, 3, 1, 1, 1, 1},  // channels in fours
        {3, 8, 9, 36, 68, 3, 2, 2, 1, 1, 0},
        {2, 5, 4, 132, 40, 1, 1},
        {1, 4, 3, 300, 20, 2, 1},  // wider and deeper windows than one block
        {1, 6, 5, 40, 20, 5, 3, 2, 1, 1, 1},
        {33, 6, 6, 1, 5, 3, 3},  // chunks of a batch
        {17, 4, 5, 3, 9, 3, 3, 1, 1, 1, 1},
        {70, 4, 4, 2, 3, 3, 3},
        {2, 9, 8, 32, 36, 3, 3, 1, 1, 1,
         1},  // 3x3 with many channels: tiles of 2x2 outputs, whole and cut off
        {3, 8, 7, 40, 33, 3, 3},
        {2, 6, 9, 33, 48, 3, 3, 1, 1, 2, 2},
        {1, 7, 8, 32, 32, 3, 3, 1, 1, 0, 3},
        {20, 4, 4, 32, 32, 3, 3, 1, 1, 1, 1},
        {1, 3, 4, 260, 32, 3, 3, 1, 1, 1, 1},
        {1, 9, 9, 32, 34, 3, 3, 2, 2, 1, 1},
        {2, 8, 8, 70, 34, 1, 1, 2, 2, 0, 0},
        {0, 8, 8, 32, 32, 3, 3, 1, 1, 1, 1},
        {0, 6, 6, 3, 7, 3, 3, 1, 1, 1, 1},  // empty
        {2, 5, 5, 0, 3, 3, 3},
        {2, 5, 5, 3, 0, 3, 3},
    };
    for (const int64_t cin : {1, 3, 5, 64}) {
      for (const int64_t cout : {1, 7, 32, 100}) list.push_back({2, 6, 7, cin, cout, 3, 3, 1, 1, 1, 0});
    }
    Samples samples(60);
    while (list.size() < 90) {
      const Conv2d s{samples.between(1, 5), samples.between(1, 12), samples.between(1, 12),
                     samples.between(1, 9), samples.between(1, 40), samples.between(1, 5),
                     samples.between(1, 5), samples.between(1, 3),  samples.between(1, 3),
                     samples.between(0, 3), samples.between(0, 3)};
      if (s.h + 2 * s.pad_h >= s.kh && s.w + 2 * s.pad_w >= s.kw) list.push_back(s);
    }
    return list;
  }();
  return all;
}

struct Operands {
  std::vector<float> x, w, g;
  Values wide_x, wide_w, wide_g;
  explicit Operands(const Conv2d& s, Samples& samples)
      : x(samples.floats(static_cast<int64_t>(reference::x_size(s)))),
        w(samples.floats(static_cast<int64_t>(reference::w_size(s)))),
        g(samples.floats(static_cast<int64_t>(reference::y_size(s)))),
        wide_x(reference::widen(x)),
        wide_w(reference::widen(w)),
        wide_g(reference::widen(g)) {}
};

using Reference = Values (*)(const Conv2d&, const Values&, const Values&);

void compare(const std::string& what, const Conv2d& s, const Output<float>& out, Reference f,
             const Values& first, const Values& second, int64_t terms, Report& report) {
  report.compare_sums(what + " " + text_of(s), out.take(report, what), f(s, first, second),
                      f(s, reference::magnitudes(first), reference::magnitudes(second)),
                      static_cast<double>(terms));
}

// Numbers at the ends of fp32's range, and an infinity, where channels are many: split operands must not lose
// or make any. One operand is scaled by a power of two, the other by its inverse.
void check_range(Backend& backend, Report& report) {
  const Conv2d s{1, 10, 10, 16, 20, 3, 3};
  Samples samples(64);
  for (const double scale : {0x1p-80, 0x1p-20, 0x1p20, 0x1p80}) {
    Operands all(s, samples);
    for (float& v : all.x) v = static_cast<float>(scale * static_cast<double>(v));
    for (float& v : all.w) v = static_cast<float>(static_cast<double>(v) / scale);
    for (float& v : all.g) v = static_cast<float>(static_cast<double>(v) / scale);
    if (scale == 0x1p20) all.x[17] = std::numeric_limits<float>::infinity();
    if (scale == 0x1p80) all.x[17] = std::numeric_limits<float>::max();
    const Values wide_x = reference::widen(all.x), wide_w = reference::widen(all.w),
                 wide_g = reference::widen(all.g);
    const Input<float> x(backend, all.x), w(backend, all.w), g(backend, all.g);
    const Output<float> y(backend, static_cast<int64_t>(all.g.size()));
    backend.conv2d(s, x, w, y.data(), {});
    compare("conv2d's range", s, y, reference::conv2d, wide_x, wide_w, s.kh * s.kw * s.cin, report);
    const Output<float> dw(backend, static_cast<int64_t>(all.w.size()));
    backend.conv2d_dweight(s, x, g, dw.data());
    compare("conv2d_dweight's range", s, dw, reference::conv2d_dweight, wide_x, wide_g,
            s.n * s.out_h() * s.out_w(), report);
    // As a gradient, the same numbers have the shape of x where the roles of channels are turned.
    const Conv2d turned{1, 12, 12, 20, 16, 3, 3};
    const Output<float> dx(backend, static_cast<int64_t>(reference::x_size(turned)));
    backend.conv2d_dinput(turned, x, w, dx.data());
    compare("conv2d_dinput's range", turned, dx, reference::conv2d_dinput, wide_x, wide_w,
            turned.kh * turned.kw * turned.cout, report);
  }
}

// An epilogue makes of the sums what a plain loop makes of them; each small shape meets another one.
void check_epilogue(Backend& backend, Report& report, const Conv2d& s, const Operands& all, size_t which,
                    Samples& samples) {
  const std::vector<float> biases = samples.floats(s.cout),
                           more = samples.floats(static_cast<int64_t>(all.g.size()));
  const Input<float> x(backend, all.x), w(backend, all.w), bias(backend, biases), residual(backend, more);
  const Values sums = reference::conv2d(s, all.wide_x, all.wide_w),
               scale =
                   reference::conv2d(s, reference::magnitudes(all.wide_x), reference::magnitudes(all.wide_w));
  const ConvEpilogue epilogues[] = {{.bias = bias},
                                    {.bias = bias, .residual = residual},
                                    {.residual = residual, .activation = Activation::relu},
                                    {bias, residual, Activation::relu},
                                    {bias, residual, Activation::gelu}};
  const ConvEpilogue& epilogue = epilogues[which % std::size(epilogues)];
  Values expected, tolerance;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double b = epilogue.bias ? static_cast<double>(biases[i % biases.size()]) : 0.0,
                 r = epilogue.residual ? static_cast<double>(more[i]) : 0.0;
    expected.push_back(reference::activate(epilogue.activation, sums[i] + b + r));
    tolerance.push_back(1.2 * (scale[i] + std::fabs(b) + std::fabs(r)));  // GELU's slope is at most 1.13
  }
  const std::string what =
      fmt::format("conv2d with{}{} activation {} {}", epilogue.bias ? " bias" : "",
                  epilogue.residual ? " residual" : "", static_cast<int>(epilogue.activation), text_of(s));
  const Output<float> y(backend, static_cast<int64_t>(sums.size()));
  backend.conv2d(s, x, w, y.data(), epilogue);
  report.compare_sums(what, y.take(report, what), expected, tolerance,
                      static_cast<double>(s.kh * s.kw * s.cin + 2));
}

}  // namespace

Report check_conv2d(Backend& backend) {
  Report report;
  Samples samples(61);
  constexpr size_t kSmall = 2000;  // outputs; the emulation takes its time
  size_t which = 0;
  for (const Conv2d& s : shapes()) {
    const Operands all(s, samples);
    const Input<float> x(backend, all.x), w(backend, all.w);
    const Output<float> y(backend, static_cast<int64_t>(all.g.size()));
    backend.conv2d(s, x, w, y.data(), {});
    compare("conv2d", s, y, reference::conv2d, all.wide_x, all.wide_w, s.kh * s.kw * s.cin, report);
    if (all.g.size() <= kSmall) check_epilogue(backend, report, s, all, which++, samples);
  }
  check_range(backend, report);
  return report;
}

Report check_conv2d_dinput(Backend& backend) {
  Report report;
  Samples samples(62);
  for (const Conv2d& s : shapes()) {
    const Operands all(s, samples);
    const Input<float> g(backend, all.g), w(backend, all.w);
    const Output<float> dx(backend, static_cast<int64_t>(all.x.size()));
    backend.conv2d_dinput(s, g, w, dx.data());
    compare("conv2d_dinput", s, dx, reference::conv2d_dinput, all.wide_g, all.wide_w, s.kh * s.kw * s.cout,
            report);
  }
  return report;
}

Report check_conv2d_dweight(Backend& backend) {
  Report report;
  Samples samples(63);
  for (const Conv2d& s : shapes()) {
    const Operands all(s, samples);
    const Input<float> x(backend, all.x), g(backend, all.g);
    const Output<float> dw(backend, static_cast<int64_t>(all.w.size()));
    backend.conv2d_dweight(s, x, g, dw.data());
    Values scale =
        reference::conv2d_dweight(s, reference::magnitudes(all.wide_x), reference::magnitudes(all.wide_g));
    if (s.kh == 3 && s.kw == 3) {
      // Tiles (Winograd) take the nine weights of a pair of channels out of common sums, and round what the largest needs.
      const size_t pair = scale.size() / 9;
      for (size_t i = 0; i < pair; ++i) {
        double most = 0;
        for (size_t tap = 0; tap < 9; ++tap) most = std::max(most, scale[tap * pair + i]);
        for (size_t tap = 0; tap < 9; ++tap) scale[tap * pair + i] = most;
      }
    }
    report.compare_sums("conv2d_dweight " + text_of(s), dw.take(report, "conv2d_dweight"),
                        reference::conv2d_dweight(s, all.wide_x, all.wide_g), scale,
                        static_cast<double>(s.n * s.out_h() * s.out_w()));
  }
  return report;
}

}  // namespace caltrop::test
