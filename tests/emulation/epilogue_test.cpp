// What matrix products do with their sums before they store them, on every tile and with sums that are cut.
// Backend::matmul has no epilogue; fused ops have.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "kernels/gpu_ops.cuh"
#include "tests/emulation/setup.h"

namespace caltrop::emu {
namespace {

TEST_SUITE("emulation") {
  TEST_CASE("bias and activation of matrix products") {
    Stream stream;
    test::Samples samples(17);
    const int64_t shapes[][3] = {{70, 10, 20}, {9, 70, 20}, {70, 70, 20}, {70, 66, 300}, {20, 7, 0}};
    for (const auto& shape : shapes) {
      const int64_t m = shape[0], n = shape[1], k = shape[2];
      const Array<float> a(stream, samples.floats(m * k)), b(stream, samples.floats(k * n));
      const std::vector<float> shift = samples.floats(n);
      const Array<float> bias(stream, shift), plain(stream, m * n), y(stream, m * n);
      matmul(stream, false, true, m, n, k, a.data(), b.data(), plain.data());
      const std::vector<float> sums = plain.take();
      for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
        for (const bool biased : {false, true}) {
          matmul(stream, false, true, m, n, k, a.data(), b.data(), y.data(),
                 {biased ? bias.data() : nullptr, activation});
          const std::vector<float> values = y.take();
          double worst = 0.0;
          for (size_t i = 0; i < values.size(); ++i) {
            const auto z = static_cast<double>(biased ? sums[i] + shift[i % shift.size()] : sums[i]);
            const double error =
                std::fabs(static_cast<double>(values[i]) - reference::activate(activation, z));
            worst = std::max(worst, error / (1.0 + std::fabs(z)));
          }
          CHECK_MESSAGE(worst <= 1e-6, fmt::format("{}x{}x{} activation {} bias {}", m, n, k,
                                                   static_cast<int>(activation), biased));
        }
      }
    }
  }
}

}  // namespace
}  // namespace caltrop::emu
