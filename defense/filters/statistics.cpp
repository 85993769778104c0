#include "defense/filters/statistics.h"

#include <algorithm>
#include <cmath>

#include "defense/filters/principal_axes.h"
#include "engine/autograd.h"

namespace caltrop {
namespace {

constexpr double kLeastVariance = 1e-6;  // of the first

// (n,h,w,K) -> (n,h w,K)
Tensor pixels_of(const Tensor& y) {
  return reshape(y, {y.dim(0), y.dim(1) * y.dim(2), y.dim(3)});
}

// body(convolution, what it gives of some images), chunk after chunk.
template <typename Body>
void for_convolved(const Model& model, const ImageSource& images, const Body& body) {
  // A matrix of the channels' products is taken of each image: no more than 2^23 numbers at once.
  constexpr int64_t kMost = 50, kNumbers = 1 << 23;
  int64_t channels = 1;
  for (const LayerSpec& layer : model.architecture().layers) {
    if (const auto* conv = std::get_if<ConvSpec>(&layer)) channels = std::max(channels, conv->out);
  }
  const int64_t chunk = std::clamp<int64_t>(kNumbers / (channels * channels), 1, kMost);
  const NoGrad values_only;
  for (int64_t begin = 0; begin < images.count(); begin += chunk) {
    const int64_t end = std::min(images.count(), begin + chunk);
    const Convolved seen = convolved(model, images.pixels(row_range(begin, end)));
    for (size_t c = 0; c < seen.convolutions.size(); ++c) body(c, pixels_of(seen.convolutions[c]));
  }
}

// Sums of rows of one length, in double.
struct RowSums {
  std::vector<double> sums;
  int64_t count = 0;  // of what is summed in each

  void add(const Tensor& rows, int64_t length, int64_t each) {
    sums.resize(static_cast<size_t>(length));
    const std::vector<float> values = rows.to_host();
    for (size_t i = 0; i < values.size(); ++i) sums[i % sums.size()] += static_cast<double>(values[i]);
    count += each;
  }
  std::vector<double> means() const {
    std::vector<double> all = sums;
    for (double& value : all) value /= static_cast<double>(count);
    return all;
  }
};

Tensor row_tensor(Backend& backend, const std::vector<double>& values) {
  const std::vector<float> floats(values.begin(), values.end());
  return Tensor::from(backend, {1, static_cast<int64_t>(values.size())}, floats);
}

}  // namespace

std::vector<Tensor> filter_statistics(const Tensor& y, const FilterAxes& of) {
  const int64_t n = y.dim(0), h = y.dim(1), w = y.dim(2), k = y.dim(3), last = h * w - 1;
  const Tensor turned = matmul(reshape(y, {n * h * w, k}) - of.centre, of.axes) * of.scale;
  std::vector<Tensor> parts = {mean(pixels_of(reshape(abs(turned), {n, h, w, of.scale.dim(1)})), {1})};
  const PoolOptions whole{h, w, h, w};
  parts.push_back(-maxpool(-y, whole));
  for (const int64_t rank : {last / 4, last / 2, 3 * last / 4}) parts.push_back(rankpool(y, rank, whole));
  parts.push_back(maxpool(y, whole));
  for (size_t p = 1; p < parts.size(); ++p) parts[p] = reshape(parts[p], {n, k});
  return parts;
}

Convolved convolved(const Model& model, const Tensor& x) {
  Convolved seen;
  seen.logits = model.forward(x, {.convolutions = &seen.convolutions});
  return seen;
}

std::vector<FilterAxes> filter_axes(const Model& model, const ImageSource& images) {
  const auto at = [](auto& all, size_t c) -> auto& {
    if (all.size() <= c) all.resize(c + 1);
    return all[c];
  };
  std::vector<RowSums> centres, products;
  for_convolved(model, images,
                [&](size_t c, const Tensor& y) { at(centres, c).add(mean(y, {1}), y.dim(2), y.dim(0)); });
  Backend& backend = model.backend();
  std::vector<FilterAxes> all;
  for (const RowSums& centre : centres) all.push_back({row_tensor(backend, centre.means()), {}, {}});
  for_convolved(model, images, [&](size_t c, const Tensor& y) {
    const Tensor beside = y - all[c].centre;
    at(products, c).add(batch_matmul(beside, beside, true), y.dim(2) * y.dim(2), y.dim(0) * y.dim(1));
  });
  for (size_t c = 0; c < all.size(); ++c) {
    const int64_t channels = all[c].centre.dim(1);
    const PrincipalAxes found = principal_axes(products[c].means(), channels, kLeastVariance);
    std::vector<double> scale;
    for (const double variance : found.variances) scale.push_back(1 / std::sqrt(variance));
    all[c].scale = row_tensor(backend, scale);
    const std::vector<float> rows(found.axes.begin(), found.axes.end());
    all[c].axes =
        transpose(Tensor::from(backend, {static_cast<int64_t>(found.variances.size()), channels}, rows));
  }
  return all;
}

}  // namespace caltrop
