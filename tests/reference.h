// The oracle of the tests: every op as the plainest loop over doubles, straight from the formula in
// kernels/backend.h. No blocking, no vectors, no cleverness: these must be right by reading.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include "kernels/backend.h"

namespace caltrop::reference {

using Values = std::vector<double>;

template <typename T>
Values widen(const std::vector<T>& from) {
  return Values(from.begin(), from.end());
}

inline Values magnitudes(Values x) {
  for (double& v : x) v = std::fabs(v);
  return x;
}

// Test inputs: a fixed stream of numbers for each seed, the same with every standard library.
class Samples {
 public:
  explicit Samples(uint64_t seed) : engine_(seed) {}
  double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  double uniform(double low, double high) { return low + (high - low) * unit(); }
  int64_t below(int64_t bound) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(bound)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  std::vector<float> floats(int64_t count, double low = -1.0, double high = 1.0) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = static_cast<float>(uniform(low, high));
    return values;
  }
  // Small integers as floats: sums of their products are exact in fp32, and ties are frequent.
  std::vector<float> integers(int64_t count, int64_t low, int64_t high) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = static_cast<float>(between(low, high));
    return values;
  }
  std::vector<int32_t> labels(int64_t count, int64_t classes) {
    std::vector<int32_t> values(static_cast<size_t>(count));
    for (int32_t& v : values) v = static_cast<int32_t>(below(classes));
    return values;
  }

 private:
  std::mt19937_64 engine_;
};

// The normal distribution under GELU. erfc keeps its relative accuracy in the tail.
inline double normal_cdf(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}
inline double normal_pdf(double x) {
  return std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
}
inline double gelu(double x) {
  return x * normal_cdf(x);
}
inline double gelu_grad(double x) {
  return normal_cdf(x) + x * normal_pdf(x);
}
inline double gelu_curve(double x) {
  return normal_pdf(x) * (2.0 - x * x);
}
inline double sigmoid(double x) {
  return x >= 0.0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
}
inline double activate(Activation kind, double x) {
  if (kind == Activation::relu) return x > 0.0 ? x : 0.0;
  return kind == Activation::gelu ? gelu(x) : x;
}

inline Values matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const Values& a,
                     const Values& b) {
  Values c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0.0;
      for (int64_t t = 0; t < k; ++t) {
        sum += a[static_cast<size_t>(trans_a ? t * m + i : i * k + t)] *
               b[static_cast<size_t>(trans_b ? j * k + t : t * n + j)];
      }
      c[static_cast<size_t>(i * n + j)] = sum;
    }
  }
  return c;
}

// body(index into y, into x, into w) for every term of the convolution's sum.
template <typename Body>
void for_terms(const Conv2d& s, const Body& body) {
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t oy = 0; oy < s.out_h(); ++oy)
      for (int64_t ox = 0; ox < s.out_w(); ++ox)
        for (int64_t ky = 0; ky < s.kh; ++ky)
          for (int64_t kx = 0; kx < s.kw; ++kx) {
            const int64_t y = oy * s.stride_h - s.pad_h + ky, x = ox * s.stride_w - s.pad_w + kx;
            if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
            const auto channels = static_cast<size_t>(s.cout);
            const auto at_y = static_cast<size_t>(((n * s.out_h() + oy) * s.out_w() + ox) * s.cout);
            for (int64_t i = 0; i < s.cin; ++i) {
              const auto at_x = static_cast<size_t>(((n * s.h + y) * s.w + x) * s.cin + i);
              const auto at_w = static_cast<size_t>(((ky * s.kw + kx) * s.cin + i) * s.cout);
              for (size_t o = 0; o < channels; ++o) body(at_y + o, at_x, at_w + o);
            }
          }
}

inline size_t x_size(const Conv2d& s) {
  return static_cast<size_t>(s.n * s.h * s.w * s.cin);
}
inline size_t y_size(const Conv2d& s) {
  return static_cast<size_t>(s.n * s.out_h() * s.out_w() * s.cout);
}
inline size_t w_size(const Conv2d& s) {
  return static_cast<size_t>(s.kh * s.kw * s.cin * s.cout);
}

