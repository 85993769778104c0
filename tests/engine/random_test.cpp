// Random numbers on the host, and their agreement with the kernels'.
#include "engine/random.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/tensor.h"
#include "kernels/philox.h"

namespace caltrop::test {
namespace {

TEST_SUITE("engine") {
  TEST_CASE("Random reads the words of its Philox stream in order") {
    Random random(42, 7);
    for (uint64_t i = 0; i < 21; ++i) CHECK(random.bits() == philox4x32(42, 7, i / 4).word[i % 4]);
    // The first words of seed 0, stream 0 are the generator's known answer.
    Random zero(0, 0);
    CHECK(zero.bits() == 0x6627e8d5);
    CHECK(zero.bits() == 0xe169c58d);
  }

  TEST_CASE("host and backend draw the same uniform numbers") {
    const uint64_t stream = stream_of(Purpose::random_start, 12345);
    std::vector<float> device(1001);
    const Buffer<float> y(cpu_backend(), 1001);
    cpu_backend().random(Distribution::uniform, 99, std::span(&stream, 1), 1001, y.data());
    Random random(99, stream);
    for (const float v : y.to_host()) REQUIRE(v == random.uniform());
  }

  TEST_CASE("purposes and indices separate streams") {
    CHECK(stream_of(Purpose::weights, 5) == (uint64_t{1} << 48 | 5));
    std::set<uint64_t> streams;
    for (const Purpose purpose : {Purpose::weights, Purpose::shuffle, Purpose::dropout, Purpose::random_start,
                                  Purpose::split, Purpose::digits, Purpose::test}) {
      for (uint64_t index = 0; index < 100; ++index) streams.insert(stream_of(purpose, index));
    }
    CHECK(streams.size() == 700);
    Random a(1, Purpose::shuffle, 3), b(1, Purpose::shuffle, 4), c(2, Purpose::shuffle, 3),
        again(1, Purpose::shuffle, 3);
    const uint32_t first = a.bits();
    CHECK(first == again.bits());
    CHECK(first != b.bits());
    CHECK(first != c.bits());
  }

  TEST_CASE("uniform and normal have their ranges and moments") {
    Random random(3, Purpose::test);
    constexpr int kCount = 200000;
    double mean = 0.0, square = 0.0, normal_mean = 0.0, normal_square = 0.0;
    for (int i = 0; i < kCount; ++i) {
      const float u = random.uniform(-2.0f, 4.0f);
      REQUIRE((u >= -2.0f && u <= 4.0f));
      mean += static_cast<double>(u) / kCount;
      square += static_cast<double>(u) * static_cast<double>(u) / kCount;
      const auto n = static_cast<double>(random.normal());
      REQUIRE(std::isfinite(n));
      normal_mean += n / kCount;
      normal_square += n * n / kCount;
    }
    const double error = 5.0 / std::sqrt(static_cast<double>(kCount));  // five standard errors
    CHECK(std::fabs(mean - 1.0) <= error * std::sqrt(3.0));
    CHECK(std::fabs(square - mean * mean - 3.0) <= error * 3.0 * std::sqrt(2.0));
    CHECK(std::fabs(normal_mean) <= error);
    CHECK(std::fabs(normal_square - 1.0) <= error * std::sqrt(2.0));
  }

  TEST_CASE("below is in range and favours nothing") {
    Random random(4, Purpose::test);
    CHECK(random.below(1) == 0);
    for (const uint64_t bound : {uint64_t{2}, uint64_t{3}, uint64_t{10}, (uint64_t{1} << 63) + 1}) {
      for (int i = 0; i < 100; ++i) REQUIRE(random.below(bound) < bound);
    }
    constexpr int kDraws = 70000;
    int seen[7] = {};
    for (int i = 0; i < kDraws; ++i) ++seen[random.below(7)];
    double chi = 0.0;
    for (const int n : seen) chi += (n - kDraws / 7.0) * (n - kDraws / 7.0) / (kDraws / 7.0);
    CHECK(chi <= 27.9);  // six degrees of freedom: one seed in ten thousand is beyond
  }

  TEST_CASE("a permutation holds each number once, is a function of its seed, and mixes") {
    for (const int64_t n : {0, 1, 2, 10, 1000}) {
      std::vector<int64_t> order = Random(5, Purpose::shuffle, 1).permutation(n);
      CHECK(order == Random(5, Purpose::shuffle, 1).permutation(n));
      if (n >= 10) CHECK(order != Random(5, Purpose::shuffle, 2).permutation(n));
      std::sort(order.begin(), order.end());
      CHECK(static_cast<int64_t>(order.size()) == n);
      for (int64_t i = 0; i < n; ++i) REQUIRE(order[static_cast<size_t>(i)] == i);
    }
    // Each of three numbers stands in each place about as often.
    int count[3][3] = {};
    for (uint64_t seed = 0; seed < 3000; ++seed) {
      const std::vector<int64_t> order = Random(seed, Purpose::shuffle).permutation(3);
      for (size_t i = 0; i < 3; ++i) ++count[i][order[i]];
    }
    for (const auto& place : count) {
      for (const int n : place) CHECK(std::abs(n - 1000) <= 130);  // five standard deviations
    }
  }
}

}  // namespace
}  // namespace caltrop::test
