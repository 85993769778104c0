// Similarity of images: closed forms, and a value of scikit-image.
#include "attacks/similarity.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tests/attacks/setup.h"

namespace caltrop::test {
namespace {

TEST_SUITE("attacks") {
  TEST_CASE("similarity: closed forms") {
    const ImageShape shape{13, 12, 1};
    std::vector<float> a(13 * 12), b;
    for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i * 37 % 101) / 100.0f;
    CHECK(structural_similarity(a, a, shape) == doctest::Approx(1));
    // Constant images differ in luminance alone: (2 pq + c) / (p^2 + q^2 + c).
    const std::vector<float> dark(a.size(), 0.25f), light(a.size(), 0.5f);
    CHECK(structural_similarity(dark, light, shape) == doctest::Approx((0.25 + 1e-4) / (0.3125 + 1e-4)));
    b.reserve(a.size());
    for (const float value : a) b.push_back(1 - value);
    CHECK(structural_similarity(a, b, shape) < 0);
    CHECK(structural_similarity(a, b, shape) == doctest::Approx(structural_similarity(b, a, shape)));
    CHECK(peak_signal_to_noise(0.01) == doctest::Approx(20));
    CHECK(std::isinf(peak_signal_to_noise(0)));
    CHECK(mentions(error_of([&] { (void)structural_similarity(a, a, {12, 12, 1}); }), "similarity"));
    CHECK(mentions(error_of([] { (void)structural_similarity({}, {}, {10, 12, 1}); }), "11x11"));
  }

  TEST_CASE("similarity: as skimage.metrics.structural_similarity has it") {
    // gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1; its mean leaves out the
    // border where a window does not fit, as ours.
    const ImageShape shape{28, 28, 1};
    std::vector<float> a(784), b(784);
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<float>(i * 37 % 101) / 100.0f;
      b[i] = a[i] * 0.8f + static_cast<float>(i * 53 % 97) / 97.0f * 0.2f;
    }
    CHECK(structural_similarity(a, b, shape) == doctest::Approx(0.951751458).epsilon(1e-5));
  }
}

}  // namespace
}  // namespace caltrop::test
