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
    CHECK(mentions(refusal([&] { (void)structural_similarity(a, a, {12, 12, 1}); }), "similarity"));
    CHECK(mentions(refusal([] { (void)structural_similarity({}, {}, {10, 12, 1}); }), "11x11"));
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

  TEST_CASE("similarity under an attack: what its rows say, the smaller the more alike") {
    const Model model = small_model(4);
    const Images images = random_images(model.input(), 10, 10, 4);
    const std::vector<float> sizes = {0.0001f, 0.05f, 0.3f};
    const AttackOptions options = attack_of(AttackKind::pgd, Norm::linf);
    int64_t last = 0;
    const std::vector<Similarity> found =
        measure_similarity(model, images, 8, sizes, options, [&](int64_t done) { last = done; });
    CHECK(last == 8);
    REQUIRE(found.size() == 3);
    const Recorded all = run_attack(model, images, sizes, options, {.rows = row_range(0, 8)});
    for (size_t s = 0; s < 3; ++s) {
      const Similarity& one = found[s];
      double linf = 0, squares = 0;
      int64_t fooled = 0, right = 0;
      for (size_t i = 0; i < 8; ++i) {
        const AttackRow& row = all.rows[i * 3 + s];
        linf += static_cast<double>(row.linf) / 8;
        for (const float d : row_of(all.delta, i * 3 + s, 144))
          squares += static_cast<double>(d) * static_cast<double>(d) / (8 * 144);
        const bool correct = all.images[i].clean_prediction == all.images[i].label;
        right += correct;
        fooled += correct && row.prediction != all.images[i].label;
      }
      CHECK(one.images == 8);
      CHECK(one.linf == doctest::Approx(linf));
      CHECK(one.squared_error == doctest::Approx(squares));
      CHECK(one.correct == right);
      CHECK(one.fooled == fooled);
      CHECK(one.fooled_rounded <= one.fooled);
      if (s > 0) CHECK(one.ssim < found[s - 1].ssim);
    }
    CHECK(found[0].changed == 0.0);  // less than half of 1/255
    CHECK(found[0].fooled_rounded == 0);
    CHECK(found[2].changed > 0.5);
    CHECK(measure_similarity(model, images, 99, {&sizes[1], 1}, options)[0].images == 10);
  }

  TEST_CASE("the first image of each class that is right, and what the network says of it") {
    const Model model = small_model(4);
    const Images random = random_images(model.input(), 30, 10, 4);
    const AttackBatch first = first_of_each_class(model, random, 10);
    const std::vector<int32_t> said = argmax_rows(predict(model, random), 10);
    for (size_t c = 0; c < first.labels.size(); ++c) {
      CHECK((c == 0 || first.labels[c] > first.labels[c - 1]));
      CHECK(said[static_cast<size_t>(first.indices[c])] == first.labels[c]);
      for (int64_t i = 0; i < first.indices[c]; ++i) {
        const auto at = static_cast<size_t>(i);
        CHECK_FALSE((random.labels()[at] == first.labels[c] && said[at] == first.labels[c]));
      }
    }
    REQUIRE(!first.labels.empty());
    const Likeliest likely = likeliest(model, first.x);
    CHECK(likely.label == first.labels);
    for (const float p : likely.probability) CHECK((p > 0.1f && p <= 1.0f));
    CHECK(first_of_each_class(model, random, 0).labels.empty());
  }
}

}  // namespace
}  // namespace caltrop::test
