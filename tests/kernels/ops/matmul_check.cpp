// Matrix products in all four transposes, around every edge of the register and cache tiles.

#include <array>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

void check_transposed(Backend& backend, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                      Samples& samples, Report& report) {
  const std::vector<float> a = samples.floats(m * k), b = samples.floats(k * n);
  const Input<float> in_a(backend, a), in_b(backend, b);
  const Output<float> c(backend, m * n);
  backend.matmul(trans_a, trans_b, m, n, k, in_a, in_b, c.data(), {});
  const Values wide_a = reference::widen(a), wide_b = reference::widen(b);
  const Values scale = reference::matmul(trans_a, trans_b, m, n, k, reference::magnitudes(wide_a),
                                         reference::magnitudes(wide_b));
  const std::string what =
      fmt::format("matmul {}x{}x{} {}{}", m, n, k, trans_a ? "t" : "n", trans_b ? "t" : "n");
  report.compare_sums(what, c.take(report, what),
                      reference::matmul(trans_a, trans_b, m, n, k, wide_a, wide_b), scale,
                      static_cast<double>(k));
}

void check_product(Backend& backend, int64_t m, int64_t n, int64_t k, Samples& samples, Report& report) {
  for (int transposes = 0; transposes < 4; ++transposes)
    check_transposed(backend, transposes & 1, transposes & 2, m, n, k, samples, report);
}

// What a product does with its sums in one of 24 forms, transposes and epilogues: the sums themselves are those of the plain
// product.
void check_form(Backend& backend, int64_t m, int64_t n, int64_t k, int form, Samples& samples,
                Report& report) {
  const Input<float> a(backend, samples.floats(m * k)), b(backend, samples.floats(k * n));
  const std::vector<float> shift = samples.floats(n);
  const Input<float> bias(backend, shift);
  const bool trans_a = form & 1, trans_b = form & 2, biased = form & 4;
  const auto activation = static_cast<Activation>(form / 8);
  const Output<float> plain(backend, m * n), y(backend, m * n);
  backend.matmul(trans_a, trans_b, m, n, k, a, b, plain.data(), {});
  backend.matmul(trans_a, trans_b, m, n, k, a, b, y.data(),
                 {biased ? static_cast<const float*>(bias) : nullptr, activation});
  const std::string what = fmt::format("matmul {}x{}x{} form {}", m, n, k, form);
  const std::vector<float> sums = plain.take(report, what);
  Values expected;
  for (size_t i = 0; i < sums.size(); ++i) {
    const float z = biased ? sums[i] + shift[i % shift.size()] : sums[i];
    expected.push_back(reference::activate(activation, static_cast<double>(z)));
  }
  report.compare(what, y.take(report, what), expected, activation == Activation::gelu ? 1e-6 : 0.0);
}

// Few rows of a product have the bits that they have among many, however the work is cut.
void check_rows(Backend& backend, int64_t m, int64_t n, int64_t k, Samples& samples, Report& report) {
  constexpr int64_t kFew = 5;
  const Input<float> a(backend, samples.floats(m * k)), b(backend, samples.floats(k * n));
  const Output<float> all(backend, m * n), few(backend, kFew * n);
  backend.matmul(false, true, m, n, k, a, b, all.data(), {});
  backend.matmul(false, true, kFew, n, k, a + (m - kFew) * k, b, few.data(), {});
  const std::string what = fmt::format("rows of matmul {}x{}x{}", m, n, k);
  const std::vector<float> values = all.take(report, what);
  report.equal(what, few.take(report, what), std::vector<float>(values.end() - kFew * n, values.end()));
}

