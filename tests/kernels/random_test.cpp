// Random numbers beyond parity: the generator's known answers, and the moments of its distributions.
#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "kernels/philox.h"
#include "tests/kernels/harness.h"

namespace caltrop::test {
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
    for_each_backend([](Backend& backend) {
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
