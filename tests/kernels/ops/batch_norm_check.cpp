// Batch norm and its gradient: rows and channels around lines, blocks and tiles; means far from zero; channels of
// equal values, with a NaN and with an infinity; residual and relu; each output alone.

#include <limits>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

constexpr std::array<int64_t, 2> kNormSizes[] = {
    {3, 0},     {1, 5},  {2, 1},   {7, 3},   {33, 16},   {50, 10},
    {130, 64},  {5, 65}, {300, 7}, {61, 63}, {270, 130},  // three blocks of the CPU's, of two tiles
    {9000, 1},                                            // two, of 64 rows to a line
    {1703, 16},                                           // four, the last line not full
    {2200, 64},                                           // more than 32 parts of the GPU's
};
constexpr float kNormEpsilon = 1e-5f;

struct NormMoments {
  Values mean, variance, spread;  // spread: the mean of |x - mean|
};

NormMoments moments_of(const BatchNorm& s, const Values& x) {
  const auto channels = static_cast<size_t>(s.channels);
  const auto rows = static_cast<double>(s.rows);
  NormMoments m{Values(channels), Values(channels), Values(channels)};
  for (size_t i = 0; i < x.size(); ++i) m.mean[i % channels] += x[i] / rows;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = x[i] - m.mean[i % channels];
    m.variance[i % channels] += d * d / rows;
    m.spread[i % channels] += std::fabs(d) / rows;
  }
  return m;
}

// Channel c lies around 0, 1, -30 or 1000.
std::vector<float> norm_inputs(Samples& samples, const BatchNorm& s) {
  constexpr float kCenters[] = {0.0f, 1.0f, -30.0f, 1000.0f};
  std::vector<float> x = samples.floats(s.rows * s.channels);
  for (size_t i = 0; i < x.size(); ++i) x[i] += kCenters[i % static_cast<size_t>(s.channels) % 4];
  return x;
}

// `adds`: whether there is a residual.
void check_norm_of(Backend& backend, Report& report, Samples& samples, const BatchNorm& s, bool adds,
                   const std::vector<float>& values, const std::string& what) {
  const auto channels = static_cast<size_t>(s.channels);
  const std::vector<float> weights = samples.floats(s.channels, -2.0, 2.0),
                           biases = samples.floats(s.channels), more = samples.floats(s.rows * s.channels);
  const Input<float> x(backend, values), weight(backend, weights), bias(backend, biases),
      residual(backend, more);
  const Output<float> y(backend, s.rows * s.channels), mean(backend, s.channels),
      variance(backend, s.channels);
  backend.batch_norm(s, x, weight, bias, adds ? static_cast<const float*>(residual) : nullptr, y.data(),
                     mean.data(), variance.data());

  const Values wide = reference::widen(values);
  NormMoments expected = moments_of(s, wide);
  Values mean_tolerance, variance_tolerance, normal, tolerance;
  for (size_t c = 0; c < channels; ++c) {
    if (!std::isfinite(expected.mean[c])) expected.mean[c] = std::nan("");  // an infinity leaves no moments
    // The mean is exact but for its last rounding and those of deviations from it. The variance of equal values is
    // the square of the mean's rounding.
    const auto size = static_cast<float>(std::fabs(expected.mean[c]));
    const double rounding = 0.51 * static_cast<double>(std::nextafter(size, HUGE_VALF) - size);
    mean_tolerance.push_back(rounding + 8.0 * kRounding * expected.spread[c] + kSmallest);
    variance_tolerance.push_back(16.0 * kRounding * expected.variance[c] + 4.0 * rounding * rounding +
                                 kSmallest);
  }
  for (size_t i = 0; i < wide.size(); ++i) {
    const size_t c = i % channels;
    const double scale =
        static_cast<double>(weights[c]) / std::sqrt(expected.variance[c] + static_cast<double>(s.epsilon));
    const double term = (wide[i] - expected.mean[c]) * scale, shift = static_cast<double>(biases[c]),
                 other = adds ? static_cast<double>(more[i]) : 0.0, sum = term + shift + other;
    normal.push_back(s.activation == Activation::relu && sum < 0.0 ? 0.0 : sum);  // NaN stays
    tolerance.push_back(16.0 * kRounding * (std::fabs(term) + std::fabs(shift) + std::fabs(other)) +
                        std::fabs(scale) * mean_tolerance[c] + kSmallest);
  }
  report.compare(what + ": mean", mean.take(report, what), expected.mean, mean_tolerance);
  report.compare(what + ": variance", variance.take(report, what), expected.variance, variance_tolerance);
  report.compare(what, y.take(report, what), normal, tolerance);
}

