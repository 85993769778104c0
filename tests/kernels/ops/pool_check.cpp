// Pooling of overlapping, adjacent and spaced windows, with remainders, ties and NaN.

#include <functional>
#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

std::string text_of(const Pool2d& s) {
  return fmt::format("n{} {}x{}x{} window {}x{} stride {}x{}", s.n, s.h, s.w, s.c, s.kh, s.kw, s.stride_h,
                     s.stride_w);
}

const std::vector<Pool2d>& shapes() {
  static const std::vector<Pool2d> all = [] {
    std::vector<Pool2d> list = {
        {1, 1, 1, 1, 1, 1, 1, 1},    {2, 26, 26, 32, 2, 2, 2, 2}, {2, 11, 11, 32, 2, 2, 2, 2},
        {2, 13, 13, 7, 2, 2, 1, 1},  {3, 7, 9, 5, 3, 3, 2, 2},    {2, 8, 8, 3, 2, 3, 2, 3},
        {2, 9, 9, 17, 2, 2, 3, 3},   {2, 6, 6, 4, 6, 6, 1, 1},    {2, 5, 6, 1, 1, 1, 2, 2},
        {0, 4, 4, 3, 2, 2, 2, 2},    {2, 4, 4, 0, 2, 2, 2, 2},    {1, 10, 3, 100, 4, 1, 1, 1},
        {2, 10, 11, 5, 9, 10, 1, 1},
    };
    Samples samples(70);
    while (list.size() < 40) {
      const Pool2d s{samples.between(1, 4),  samples.between(1, 12), samples.between(1, 12),
                     samples.between(1, 20), samples.between(1, 4),  samples.between(1, 4),
                     samples.between(1, 4),  samples.between(1, 4)};
      if (s.h >= s.kh && s.w >= s.kw) list.push_back(s);
    }
    return list;
  }();
  return all;
}

int64_t x_count(const Pool2d& s) {
  return static_cast<int64_t>(reference::x_size(s));
}
int64_t y_count(const Pool2d& s) {
  return static_cast<int64_t>(reference::y_size(s));
}

// What picks one element of each window.
struct Picks {
  std::string name;
  std::function<void(const Pool2d& shape, const float* x, float* y, int32_t* index)> run;
  std::function<reference::Maxima(const Pool2d& shape, const Values& x)> expected;
};

void check_picked(Backend& backend, const Picks& picks, const Pool2d& s, const std::vector<float>& values,
                  Report& report) {
  const Input<float> x(backend, values);
  const Output<float> y(backend, y_count(s));
  const Output<int32_t> index(backend, y_count(s));
  picks.run(s, x, y.data(), index.data());
  const reference::Maxima expected = picks.expected(s, reference::widen(values));
  report.compare(picks.name + " " + text_of(s), y.take(report, picks.name), expected.values, 0.0);
  report.equal(picks.name + "'s index " + text_of(s), index.take(report, picks.name + "'s index"),
               expected.index);
}

Report check_picks(Backend& backend, const Picks& picks, uint64_t seed) {
  Report report;
  Samples samples(seed);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                  kInf = std::numeric_limits<float>::infinity();
  for (const Pool2d& s : shapes()) {
    check_picked(backend, picks, s, samples.floats(x_count(s)), report);
    check_picked(backend, picks, s, samples.integers(x_count(s), -1, 1), report);  // ties
    check_picked(backend, picks, s, std::vector<float>(static_cast<size_t>(x_count(s)), -kInf), report);
    // A NaN wins its window, and the first of two.
    std::vector<float> holed = samples.integers(x_count(s), -2, 2);
    for (size_t i = 0; i < holed.size(); ++i) {
      if (samples.below(6) == 0) holed[i] = samples.below(3) == 0 ? kInf : kNan;
    }
    check_picked(backend, picks, s, holed, report);
  }
  return report;
}

// Positions as maxpool may leave them: any element of its own window.
std::vector<int32_t> some_index(const Pool2d& s, Samples& samples) {
  std::vector<int32_t> index(reference::y_size(s));
  std::vector<int64_t> seen(index.size());
  reference::for_windows(s, [&](size_t to, size_t, int64_t position) {
    if (samples.below(++seen[to]) == 0) index[to] = static_cast<int32_t>(position);
  });
  return index;
}

