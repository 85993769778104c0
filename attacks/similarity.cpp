#include "attacks/similarity.h"

#include <array>
#include <cmath>

#include "engine/error.h"

namespace caltrop {
namespace {

constexpr int64_t kWindow = 11;

std::array<double, kWindow> gaussian() {
  constexpr double kSigma = 1.5, kCentre = 5;  // of 0 ... 10
  std::array<double, kWindow> weights{};
  double total = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const double from_centre = static_cast<double>(k) - kCentre;
    weights[k] = std::exp(-from_centre * from_centre / (2 * kSigma * kSigma));
    total += weights[k];
  }
  for (double& weight : weights) weight /= total;
  return weights;
}

}  // namespace

double peak_signal_to_noise(double mean_squared_error) {
  return -10 * std::log10(mean_squared_error);
}

double structural_similarity(std::span<const float> a, std::span<const float> b, ImageShape shape) {
  const auto size = static_cast<size_t>(shape.height * shape.width * shape.channels);
  if (shape.height < kWindow || shape.width < kWindow || a.size() != size || b.size() != size) {
    fail("[similarity] expected two images of at least {0}x{0}, got {1}x{2}x{3}", kWindow, shape.height,
         shape.width, shape.channels);
  }
  static const std::array<double, kWindow> weights = gaussian();
  constexpr double kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;  // (K L)^2 with L = 1
  double total = 0;
  int64_t places = 0;
  for (int64_t top = 0; top + kWindow <= shape.height; ++top) {
    for (int64_t left = 0; left + kWindow <= shape.width; ++left) {
      for (int64_t c = 0; c < shape.channels; ++c, ++places) {
        double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
        for (int64_t y = 0; y < kWindow; ++y) {
          for (int64_t x = 0; x < kWindow; ++x) {
            const auto at = static_cast<size_t>(((top + y) * shape.width + left + x) * shape.channels + c);
            const double w = weights[static_cast<size_t>(y)] * weights[static_cast<size_t>(x)];
            const double p = static_cast<double>(a[at]), q = static_cast<double>(b[at]);
            ma += w * p, mb += w * q;
            aa += w * p * p, bb += w * q * q, ab += w * p * q;
          }
        }
        total += (2 * ma * mb + kC1) * (2 * (ab - ma * mb) + kC2) /
                 ((ma * ma + mb * mb + kC1) * (aa - ma * ma + bb - mb * mb + kC2));
      }
    }
  }
  return total / static_cast<double>(places);
}

}  // namespace caltrop