inline Values conv2d(const Conv2d& s, const Values& x, const Values& w) {
  Values y(y_size(s));
  for_terms(s, [&](size_t at_y, size_t at_x, size_t at_w) { y[at_y] += x[at_x] * w[at_w]; });
  return y;
}
inline Values conv2d_dinput(const Conv2d& s, const Values& g, const Values& w) {
  Values dx(x_size(s));
  for_terms(s, [&](size_t at_y, size_t at_x, size_t at_w) { dx[at_x] += g[at_y] * w[at_w]; });
  return dx;
}
inline Values conv2d_dweight(const Conv2d& s, const Values& x, const Values& g) {
  Values dw(w_size(s));
  for_terms(s, [&](size_t at_y, size_t at_x, size_t at_w) { dw[at_w] += x[at_x] * g[at_y]; });
  return dw;
}

// body(index of the output, of the input, position h*W + w in its image) for every element of every window.
template <typename Body>
void for_windows(const Pool2d& s, const Body& body) {
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t oy = 0; oy < s.out_h(); ++oy)
      for (int64_t ox = 0; ox < s.out_w(); ++ox)
        for (int64_t c = 0; c < s.c; ++c)
          for (int64_t ky = 0; ky < s.kh; ++ky)
            for (int64_t kx = 0; kx < s.kw; ++kx) {
              const int64_t position = (oy * s.stride_h + ky) * s.w + ox * s.stride_w + kx;
              body(static_cast<size_t>(((n * s.out_h() + oy) * s.out_w() + ox) * s.c + c),
                   static_cast<size_t>((n * s.h * s.w + position) * s.c + c), position);
            }
}

inline size_t x_size(const Pool2d& s) {
  return static_cast<size_t>(s.n * s.h * s.w * s.c);
}
inline size_t y_size(const Pool2d& s) {
  return static_cast<size_t>(s.n * s.out_h() * s.out_w() * s.c);
}

struct Maxima {
  Values values;
  std::vector<int32_t> index;
};
inline Maxima maxpool(const Pool2d& s, const Values& x) {
  Maxima best{Values(y_size(s)), std::vector<int32_t>(y_size(s), -1)};
  for_windows(s, [&](size_t to, size_t from, int64_t position) {
    const bool first = best.index[to] < 0;
    const bool larger = x[from] > best.values[to] || (std::isnan(x[from]) && !std::isnan(best.values[to]));
    if (!first && !larger) return;
    best.values[to] = x[from];
    best.index[to] = static_cast<int32_t>(position);
  });
  return best;
}
// In order of value, NaN first; equal ones in scan order. A NaN wins its window.
inline Maxima rankpool(const Pool2d& s, int64_t rank, const Values& x) {
  std::vector<std::vector<std::pair<double, int32_t>>> windows(y_size(s));
  for_windows(s, [&](size_t to, size_t from, int64_t position) {
    windows[to].emplace_back(x[from], static_cast<int32_t>(position));
  });
  Maxima ranked;
  for (auto& window : windows) {
    std::stable_sort(window.begin(), window.end(), [](const auto& a, const auto& b) {
      return std::isnan(a.first) ? !std::isnan(b.first) : a.first < b.first;
    });
    const auto& chosen = window[std::isnan(window[0].first) ? 0 : static_cast<size_t>(rank)];
    ranked.values.push_back(chosen.first);
    ranked.index.push_back(chosen.second);
  }
  return ranked;
}
inline Values avgpool(const Pool2d& s, const Values& x) {
  Values y(y_size(s));
  for_windows(s,
              [&](size_t to, size_t from, int64_t) { y[to] += x[from] / static_cast<double>(s.kh * s.kw); });
  return y;
}
inline Values avgpool_adjoint(const Pool2d& s, const Values& g) {
  Values dx(x_size(s));
  for_windows(s,
              [&](size_t from, size_t to, int64_t) { dx[to] += g[from] / static_cast<double>(s.kh * s.kw); });
  return dx;
}

inline Values log_softmax(int64_t rows, int64_t cols, const Values& z) {
  Values y(z.size());
  for (int64_t r = 0; r < rows; ++r) {
    const auto begin = static_cast<size_t>(r * cols), end = static_cast<size_t>((r + 1) * cols);
    double highest = -HUGE_VAL, sum = 0.0;
    for (size_t k = begin; k < end; ++k) highest = std::max(highest, z[k]);
    for (size_t k = begin; k < end; ++k) sum += std::exp(z[k] - highest);
    for (size_t k = begin; k < end; ++k) y[k] = (z[k] - highest) - std::log(sum);
  }
  return y;
}
inline Values softmax(int64_t rows, int64_t cols, const Values& z) {
  Values y = log_softmax(rows, cols, z);
  for (double& v : y) v = std::exp(v);
  return y;
}

}  // namespace caltrop::reference
