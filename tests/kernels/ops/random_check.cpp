// The streams of random numbers that a backend writes, and the gather of images.
#include <numbers>

#include "kernels/philox.h"
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

}  // namespace caltrop::test
