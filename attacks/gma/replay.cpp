#include "attacks/gma/replay.h"

#include <algorithm>
#include <cmath>

#include "engine/autograd.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// What a network says of images and of their attacked versions.
struct Predictions {
  std::vector<int32_t> clean, attacked;
};

Predictions predictions(const Model& model, const StoredAttacks& part, int64_t sizes,
                        const Progress& progress) {
  Backend& backend = model.backend();
  const Images images(backend, part.shape, part.x, part.label);
  const int64_t pixels = images.image_size(), stride = sizes * pixels;
  Predictions said{std::vector<int32_t>(part.label.size()),
                   std::vector<int32_t>(part.label.size() * static_cast<size_t>(sizes))};
  const auto body = [&](int64_t begin, int64_t end) {
    const NoGrad values_only;
    const int64_t n = end - begin;
    const Tensor x = images.pixels(row_range(begin, end));
    const Tensor delta = Tensor::from(
        backend, {n, sizes, pixels},
        part.delta.subspan(static_cast<size_t>(begin * stride), static_cast<size_t>(n * stride)));
    const Tensor attacked = clamp(x.view({n, 1, pixels}) + delta, 0.0f, 1.0f);
    const ImageShape& shape = part.shape;
    const auto say = [&](const Tensor& shown, std::vector<int32_t>& to, int64_t at) {
      const std::vector<int32_t> words = argmax(model.forward(shown)).to_host();
      std::copy(words.begin(), words.end(), to.begin() + at);
    };
    say(x, said.clean, begin);
    say(attacked.view({n * sizes, shape.height, shape.width, shape.channels}), said.attacked, begin * sizes);
  };
  for_chunks(model, images.count(), std::max<int64_t>(1, model.chunk() / sizes), body, progress);
  return said;
}

std::vector<GmaSize> sizes_of(const StoredAttacks& part) {
  std::vector<GmaSize> sizes(part.eps.size());
  for (size_t k = 0; k < sizes.size(); ++k) {
    sizes[k] = {.base = part.ten[k] ? GmaBase::ten : GmaBase::e,
                .i = part.exponent[k],
                .v = static_cast<double>(part.v[k]),
                .eps = part.eps[k]};
  }
  return sizes;
}

}  // namespace

AttackRow GmaReplay::measure(const StoredAttacks& part, int64_t image, int64_t size) const {
  const auto pixels = static_cast<size_t>(part.shape.height * part.shape.width * part.shape.channels),
             at = static_cast<size_t>(image) * eps_.size() + static_cast<size_t>(size);
  const std::span<const uint8_t> x = part.x.subspan(static_cast<size_t>(image) * pixels, pixels);
  const std::span<const float> delta = part.delta.subspan(at * pixels, pixels);
  AttackRow row{.zero_gradients = part.zero_gradients[at], .nan_gradients = part.nan_gradients[at]};
  double linf = 0, squares = 0;
  for (size_t p = 0; p < pixels; ++p) {
    const double d = static_cast<double>(delta[p]), shown = static_cast<double>(x[p]) / 255.0 + d;
    constexpr double kRounding = 1e-6;  // of x / 255 + delta in fp32
    row.box_violations += !(shown >= -kRounding && shown <= 1 + kRounding);
    linf = std::max(linf, std::abs(d));
    squares += d * d;
  }
  row.linf = static_cast<float>(linf);
  row.l2 = static_cast<float>(std::sqrt(squares));
  const float bound = eps_[static_cast<size_t>(size)] + ball_tolerance(norm_, static_cast<int64_t>(pixels));
  row.outside_ball = !((norm_ == Norm::linf ? row.linf : row.l2) <= bound);
  return row;
}

void GmaReplay::show(const StoredAttacks& part, const Progress& progress) {
  if (!tally_) {
    tally_.emplace(sizes_of(part), norm_);
    eps_.assign(part.eps.begin(), part.eps.end());
  }
  if (!std::ranges::equal(part.eps, eps_)) fail("{}: its sizes are not those of the other parts", part.name);
  if (!(part.shape == model_.input())) fail("{}: its images do not fit the network", part.name);
  const auto largest = std::ranges::max_element(part.label);
  if (largest != part.label.end() && *largest >= model_.outputs()) {
    fail("{} holds the label {}, but the network has {} outputs", part.name, *largest, model_.outputs());
  }
  const auto sizes = static_cast<int64_t>(eps_.size()), images = static_cast<int64_t>(part.label.size());
  const Predictions said = predictions(model_, part, sizes, [&](int64_t done) {
    if (progress) progress(images_ + done);
  });
  for (int64_t i = 0; i < images; ++i) {
    const auto at = static_cast<size_t>(i);
    const AttackedImage clean{part.index[at], part.label[at], -1, said.clean[at]};
    for (int64_t s = 0; s < sizes; ++s) {
      AttackRow row = measure(part, i, s);
      row.prediction = said.attacked[static_cast<size_t>(i * sizes + s)];
      row.success = row.prediction != part.label[at];
      tally_->add(images_ + i, s, 0, clean, row);
    }
  }
  images_ += images;
}

GmaAnalysis GmaReplay::analysis() const {
  if (!tally_) fail("[gma] expected stored images to be shown before they are analysed");
  GmaAnalysis done = tally_->analysis();
  done.forward_passes = images_ * (static_cast<int64_t>(eps_.size()) + 1);
  return done;
}

}  // namespace caltrop
