// Philox against the known answers of its authors, the streams written by a backend, and the gather of
// images.

#include "kernels/philox.h"

#include <doctest/doctest.h>

#include <array>
#include <numbers>

#include "tests/kernels/checks.h"

namespace caltrop::test {

Report check_random(Backend& backend) {
  Report report;
  const std::vector<std::vector<uint64_t>> stream_lists = {
      {}, {0}, {7}, {3, 3, 0xFFFFFFFFFFFFFFFF, 0x0003000000000001}};
  for (const std::vector<uint64_t>& streams : stream_lists) {
    for (const int64_t cols : {0, 1, 2, 3, 4, 5, 17, 784, 20000}) {
      for (const uint64_t seed : {uint64_t{0}, uint64_t{0x123456789ABCDEF0}}) {
        const auto rows = static_cast<int64_t>(streams.size());
        const Output<float> uniform(backend, rows * cols), normal(backend, rows * cols);
        backend.random(Distribution::uniform, seed, streams, cols, uniform.data());
        backend.random(Distribution::normal, seed, streams, cols, normal.data());
        std::vector<float> expected_uniform, same_normal;
        Values expected_normal, tolerance;
        for (const uint64_t stream : streams) {
          for (int64_t i = 0; i < cols; ++i) {
            const Philox4 four = philox4x32(seed, stream, static_cast<uint64_t>(i / 4));
            const auto unit = [&](int64_t word) {
              return static_cast<double>(four.word[word] >> 8) / 16777216.0;
            };
            expected_uniform.push_back(static_cast<float>(unit(i % 4)));
            const int64_t pair = i % 4 / 2 * 2;
            const double radius = std::sqrt(-2.0 * std::log(1.0 - unit(pair)));
            const double angle = 2.0 * std::numbers::pi * unit(pair + 1);
            expected_normal.push_back(radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
            tolerance.push_back(2.0 * kRounding * radius);
            const NormalPair drawn = normal_pair(four.word[pair], four.word[pair + 1]);
            same_normal.push_back(i % 2 == 0 ? drawn.cosine : drawn.sine);
          }
        }
        const std::vector<float> drawn = uniform.take(report, "uniform");
        report.equal("uniform", drawn, expected_uniform);
        for (const float u : drawn) report.expect(u >= 0.0f && u < 1.0f, "uniform: out of [0, 1)");
        const std::vector<float> normals = normal.take(report, "normal");
        report.compare("normal", normals, expected_normal, tolerance);
        report.equal("normal, bits that every device gives", normals, same_normal);
      }
    }
  }
  return report;
}

Report check_gather_images(Backend& backend) {
  Report report;
  constexpr int64_t kCount = 300;
  for (const int64_t cols : {0, 1, 3, 16, 49, 784}) {
    Samples samples(101);
    std::vector<uint8_t> pixels(static_cast<size_t>(kCount * cols));
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i % 256);
    const Input<uint8_t> set(backend, pixels);
    for (const int64_t count : {0, 1, 2, 100}) {
      std::vector<int64_t> rows;
      for (int64_t r = 0; r < count; ++r)
        rows.push_back(samples.below(kCount));  // any order, with repetitions
      std::vector<float> expected;
      for (const int64_t row : rows) {
        for (int64_t i = 0; i < cols; ++i) {
          expected.push_back(static_cast<float>(pixels[static_cast<size_t>(row * cols + i)] / 255.0));
        }
      }
      const Output<float> y(backend, count * cols);
      backend.gather_images(set, rows, cols, y.data());
      report.equal("gather_images", y.take(report, "gather_images"), expected);
    }
  }
  return report;
}

namespace {

TEST_SUITE("kernels") {
  // From kat_vectors of Random123 1.14 (D. E. Shaw Research), philox 4x32, 10 rounds. There a counter is the
  // words c0..c3 and a key k0, k1; here c1:c0 is the index of the group, c3:c2 the stream and k1:k0 the seed.
  TEST_CASE("philox gives its authors' known answers") {
    const auto words = [](uint64_t seed, uint64_t stream, uint64_t index) {
      const Philox4 four = philox4x32(seed, stream, index);
      return std::array<uint32_t, 4>{four.word[0], four.word[1], four.word[2], four.word[3]};
    };
    using Words = std::array<uint32_t, 4>;
    CHECK(words(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(words(~0ull, ~0ull, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    // The digits of pi: this one would notice exchanged words.
    CHECK(words(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) ==
          Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  }

  TEST_CASE("random numbers have the moments of their distributions") {
    for_each_lane([](Backend& backend) {
      Report report;
      constexpr int64_t kCount = 400000;
      const std::vector<uint64_t> stream = {5};
      for (const Distribution kind : {Distribution::uniform, Distribution::normal}) {
        const Output<float> y(backend, kCount);
        backend.random(kind, 9, stream, kCount, y.data());
        double mean = 0.0, square = 0.0, lag = 0.0;
        const std::vector<float> values = y.take(report, "random");
        const double expected_mean = kind == Distribution::uniform ? 0.5 : 0.0;
        const double variance = kind == Distribution::uniform ? 1.0 / 12.0 : 1.0;
        for (size_t i = 0; i < values.size(); ++i) {
          const double v = static_cast<double>(values[i]) - expected_mean;
          mean += v / kCount;
          square += v * v / kCount;
          if (i > 0) lag += v * (static_cast<double>(values[i - 1]) - expected_mean) / kCount;
        }
        // Five standard errors; kurtosis is at most 3.
        const double error = 5.0 / std::sqrt(static_cast<double>(kCount));
        CHECK(std::fabs(mean) <= error * std::sqrt(variance));
        CHECK(std::fabs(square - variance) <= error * variance * std::sqrt(2.0));
        CHECK(std::fabs(lag) <= error * variance);
      }
      CHECK(report.passed());
    });
  }
}

}  // namespace
}  // namespace caltrop::test
