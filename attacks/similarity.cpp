#include "attacks/similarity.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/autograd.h"
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

std::vector<int32_t> predictions_rounded(const Model& model, const Tensor& adversarial) {
  const NoGrad values_only;
  std::vector<float> stored = adversarial.to_host();
  for (float& pixel : stored) pixel = static_cast<float>(to_byte(std::clamp(pixel, 0.0f, 1.0f))) / 255.0f;
  const Tensor shown = Tensor::from(model.backend(), adversarial.shape(), stored);
  return argmax_rows(model.forward(shown).to_host(), model.outputs());
}

// Adds one attacked image, whose perturbation is `delta`, to the sums.
void add(Similarity& sum, std::span<const float> adversarial, std::span<const float> delta, ImageShape shape,
         const AttackRow& row) {
  std::vector<float> clean(delta.size());
  int64_t changed = 0;
  double squares = 0;
  for (size_t p = 0; p < clean.size(); ++p) {
    const double d = static_cast<double>(delta[p]);
    clean[p] = adversarial[p] - delta[p];
    squares += d * d;
    changed += to_byte(clean[p]) != to_byte(adversarial[p]);
  }
  ++sum.images;
  sum.l2 += static_cast<double>(row.l2);
  sum.linf += static_cast<double>(row.linf);
  sum.squared_error += squares;
  sum.ssim += structural_similarity(clean, adversarial, shape);
  sum.changed += static_cast<double>(changed) / static_cast<double>(delta.size());
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

std::vector<Similarity> measure_similarity(const Model& model, const Images& images, int64_t count,
                                           std::span<const float> epsilons, const AttackOptions& options,
                                           const Progress& progress) {
  const auto pixels = static_cast<size_t>(images.image_size());
  std::vector<Similarity> found(epsilons.size());
  AttackJob job{.rows = row_range(0, std::min(count, images.count())), .progress = progress};
  job.sink = [&](int64_t, const AttackResult& chunk) {
    const std::vector<float> adversarial = chunk.adversarial.to_host(), delta = chunk.delta.to_host();
    const std::vector<int32_t> rounded = predictions_rounded(model, chunk.adversarial);
    for (size_t row = 0; row < chunk.rows.size(); ++row) {
      const AttackedImage& image = chunk.images[row / found.size()];
      Similarity& sum = found[row % found.size()];
      add(sum, std::span(adversarial).subspan(row * pixels, pixels),
          std::span(delta).subspan(row * pixels, pixels), images.shape(), chunk.rows[row]);
      if (image.clean_prediction != image.label) continue;
      ++sum.correct;
      const bool fooled = chunk.rows[row].prediction != image.label;
      sum.fooled += fooled;
      sum.fooled_rounded += fooled && rounded[row] != image.label;
    }
  };
  (void)attack_images(model, images, epsilons, options, job);
  for (Similarity& sum : found) {
    const auto n = static_cast<double>(std::max<int64_t>(1, sum.images));
    sum.l2 /= n, sum.linf /= n, sum.ssim /= n, sum.changed /= n;
    sum.squared_error /= n * static_cast<double>(pixels);
  }
  return found;
}

}  // namespace caltrop
