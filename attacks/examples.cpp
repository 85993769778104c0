#include "attacks/examples.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/autograd.h"

namespace caltrop {
namespace {

std::vector<Opinion> opinions_of(const Model& model, const Tensor& x) {
  const NoGrad values_only;
  const std::vector<float> logits = model.forward(x).to_host();
  std::vector<Opinion> opinions;
  const int64_t classes = model.outputs();
  for (size_t begin = 0; begin < logits.size(); begin += static_cast<size_t>(classes)) {
    const float* const z = logits.data() + begin;
    const float* const top = std::max_element(z, z + classes);
    double total = 0;
    for (int64_t k = 0; k < classes; ++k) total += std::exp(static_cast<double>(z[k] - *top));
    opinions.push_back({static_cast<int32_t>(top - z), 1 / total});
  }
  return opinions;
}

}  // namespace

std::vector<int64_t> first_of_classes(const Images& images) {
  std::vector<int64_t> rows;
  for (int32_t label = 0; label < 10; ++label) {
    const auto found = std::find(images.labels().begin(), images.labels().end(), label);
    if (found != images.labels().end()) rows.push_back(found - images.labels().begin());
  }
  return rows;
}

std::vector<Example> examples_of(const Model& model, const Images& images, const std::vector<int64_t>& rows,
                                 const std::vector<float>& sizes, const AttackOptions& how) {
  std::vector<Example> examples;
  AttackJob job{.rows = rows};
  job.sink = [&](int64_t, const AttackResult& chunk) {
    const std::vector<float> attacked = chunk.adversarial.to_host();
    const std::vector<Opinion> after = opinions_of(model, chunk.adversarial);
    const auto size = static_cast<size_t>(images.image_size());
    for (size_t r = 0; r < chunk.rows.size(); ++r) {
      const AttackedImage& image = chunk.images[r / sizes.size()];
      const Tensor clean = images.pixels(std::span(&image.index, 1));
      const auto from = attacked.begin() + static_cast<int64_t>(r * size);
      examples.push_back({clean.to_host(),
                          {from, from + static_cast<int64_t>(size)},
                          image.label,
                          opinions_of(model, clean)[0],
                          after[r]});
    }
  };
  attack_images(model, images, sizes, how, job);
  return examples;
}

std::vector<float> Example::difference() const {
  std::vector<float> delta = attacked;
  std::transform(delta.begin(), delta.end(), clean.begin(), delta.begin(), std::minus<>());
  return delta;
}

}  // namespace caltrop
