#include "attacks/attack_rows.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {
namespace {

// Random numbers of one image in one try: its noise, and apart from it the length of an L2 start.
enum class Draw : uint8_t { noise = 0, radius = 1 };
uint64_t start_stream(int64_t attempt, Draw draw, int64_t index) {
  return stream_of(Purpose::random_start, (static_cast<uint64_t>(attempt) << 33) |
                                              (static_cast<uint64_t>(draw) << 32) |
                                              static_cast<uint64_t>(index));
}

int64_t row_size(const Tensor& x) {
  return x.dim(0) > 0 ? x.size() / x.dim(0) : 0;
}

}  // namespace

Found nothing_found(const Tensor& x) {
  const std::vector<int32_t> none(static_cast<size_t>(x.dim(0)), 0);
  return {x, none, none};
}

Places all_places(int64_t count) {
  Places places(static_cast<size_t>(count));
  std::iota(places.begin(), places.end(), int64_t{0});
  return places;
}

Tensor take(const Tensor& x, std::span<const int64_t> places) {
  Shape shape = x.shape();
  shape[0] = static_cast<int64_t>(places.size());
  Tensor y = Tensor::uninitialized(x.backend(), shape);
  const int64_t size = row_size(x);
  for (size_t first = 0; first < places.size();) {
    size_t last = first + 1;
    while (last < places.size() && places[last] == places[last - 1] + 1) ++last;
    x.backend().copy(y.mutable_data() + static_cast<int64_t>(first) * size, x.data() + places[first] * size,
                     (last - first) * static_cast<size_t>(size) * sizeof(float));
    first = last;
  }
  return y;
}

void put(const Tensor& to, std::span<const int64_t> places, const Tensor& from) {
  for (size_t row = 0; row < places.size(); ++row) put(to, places[row], from, static_cast<int64_t>(row));
}

void put(const Tensor& to, int64_t place, const Tensor& from, int64_t row) {
  const int64_t size = row_size(from);
  to.backend().copy(to.mutable_data() + place * size, from.data() + row * size,
                    static_cast<size_t>(size) * sizeof(float));
}

Rows take(const Rows& rows, std::span<const int64_t> places) {
  return {take(rows.origin, places), take(rows.indices, places),
          take(rows.labels, places), take(rows.goals, places),
          take(rows.eps, places),    rows.start ? take(rows.start, places) : Tensor()};
}

void assign(const Tensor& to, const Tensor& from) {
  to.backend().copy(to.mutable_data(), from.data(), static_cast<size_t>(to.size()) * sizeof(float));
}

Tensor per_row(const Tensor& values) {
  return reshape(values, {values.size(), 1, 1, 1});
}
Tensor per_row(Backend& backend, std::span<const float> values) {
  return Tensor::from(backend, {static_cast<int64_t>(values.size()), 1, 1, 1}, values);
}

Tensor pick_rows(std::span<const Tensor> from, std::span<const int32_t> which) {
  Tensor picked = Tensor::zeros(from[0].backend(), from[0].shape());
  for (size_t k = 0; k < from.size(); ++k) {
    std::vector<float> here;
    bool any = false;
    for (const int32_t w : which) {
      here.push_back(w == static_cast<int32_t>(k) ? 1.0f : 0.0f);
      any = any || here.back() > 0.0f;
    }
    if (any) picked = where(per_row(from[k].backend(), here), from[k], picked);
  }
  return picked;
}

std::vector<RowStats> row_stats(const Tensor& x) {
  std::vector<RowStats> stats(static_cast<size_t>(x.dim(0)));
  x.backend().row_stats(x.dim(0), row_size(x), x.data(), stats.data());
  return stats;
}

float norm_of(const RowStats& stats, Norm norm) {
  if (stats.nans > 0.0f) return std::numeric_limits<float>::quiet_NaN();
  switch (norm) {
    case Norm::linf:
      return stats.linf;
    case Norm::l2:
      return stats.l2;
    case Norm::l1:
      return stats.l1;
  }
  return 0.0f;
}

Tensor Workbench::evaluate(const Tensor& x, std::span<const int64_t> images, uint64_t step) {
  const NoGrad values_only;
  count(images, classifier_.verdict_passes(), 0);
  return classifier_.verdict(x, {.images = images, .step = step});
}

Pass Workbench::differentiate(const Tensor& x, const Objectives& objectives, const Query& query) {
  Pass pass = classifier_.differentiate(x, objectives, query);
  const int64_t passes = classifier_.passes();
  count(query.images, passes, passes * static_cast<int64_t>(pass.gradients.size()));
  return pass;
}

