// Fused inference of an ensemble against the composed path, on the CPU and through the CUDA kernels in the
// emulation.
#include <doctest/doctest.h>

#include "defense/mia.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/inference.h"
#include "engine/zoo.h"
#include "kernels/emulation/emulation.h"
#include "tests/reference.h"

namespace caltrop::test {
namespace {

constexpr ImageShape kShape{28, 28, 1};

Model network(const std::string& name, uint64_t seed, Backend& backend) {
  const ZooEntry entry = zoo(name, 11);
  Model model(parse_architecture(entry.line), kShape, backend);
  model.initialize(parse_initializer(entry.initializer), seed);
  return model;
}

void check_together(Backend& backend, int64_t count) {
  // Two geometries, one network that begins with no block at all, and one that shares its geometry but not
  // its activation.
  std::vector<Model> models;
  for (const char* name : {"eat-1", "target", "eat-2", "eat-3"})
    models.push_back(network(name, models.size(), backend));
  models.emplace_back(parse_architecture("flatten | dense 11"), kShape, backend);
  models.back().initialize(Initializer::he_uniform, 9);
  std::vector<const Model*> networks;
  for (const Model& model : models) networks.push_back(&model);

  const Tensor x =
      Tensor::from(backend, {count, 28, 28, 1}, reference::Samples(7).floats(count * 28 * 28, 0.0, 1.0));
  const NoGrad values_only;
  const int64_t before = op_calls("conv_blocks");
  const std::vector<Tensor> logits = forward_together(networks, x);
  CHECK(op_calls("conv_blocks") == before + 1);
  std::vector<std::vector<float>> alone;
  for (size_t m = 0; m < models.size(); ++m) {
    alone.push_back(models[m].forward(x).to_host());
    CHECK(logits[m].to_host() == alone.back());
  }
  CHECK(Ensemble(networks).vote(x) == majority_vote(alone, 11));
}

TEST_SUITE("defense") {
  TEST_CASE("ensemble: together or one by one, the same logits and the same votes") {
    check_together(cpu_backend(), 200);
    check_together(emulated_backend(), 2);
  }

  TEST_CASE("ensemble: where a gradient is asked for, the networks' own blocks are taken") {
    const Model a = network("eat-1", 1, cpu_backend()), b = network("eat-2", 2, cpu_backend());
    const Tensor x = variable(
        Tensor::from(cpu_backend(), {3, 28, 28, 1}, reference::Samples(8).floats(3 * 784, 0.0, 1.0)));
    const std::vector<Tensor> together = forward_together(std::vector<const Model*>{&a, &b}, x);
    const Tensor of_both = sum(together[0]) + sum(together[1]), alone = sum(a.forward(x)) + sum(b.forward(x));
    CHECK(grad(of_both, x).to_host() == grad(alone, x).to_host());
  }

  TEST_CASE("ensemble: more networks than may vote are refused") {
    const Model model = network("eat-2", 1, cpu_backend());
    CHECK_THROWS_WITH_AS((void)Ensemble(std::vector<const Model*>(9, &model)),
                         "[mia] expected 1 to 8 networks, got 9", Error);
  }
}

}  // namespace
}  // namespace caltrop::test
