// What the tests of objectives share: mini-batches as fit() hands them over, attacked images, gradients.
#pragma once

#include <utility>
#include <vector>

#include "defense/training/craft.h"
#include "engine/autograd.h"
#include "tests/defense/trial.h"

namespace caltrop::test {

// A mini-batch of some images, as fit() hands it over.
struct Batch {
  std::vector<int64_t> rows;
  MiniBatch batch;

  Batch(const Images& images, int64_t count, uint64_t step, int64_t first = 0)
      : Batch(images, row_range(first, first + count), step) {}
  Batch(const Images& images, std::vector<int64_t> of, uint64_t step) : rows(std::move(of)) {
    batch.x = images.pixels(rows);
    batch.labels = Labels(images.backend(), images.labels_of(rows));
    batch.rows = rows;
    batch.forward = {.training = true, .seed = 5, .step = step};
  }
};

inline Tensor attacked(const Model& model, const Batch& of, CraftOptions options) {
  StepCraft craft(options);
  craft.prepare(of.batch, of.batch.x.dim(0));
  return craft.attack(
      model, of.batch.x, [&](const Tensor& z) { return cross_entropy(z, of.batch.labels); },
      of.batch.forward);
}

inline std::vector<float> gradients_of(const BatchLoss& loss, const Model& model) {
  std::vector<float> all;
  for (const Tensor& g : grad({mean(loss.losses)}, model.parameters())) {
    const std::vector<float> values = g.to_host();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

}  // namespace caltrop::test