// Where the element that index[to] names stands in x.
size_t source(const Pool2d& s, size_t to, int32_t index) {
  const auto per_image = static_cast<size_t>(s.out_h() * s.out_w() * s.c), c = static_cast<size_t>(s.c);
  return (to / per_image * static_cast<size_t>(s.h * s.w) + static_cast<size_t>(index)) * c + to % c;
}

}  // namespace

Report check_maxpool(Backend& backend) {
  return check_picks(
      backend,
      {"maxpool",
       [&](const Pool2d& s, const float* x, float* y, int32_t* index) { backend.maxpool(s, x, y, index); },
       reference::maxpool},
      71);
}

// The smallest, a quarter of the way, the median and the largest.
Report check_rankpool(Backend& backend) {
  for (const int64_t quarters : {0, 1, 2, 4}) {
    const auto rank = [quarters](const Pool2d& s) {
      return (s.kh * s.kw - 1) * quarters / 4;
    };
    Report report = check_picks(backend,
                                {fmt::format("rankpool at {} quarters", quarters),
                                 [&](const Pool2d& s, const float* x, float* y, int32_t* index) {
                                   backend.rankpool(s, rank(s), x, y, index);
                                 },
                                 [&](const Pool2d& s, const Values& x) {
                                   return reference::rankpool(s, rank(s), x);
                                 }},
                                76);
    if (!report.passed() || quarters == 4) return report;
  }
  return {};
}

Report check_maxpool_scatter(Backend& backend) {
  Report report;
  Samples samples(72);
  for (const Pool2d& s : shapes()) {
    const std::vector<float> values = samples.floats(y_count(s));
    const std::vector<int32_t> positions = some_index(s, samples);
    Values expected(reference::x_size(s)), scale(reference::x_size(s));
    for (size_t to = 0; to < positions.size(); ++to) {
      expected[source(s, to, positions[to])] += static_cast<double>(values[to]);
      scale[source(s, to, positions[to])] += std::fabs(static_cast<double>(values[to]));
    }
    const Input<float> g(backend, values);
    const Input<int32_t> index(backend, positions);
    const Output<float> dx(backend, x_count(s));
    backend.maxpool_scatter(s, g, index, dx.data());
    report.compare_sums("maxpool_scatter " + text_of(s), dx.take(report, "maxpool_scatter"), expected, scale,
                        static_cast<double>(s.kh * s.kw));
  }
  return report;
}

Report check_maxpool_gather(Backend& backend) {
  Report report;
  Samples samples(73);
  for (const Pool2d& s : shapes()) {
    const std::vector<float> values = samples.floats(x_count(s));
    const std::vector<int32_t> positions = some_index(s, samples);
    std::vector<float> expected(positions.size());
    for (size_t to = 0; to < positions.size(); ++to) expected[to] = values[source(s, to, positions[to])];
    const Input<float> x(backend, values);
    const Input<int32_t> index(backend, positions);
    const Output<float> y(backend, y_count(s));
    backend.maxpool_gather(s, x, index, y.data());
    report.equal("maxpool_gather " + text_of(s), y.take(report, "maxpool_gather"), expected);
  }
  return report;
}

Report check_avgpool(Backend& backend) {
  Report report;
  Samples samples(74);
  for (const Pool2d& s : shapes()) {
    const std::vector<float> values = samples.floats(x_count(s));
    const Input<float> x(backend, values);
    const Output<float> y(backend, y_count(s));
    backend.avgpool(s, x, y.data());
    const Values wide = reference::widen(values);
    report.compare_sums("avgpool " + text_of(s), y.take(report, "avgpool"), reference::avgpool(s, wide),
                        reference::avgpool(s, reference::magnitudes(wide)), static_cast<double>(s.kh * s.kw));
  }
  return report;
}

Report check_avgpool_adjoint(Backend& backend) {
  Report report;
  Samples samples(75);
  for (const Pool2d& s : shapes()) {
    const std::vector<float> values = samples.floats(y_count(s));
    const Input<float> g(backend, values);
    const Output<float> dx(backend, x_count(s));
    backend.avgpool_adjoint(s, g, dx.data());
    const Values wide = reference::widen(values);
    report.compare_sums("avgpool_adjoint " + text_of(s), dx.take(report, "avgpool_adjoint"),
                        reference::avgpool_adjoint(s, wide),
                        reference::avgpool_adjoint(s, reference::magnitudes(wide)),
                        static_cast<double>(s.kh * s.kw));
  }
  return report;
}

}  // namespace caltrop::test