void check_norm_gradient(Backend& backend, Report& report, Samples& samples, const BatchNorm& s,
                         const std::vector<float>& values, const std::vector<float>& gradient,
                         const std::string& what) {
  const auto channels = static_cast<size_t>(s.channels);
  const auto rows = static_cast<double>(s.rows);
  const std::vector<float> outputs = samples.integers(s.rows * s.channels, -1, 2);
  const bool with_relu = s.activation == Activation::relu;
  const Values wide = reference::widen(values);
  Values wide_g = reference::widen(gradient);
  for (size_t i = 0; with_relu && i < wide_g.size(); ++i) wide_g[i] = outputs[i] > 0.0f ? wide_g[i] : 0.0;
  const NormMoments m = moments_of(s, wide);
  std::vector<float> means, variances;
  for (size_t c = 0; c < channels; ++c) {
    means.push_back(static_cast<float>(m.mean[c]));
    variances.push_back(static_cast<float>(m.variance[c]));
  }
  const std::vector<float> weights = samples.floats(s.channels, -2.0, 2.0);

  Values inverse, bias(channels), bias_scale(channels), weight(channels), weight_scale(channels);
  for (size_t c = 0; c < channels; ++c)
    inverse.push_back(1.0 / std::sqrt(static_cast<double>(variances[c]) + static_cast<double>(s.epsilon)));
  const auto deviation = [&](size_t i) {
    return (wide[i] - static_cast<double>(means[i % channels])) * inverse[i % channels];
  };
  for (size_t i = 0; i < wide.size(); ++i) {
    const size_t c = i % channels;
    bias[c] += wide_g[i];
    bias_scale[c] += std::fabs(wide_g[i]);
    weight[c] += wide_g[i] * deviation(i);
    weight_scale[c] += std::fabs(wide_g[i] * deviation(i));
  }
  Values dx, tolerance;
  for (size_t i = 0; i < wide.size(); ++i) {
    const size_t c = i % channels;
    const double factor = static_cast<double>(weights[c]) * inverse[c];
    dx.push_back(factor * (wide_g[i] - bias[c] / rows - deviation(i) * weight[c] / rows));
    tolerance.push_back(
        12.0 * kRounding * std::fabs(factor) *
            (std::fabs(wide_g[i]) + bias_scale[c] / rows + std::fabs(deviation(i)) * weight_scale[c] / rows) +
        kSmallest);
  }

  const Input<float> x(backend, values), mean(backend, means), variance(backend, variances),
      scale(backend, weights), g(backend, gradient), y(backend, outputs);
  // All of them, all but the residual's, and each alone.
  for (const int asked : {15, 7, 1, 2, 4, 8}) {
    if (asked < 7 && s.rows * s.channels > 10000) break;
    const Output<float> to_x(backend, s.rows * s.channels), to_weight(backend, s.channels),
        to_bias(backend, s.channels), to_residual(backend, s.rows * s.channels);
    backend.batch_norm_backward(
        s, x, mean, variance, scale, with_relu ? static_cast<const float*>(y) : nullptr, g,
        asked & 1 ? to_x.data() : nullptr, asked & 2 ? to_weight.data() : nullptr,
        asked & 4 ? to_bias.data() : nullptr, asked & 8 ? to_residual.data() : nullptr);
    if (asked & 8) report.compare(what + ": dresidual", to_residual.take(report, what), wide_g, 0.0);
    if (asked & 1) report.compare(what + ": dx", to_x.take(report, what), dx, tolerance);
    if (asked & 2)
      report.compare_sums(what + ": dweight", to_weight.take(report, what), weight, weight_scale, rows);
    if (asked & 4) report.compare_sums(what + ": dbias", to_bias.take(report, what), bias, bias_scale, rows);
  }
}

}  // namespace

Report check_batch_norm(Backend& backend) {
  Report report;
  Samples samples(58);
  // Each size meets one of the four ways to end, residual and relu or not.
  int way = 0;
  for (const auto& [rows, channels] : kNormSizes) {
    const BatchNorm s{rows, channels, kNormEpsilon, way & 2 ? Activation::relu : Activation::none};
    check_norm_of(backend, report, samples, s, way & 1, norm_inputs(samples, s),
                  fmt::format("norm {}x{} residual {} relu {}", rows, channels, way & 1, way & 2));
    way = (way + 1) % 4;
  }
  const BatchNorm s{700, 5, kNormEpsilon, Activation::relu};
  std::vector<float> x = norm_inputs(samples, s);
  for (size_t r = 0; r < 700; ++r) x[5 * r] = 0.1f;
  x[5 * 650 + 1] = std::numeric_limits<float>::quiet_NaN();
  x[5 * 3 + 2] = std::numeric_limits<float>::infinity();
  check_norm_of(backend, report, samples, s, true, x, "norm of equal values, NaN and infinity");

  const Input<float> none(backend, {}), three(backend, {1.0f, 2.0f, 3.0f});
  const Output<float> y(backend, 0), mean(backend, 3), variance(backend, 3);
  backend.batch_norm({0, 3, kNormEpsilon}, none, three, three, nullptr, y.data(), mean.data(),
                     variance.data());
  const Values nothing(3, std::nan(""));
  report.compare("mean of no rows", mean.take(report, "no rows"), nothing, 0.0);
  report.compare("variance of no rows", variance.take(report, "no rows"), nothing, 0.0);
  return report;
}

Report check_batch_norm_backward(Backend& backend) {
  Report report;
  Samples samples(59);
  bool with_relu = false;
  for (const auto& [rows, channels] : kNormSizes) {
    with_relu = !with_relu;
    const BatchNorm s{rows, channels, kNormEpsilon, with_relu ? Activation::relu : Activation::none};
    check_norm_gradient(backend, report, samples, s, norm_inputs(samples, s), samples.floats(rows * channels),
                        fmt::format("norm gradient {}x{}", rows, channels));
  }
  const BatchNorm s{700, 5, kNormEpsilon};
  std::vector<float> g = samples.floats(3500);
  g[5 * 650 + 1] = std::numeric_limits<float>::quiet_NaN();
  check_norm_gradient(backend, report, samples, s, norm_inputs(samples, s), g, "norm gradient with NaN");
  return report;
}

}  // namespace caltrop::test
