// The emulation itself: what CUDA promises holds under every schedule, and what it forbids is seen.
#include "kernels/emulation/emulation.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "kernels/emulation/memory.h"
#include "kernels/error.h"
#include "tests/emulation/kernels.cuh"
#include "tests/emulation/setup.h"

namespace caltrop::emu {
namespace {

using test::refusal;
using test::Samples;

TEST_SUITE("emulation") {
  TEST_CASE("grids of any size") {
    for_schedules([] {
      for (const int64_t count : {0, 1, 63, 64, 65, 1000, 70000}) {
        Stream stream;
        const std::vector<float> values = Samples(1).floats(count);
        const Array<float> x(stream, values), y(stream, count);
        scale(stream, 2.0f, x.data(), y.data(), count);
        std::vector<float> expected = values;
        for (float& v : expected) v *= 2.0f;
        CHECK(y.take() == expected);
      }
    });
  }

  TEST_CASE("block sums have one order") {
    const std::vector<float> values = Samples(2).floats(5000);
    std::set<std::vector<float>> results;
    for_schedules([&] {
      Stream stream;
      const Array<float> x(stream, values), y(stream, 3);
      block_sums(stream, x.data(), y.data(), 5000);
      results.insert(y.take());
    });
    CHECK(results.size() == 1);
    double sum = 0.0;
    for (const float v : values) sum += static_cast<double>(v);
    const std::vector<float> y = *results.begin();
    CHECK(static_cast<double>(y[0] + y[1] + y[2]) == doctest::Approx(sum).epsilon(1e-4));
  }

  TEST_CASE("atomics in shared and device memory") {
    for_schedules([] {
      Stream stream;
      std::vector<int32_t> values = Samples(3).labels(999, 20);
      std::vector<unsigned> expected(20);
      for (const int32_t v : values) ++expected[static_cast<size_t>(v)];
      const Array<int32_t> x(stream, values);
      const Array<unsigned> bins(stream, std::vector<unsigned>(20));
      histogram(stream, x.data(), bins.data(), 20, 999);
      CHECK(bins.take() == expected);
    });
  }

  TEST_CASE("ballots and shuffles") {
    for_schedules([] {
      Stream stream;
      std::vector<int32_t> values = Samples(4).labels(128, 1000);
      const Array<int32_t> x(stream, values), y(stream, std::vector<int32_t>(128, -1));
      const Array<int> kept(stream, std::vector<int>{0});
      compact_odd(stream, x.data(), y.data(), kept.data());
      std::multiset<int32_t> odd, found;
      for (const int32_t v : values) {
        if (v % 2 != 0) odd.insert(v);
      }
      const std::vector<int32_t> result = y.take();
      found.insert(result.begin(), result.begin() + kept.take()[0]);
      CHECK(found == odd);
    });
  }

  TEST_CASE("asynchronous copies, and one that is not waited for") {
    const std::vector<float> values = Samples(5).floats(512);
    std::vector<float> expected;
    for (int block = 0; block < 2; ++block) {
      for (int i = 255; i >= 0; --i) expected.push_back(values[static_cast<size_t>(256 * block + i)]);
    }
    int missed = 0;
    for_schedules([&] {
      Stream stream;
      const Array<float> x(stream, values), y(stream, 512);
      async_reverse(stream, x.data(), y.data(), true);
      CHECK(y.take() == expected);
      async_reverse(stream, x.data(), y.data(), false);
      if (y.take() != expected) ++missed;
    });
    CHECK(missed >= 1);
  }

  TEST_CASE("a missing barrier changes results") {
    const std::vector<float> values = Samples(6).floats(96);
    std::vector<float> expected;
    for (int block = 0; block < 2; ++block) {
      for (int i = 47; i >= 0; --i) expected.push_back(values[static_cast<size_t>(48 * block + i)]);
    }
    for_schedules([&] {
      Stream stream;
      const Array<float> x(stream, values), y(stream, 96);
      reverse(stream, x.data(), y.data(), true);
      CHECK(y.take() == expected);
      reverse(stream, x.data(), y.data(), false);
      CHECK(y.take() != expected);
    });
  }

  TEST_CASE("a missing __syncwarp changes results") {
    const std::vector<float> values = Samples(7).floats(64);
    std::vector<float> expected;
    for (size_t i = 0; i < 64; ++i) expected.push_back(values[i ^ 31]);
    int wrong = 0;
    for_schedules([&] {
      Stream stream;
      const Array<float> x(stream, values), y(stream, 64);
      warp_reverse(stream, x.data(), y.data(), true);
      CHECK(y.take() == expected);
      const std::vector<float> other = Samples(8).floats(64);
      const Array<float> z(stream, other);
      warp_reverse(stream, z.data(), y.data(), false);
      std::vector<float> reversed;
      for (size_t i = 0; i < 64; ++i) reversed.push_back(other[i ^ 31]);
      wrong += y.take() != reversed;
    });
    CHECK(wrong >= 1);
  }

  TEST_CASE("tensor-core products against loops") {
    Samples samples(9);
    for (const MmaTest kind : {MmaTest::tf32, MmaTest::half, MmaTest::bfloat16}) {
      const int64_t depth = kind == MmaTest::tf32 ? 8 : 16;
      // Small integers are exact in all three formats.
      const std::vector<float> a = samples.integers(16 * depth, -8, 8),
                               b = samples.integers(depth * 8, -8, 8);
      std::vector<float> expected(16 * 8);
      for (size_t i = 0; i < 16; ++i) {
        for (size_t j = 0; j < 8; ++j) {
          for (size_t k = 0; k < static_cast<size_t>(depth); ++k)
            expected[i * 8 + j] += a[i * static_cast<size_t>(depth) + k] * b[k * 8 + j];
        }
      }
      for_schedules([&] {
        Stream stream;
        const Array<float> da(stream, a), db(stream, b), c(stream, 16 * 8);
        multiply(stream, kind, da.data(), db.data(), c.data());
        CHECK(c.take() == expected);
      });
    }
  }

  TEST_CASE("forbidden kernels end in an error that names threads and lines") {
    const auto text = [](Wrong how) {
      Stream stream;
      const Array<float> y(stream, 32);
      wrong(stream, how, y.data());
      return refusal([&] { stream.synchronize(); });
    };
    for_schedules([&] {
      const std::string divergent = text(Wrong::divergent_barrier);
      CHECK(divergent.find("divergent barrier: thread (") != std::string::npos);
      CHECK(lines_named(divergent) == 2);
      CHECK(text(Wrong::early_return).find("__syncthreads at kernels.cu:") != std::string::npos);
      const std::string deadlock = text(Wrong::deadlock);
      CHECK(deadlock.find("deadlock") != std::string::npos);
      CHECK(deadlock.find("__syncwarp at kernels.cu:") != std::string::npos);
      CHECK(text(Wrong::bad_mask).find("lacks its own lane") != std::string::npos);
      CHECK(text(Wrong::absent_lane).find("reads lane 9, which takes no part") != std::string::npos);
    });
    // The next launch is not disturbed by what the failed one left behind.
    Stream stream;
    const std::vector<float> values = Samples(10).floats(96);
    const Array<float> x(stream, values), y(stream, 96);
    reverse(stream, x.data(), y.data(), true);
    CHECK(y.take()[0] == values[47]);
  }

  TEST_CASE("host pointers and oversized launches are refused") {
    Stream stream;
    float host = 0.0f;
    const Array<float> y(stream, 32);
    CHECK(refusal([&] { scale(stream, 1.0f, &host, y.data(), 1); }).find("argument 2") != std::string::npos);
    CHECK(refusal([&] { scale(stream, 1.0f, y.data(), &host, 1); }).find("[scale] expected argument 3") == 0);
  }
}

}  // namespace
}  // namespace caltrop::emu