// Each product of a batch is that of its own pair, in the first so many of the four transposes.
void check_batch(Backend& backend, int64_t batch, int64_t m, int64_t n, int64_t k, int transposed,
                 Samples& samples, Report& report) {
  const std::vector<float> a = samples.floats(batch * m * k), b = samples.floats(batch * k * n);
  const Input<float> in_a(backend, a), in_b(backend, b);
  const auto pair = [](const std::vector<float>& all, int64_t i, int64_t size) {
    return reference::widen(std::vector<float>(all.begin() + i * size, all.begin() + (i + 1) * size));
  };
  for (int transposes = 0; transposes < transposed; ++transposes) {
    const bool trans_a = transposes & 1, trans_b = transposes & 2;
    const Output<float> c(backend, batch * m * n);
    backend.batch_matmul(trans_a, trans_b, batch, m, n, k, in_a, in_b, c.data());
    Values expected, scale;
    for (int64_t i = 0; i < batch; ++i) {
      const Values left = pair(a, i, m * k), right = pair(b, i, k * n);
      const auto append = [&](Values& to, const Values& x, const Values& y) {
        const Values product = reference::matmul(trans_a, trans_b, m, n, k, x, y);
        to.insert(to.end(), product.begin(), product.end());
      };
      append(expected, left, right);
      append(scale, reference::magnitudes(left), reference::magnitudes(right));
    }
    const std::string what = fmt::format("batch_matmul {} {}x{}x{} {}{}", batch, m, n, k, trans_a ? "t" : "n",
                                         trans_b ? "t" : "n");
    report.compare_sums(what, c.take(report, what), expected, scale, static_cast<double>(k));
  }
}

}  // namespace

Report check_batch_matmul(Backend& backend) {
  Report report;
  Samples samples(58);
  for (const auto& [batch, m, n, k] : std::vector<std::array<int64_t, 4>>{
           {1, 1, 1, 1},
           {3, 5, 7, 2},
           {2, 16, 16, 16},
           {5, 17, 15, 33},
           {2, 64, 64, 16},
           {3, 65, 66, 17},
           {2, 70, 12, 40},
           {2, 9, 70, 40},
           {2, 49, 49, 32},
           {2, 72, 68, 300},
           {40, 4, 8, 12},
           {7, 3, 3, 0},
           {0, 3, 4, 5},
           {4, 0, 3, 2},
           {4, 3, 0, 2},
       }) {
    check_batch(backend, batch, m, n, k, 4, samples, report);
  }
  check_batch(backend, 4100, 1, 2, 1, 1, samples, report);  // more pairs than rows of blocks
  return report;
}

Report check_matmul(Backend& backend) {
  Report report;
  Samples samples(51);
  const std::vector<int64_t> edges = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17};
  // Each m with each n, and each of both with each k.
  constexpr std::array<int64_t, 4> kLengths = {1, 3, 8, 17};
  for (size_t i = 0; i < edges.size(); ++i) {
    for (size_t j = 0; j < edges.size(); ++j)
      check_product(backend, edges[i], edges[j], kLengths[(i + j) % kLengths.size()], samples, report);
  }
  for (const int64_t size : {31, 32, 33, 34, 47, 48, 49, 63, 64, 65, 100, 128}) {
    check_product(backend, size, 10, 100, samples, report);
    check_product(backend, 5, size, 33, samples, report);
    check_product(backend, 7, 11, size, samples, report);
  }
  // Around a block of the long dimension, and shapes of the models: dense layers and their gradients.
  for (const int64_t k : {1023, 1024, 1025, 1030, 2049}) check_product(backend, 9, 19, k, samples, report);
  check_product(backend, 97, 100, 128, samples, report);
  check_product(backend, 65, 61, 1030, samples, report);
  check_product(backend, 3, 515, 40, samples, report);
  check_product(backend, 193, 5, 40, samples, report);
  check_product(backend, 1, 1, 5408, samples, report);
  // Outputs of many tiles, with short sums and with sums that are cut.
  check_transposed(backend, false, false, 2000, 1000, 5, samples, report);
  check_rows(backend, 8200, 4, 260, samples, report);
  for (const int64_t n : {8, 12, 64, 100}) {
    for (const int64_t m : {4, 36, 100}) check_product(backend, m, n, 40, samples, report);
  }
  check_product(backend, 8, 20, 600, samples, report);
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{
           {70, 10, 20}, {9, 70, 20}, {70, 70, 20}, {70, 66, 300}, {20, 7, 0}, {33, 101, 40}}) {
    for (int form = 0; form < 24; ++form) check_form(backend, m, n, k, form, samples, report);
  }
  // Many tiles: a dense layer over many images, with short sums and with long ones. Form 14 is that of a layer:
  // b transposed, a bias, relu.
  check_form(backend, 2000, 1000, 5, 14, samples, report);
  check_form(backend, 8200, 4, 260, 14, samples, report);
  // Empty ones: no output, or sums of nothing.
  for (const int64_t m : {0, 3}) {
    for (const int64_t n : {0, 7}) {
      for (const int64_t k : {0, 5}) check_product(backend, m, n, k, samples, report);
    }
  }
  return report;
}

}  // namespace caltrop::test