void Workbench::count(std::span<const int64_t> images, int64_t forward, int64_t backward) {
  for (const int64_t image : images) {
    Passes& of_image = by_image_[image];
    of_image.forward += forward;
    of_image.backward += backward;
  }
  forward_ += forward * static_cast<int64_t>(images.size());
  backward_ += backward * static_cast<int64_t>(images.size());
}

std::vector<bool> Workbench::fooled(const Tensor& logits, std::span<const int32_t> labels) const {
  const std::vector<int32_t> predicted = argmax(logits).to_host();
  std::vector<bool> yes;
  for (size_t r = 0; r < labels.size(); ++r) yes.push_back((predicted[r] == labels[r]) == options_.targeted);
  return yes;
}

std::vector<bool> Workbench::fooled(const Pass& pass, const Tensor& x, std::span<const int64_t> images,
                                    uint64_t step, std::span<const int32_t> labels) {
  return fooled(classifier_.random() ? evaluate(x, images, step) : pass.logits, labels);
}

void Workbench::note(const Tensor& gradient, std::span<const int64_t> places, Found& found) const {
  const std::vector<float> lengths = sum(abs(gradient), {1, 2, 3}).to_host();  // |g|_1 of each row
  for (size_t r = 0; r < lengths.size(); ++r) {
    const auto place = static_cast<size_t>(places[r]);
    found.zero_gradients[place] += lengths[r] == 0.0f;
    found.nan_gradients[place] += std::isnan(lengths[r]);
  }
}

Tensor Workbench::step(Norm norm, const Rows& rows, const Tensor& x, const Tensor& g,
                       std::span<const float> step_size) const {
  AttackStep rule{.norm = norm, .rows = rows.count(), .cols = pixels()};
  rule.direction = options_.targeted ? -1.0f : 1.0f;
  rule.low = options_.low;
  rule.high = options_.high;
  Tensor y = Tensor::uninitialized(backend(), x.shape());
  backend().attack_step(rule, x.data(), rows.origin.data(), g.data(), rows.eps.data(), step_size.data(),
                        y.mutable_data());
  return y;
}

Tensor Workbench::clip(const Tensor& x) const {
  const Tensor low = Tensor::full(backend(), {}, options_.low),
               high = Tensor::full(backend(), {}, options_.high);
  const Tensor above = where(greater(x, low), x, low);
  return where(greater(high, above), above, high);
}

Tensor Workbench::project(Norm norm, const Rows& rows, const Tensor& x) const {
  const std::vector<float> stay(rows.eps.size(), 0.0f);
  return step(norm, rows, x, x, stay);
}

Tensor Workbench::noise(const Rows& rows, int64_t attempt, Distribution kind) const {
  std::vector<uint64_t> streams;
  for (const int64_t index : rows.indices) streams.push_back(start_stream(attempt, Draw::noise, index));
  Tensor drawn = Tensor::uninitialized(backend(), rows.origin.shape());
  backend().random(kind, options_.seed, streams, pixels(), drawn.mutable_data());
  return drawn;
}

Tensor Workbench::random_start(const Rows& rows, int64_t attempt) const {
  if (options_.norm == Norm::linf) {  // eps * U[-1,1) for each pixel
    const Tensor cube = noise(rows, attempt, Distribution::uniform) * 2.0f - 1.0f;
    return project(Norm::linf, rows, rows.origin + cube * per_row(backend(), rows.eps));
  }
  // A Gaussian direction of length eps * u^(1/d).
  std::vector<float> lengths;
  for (size_t r = 0; r < rows.eps.size(); ++r) {
    const double u = Random(options_.seed, start_stream(attempt, Draw::radius, rows.indices[r])).uniform();
    lengths.push_back(static_cast<float>(std::pow(u, 1.0 / static_cast<double>(pixels())) * rows.eps[r]));
  }
  return step(Norm::l2, rows, rows.origin, noise(rows, attempt, Distribution::normal), lengths);
}

Tensor Workbench::boundary_start(const Rows& rows, int64_t attempt, float share) const {
  std::vector<float> lengths;
  for (const float eps : rows.eps) lengths.push_back(eps * share);
  if (options_.norm == Norm::l2) {
    return step(Norm::l2, rows, rows.origin, noise(rows, attempt, Distribution::normal), lengths);
  }
  const Tensor cube = noise(rows, attempt, Distribution::uniform) * 2.0f - 1.0f;
  const std::vector<RowStats> widest = row_stats(cube);
  for (size_t r = 0; r < lengths.size(); ++r) lengths[r] /= std::max(widest[r].linf, 0x1p-24f);
  return project(Norm::linf, rows, rows.origin + cube * per_row(backend(), lengths));
}

}  // namespace caltrop
