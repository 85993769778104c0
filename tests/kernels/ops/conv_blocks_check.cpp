// The blocks of several networks over the same images: against loops over doubles, and bit for bit against each
// network's block alone.

#include <algorithm>
#include <memory>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

struct Together {
  ConvBlock block;  // conv.cout: of all
  std::vector<int64_t> couts;
};

std::vector<Together> together() {
  std::vector<Together> list;
  const std::vector<std::vector<int64_t>> networks = {
      {32, 32, 64}, {5}, {7, 33, 1, 4}, {3, 3, 3, 3, 3, 3, 3, 3}};
  const std::vector<ConvBlock> blocks = {{{2, 12, 11, 1, 0, 3, 3}, Activation::gelu, 2, 2},
                                         {{3, 9, 9, 3, 0, 3, 3, 1, 1, 1, 1}, Activation::relu, 2, 2},
                                         {{1, 11, 10, 2, 0, 5, 4, 2, 1, 0, 2}, Activation::none, 2, 2},
                                         {{2, 8, 9, 1, 0, 3, 3}, Activation::gelu, 3, 2},
                                         {{2, 7, 7, 40, 0, 3, 3}, Activation::gelu, 2, 2},
                                         {{0, 7, 7, 1, 0, 3, 3}, Activation::relu, 2, 2}};
  for (const ConvBlock& block : blocks) {
    for (const std::vector<int64_t>& couts : networks) {
      Together t{block, couts};
      for (const int64_t cout : couts) t.block.conv.cout += cout;
      list.push_back(t);
    }
  }
  list.push_back({{{1, 28, 28, 1, 128, 3, 3}, Activation::gelu, 2, 2}, {32, 32, 64}});
  return list;
}

std::string text_of(const Together& t, size_t network) {
  const Conv2d& s = t.block.conv;
  return fmt::format("network {} of {}: n{} {}x{}x{}->{} window {}x{} pool {}x{}", network, t.couts.size(),
                     s.n, s.h, s.w, s.cin, t.couts[network], s.kh, s.kw, t.block.pool_h, t.block.pool_w);
}

}  // namespace

Report check_conv_blocks(Backend& backend) {
  Report report;
  Samples samples(84);
  for (const Together& t : together()) {
    const size_t count = t.couts.size();
    const std::vector<float> pixels = samples.floats(static_cast<int64_t>(reference::x_size(t.block.conv)));
    const Input<float> x(backend, pixels);
    std::vector<ConvBlock> own(count, t.block);
    std::vector<std::vector<float>> weights, biases;
    std::vector<std::unique_ptr<Input<float>>> w, bias;
    std::vector<std::unique_ptr<Output<float>>> y;
    std::vector<BlockFilters> networks;
    for (size_t m = 0; m < count; ++m) {
      own[m].conv.cout = t.couts[m];
      weights.push_back(samples.floats(static_cast<int64_t>(reference::w_size(own[m].conv))));
      biases.push_back(m % 3 == 1 ? std::vector<float>() : samples.floats(t.couts[m], -1.5, 1.0));
      w.push_back(std::make_unique<Input<float>>(backend, weights[m]));
      bias.push_back(std::make_unique<Input<float>>(backend, biases[m]));
      y.push_back(std::make_unique<Output<float>>(backend, own[m].pooled()));
      const float* shift = biases[m].empty() ? nullptr : static_cast<const float*>(*bias[m]);
      networks.push_back({*w[m], shift, y[m]->data(), t.couts[m]});
    }
    backend.conv_blocks(t.block, x, networks);
    for (size_t m = 0; m < count; ++m) {
      const Conv2d& s = own[m].conv;
      const std::vector<float> result = y[m]->take(report, text_of(t, m));
      const Output<float> alone(backend, own[m].pooled());
      backend.conv_block(own[m], x, networks[m].w, networks[m].bias, alone.data(), nullptr, nullptr);
      report.equal("conv_blocks and conv_block, " + text_of(t, m), result, alone.take(report, "conv_block"));

      const Values wide_x = reference::widen(pixels), wide_w = reference::widen(weights[m]);
      Values z = reference::conv2d(s, wide_x, wide_w);
      Values scale = reference::conv2d(s, reference::magnitudes(wide_x), reference::magnitudes(wide_w));
      double largest = 0.0;
      for (size_t i = 0; i < z.size(); ++i) {
        const double shift = biases[m].empty() ? 0.0 : static_cast<double>(biases[m][i % biases[m].size()]);
        z[i] = reference::activate(t.block.activation, z[i] + shift);
        largest = std::max(largest, scale[i] + std::fabs(shift));
      }
      const Pool2d pool{
          s.n, s.out_h(), s.out_w(), s.cout, t.block.pool_h, t.block.pool_w, t.block.pool_h, t.block.pool_w};
      const double roundings = 16.0 + 3.0 * std::sqrt(static_cast<double>(s.kh * s.kw * s.cin));
      report.compare("conv_blocks " + text_of(t, m), result, reference::maxpool(pool, z).values,
                     roundings * kRounding * largest);
    }
  }
  return report;
}

}  // namespace caltrop::test
