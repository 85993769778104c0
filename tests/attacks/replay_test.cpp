// A step that is captured and replayed does what the same step does op by op: bits of trained weights and of
// attacked images, on the emulated device (and on a GPU where there is one), whose replays run no host code.
#include <doctest/doctest.h>

#include "engine/training.h"
#include "kernels/devices.h"
#include "kernels/emulation/emulation.h"
#include "tests/attacks/setup.h"
#include "tests/compare.h"
#include "tests/kernels/delegating_backend.h"

namespace caltrop::test {
namespace {

constexpr ImageShape kShape{8, 8, 1};
constexpr const char* kLine =
    "conv 4 3x3 | relu | maxpool 2 | batchnorm | flatten | dense 12 | gelu | dense 5";

// The device without graphs: a replay calls the body again.
class OpByOp final : public DelegatingBackend {
 public:
  using DelegatingBackend::DelegatingBackend;
  std::unique_ptr<Replay> capture(std::function<void()> body) override {
    return cpu_backend().capture(std::move(body));
  }
};

// The device with graphs, counting them.
class Counting final : public DelegatingBackend {
 public:
  using DelegatingBackend::DelegatingBackend;
  std::unique_ptr<Replay> capture(std::function<void()> body) override {
    ++captures;
    return inner_.capture(std::move(body));
  }
  int captures = 0;
};

Images images_on(Backend& backend, int64_t count) {
  const Images host = random_images(kShape, count, 5, 3);
  std::vector<uint8_t> pixels;
  for (const float p : host.pixels(row_range(0, count)).to_host()) pixels.push_back(to_byte(p));
  return Images(backend, kShape, pixels, host.labels());
}

Model model_on(Backend& backend) {
  Model model(parse_architecture(kLine), kShape, backend);
  model.initialize(Initializer::he_normal, 4);
  return model;
}

struct Trained {
  std::vector<float> weights;
  double loss = 0, accuracy = 0;
};
Trained trained_on(Backend& backend, const OptimizerOptions& rule) {
  Model model = model_on(backend);
  Optimizer optimizer(rule, model.parameters());
  const Images images = images_on(backend, 22);  // three batches of 6, one of 4
  Trained result;
  CrossEntropy objective;
  for (const EpochResult& done :
       fit(model, optimizer, images, objective,
           {.epochs = 3, .batch = 6, .seed = 9, .schedule = Schedule::parse("linear")})) {
    result.loss += done.loss;
    result.accuracy += done.accuracy;
  }
  for (const auto& [name, tensor] : model.state().tensors) {
    const std::span<const float> values = tensor.floats();
    result.weights.insert(result.weights.end(), values.begin(), values.end());
  }
  return result;
}

void for_each_device(const std::function<void(Backend&)>& body) {
  body(emulated_backend());
  if (cuda_state() == DeviceState::ready) body(cuda_backend());
}

TEST_SUITE("attacks") {
  TEST_CASE("replay: training ends with the same bits") {
    for_each_device([](Backend& device) {
      CAPTURE(device.name());
      for (const OptimizerOptions& rule :
           {OptimizerOptions{.rule = Rule::adam},
            OptimizerOptions{.rule = Rule::sgd, .rate = 0.1f, .momentum = 0.9f, .nesterov = true}}) {
        Counting graphs(device);
        OpByOp plain(device);
        const Trained replayed = trained_on(graphs, rule), direct = trained_on(plain, rule);
        CHECK(graphs.captures == 2);  // one for each size of mini-batch
        CHECK(replayed.weights == direct.weights);
        CHECK(replayed.loss == direct.loss);
        CHECK(replayed.accuracy == direct.accuracy);
      }
    });
  }

  TEST_CASE("replay: attacks end with the same bits") {
    for_each_device([](Backend& device) {
      CAPTURE(device.name());
      for (const auto& [kind, norm] : {std::pair(AttackKind::pgd, Norm::linf),
                                       {AttackKind::bim, Norm::l2},
                                       {AttackKind::mim, Norm::linf}}) {
        const auto crafted = [kind = kind, norm = norm](Backend& backend) {
          const Model model = model_on(backend);
          AttackOptions options = attack_of(kind, norm, kind == AttackKind::pgd);
          options.steps = 5;
          const AttackResult found =
              craft(model, batch_of(images_on(backend, 5), 0, 5), std::vector<float>{0.05f, 0.4f}, options);
          return std::pair(found.delta.to_host(), found.backward_passes);
        };
        Counting graphs(device);
        OpByOp plain(device);
        const auto replayed = crafted(graphs), direct = crafted(plain);
        CHECK(graphs.captures == 1);
        CHECK(replayed == direct);
      }
    });
  }

  TEST_CASE("replay: CW ends with the same bits, also when images leave") {
    for_each_device([](Backend& device) {
      CAPTURE(device.name());
      const auto crafted = [](Backend& backend) {
        const Model model = model_on(backend);
        AttackOptions options = attack_of(AttackKind::cw, Norm::l2);
        options.steps = 20;
        options.cw.rounds = 2;
        options.cw.first_constant = 1.0f;
        options.cw.learning_rate = 3.0f;  // so large that losses stand still
        options.predicted_labels = true;
        const float eps = 10.0f;
        return craft(model, batch_of(images_on(backend, 4), 0, 4), std::span(&eps, 1), options)
            .delta.to_host();
      };
      Counting graphs(device);
      OpByOp plain(device);
      CHECK(crafted(graphs) == crafted(plain));
      CHECK(graphs.captures > 2);
    });
  }

  TEST_CASE("the suite runs on a device as on the CPU") {
    for_each_device([](Backend& device) {
      CAPTURE(device.name());
      for (const std::string& name : attack_names()) {
        const AttackKind kind = parse_attack(name);
        if (is_ascent(kind) || kind == AttackKind::autoattack) continue;
        CAPTURE(name);
        const auto crafted = [kind](Backend& backend) {
          const Model model = model_on(backend);
          AttackOptions options = attack_of(kind, Norm::l2);
          options.steps = 4;
          options.cw.rounds = 1;
          options.target_classes = 1;
          options.predicted_labels = true;  // so that each image is there to be attacked
          const float eps = 2.0f;
          return craft(model, batch_of(images_on(backend, 3), 0, 3), std::span(&eps, 1), options)
              .delta.to_host();
        };
        const std::vector<float> there = crafted(device), here = crafted(cpu_backend());
        CHECK(largest_difference(here, there) <= 2e-3);
      }
    });
  }

  TEST_CASE("replay: the emulated device agrees with the CPU") {
    const OptimizerOptions rule{.rule = Rule::sgd, .rate = 0.05f};
    const Trained device = trained_on(emulated_backend(), rule), cpu = trained_on(cpu_backend(), rule);
    CHECK(largest_difference(device.weights, cpu.weights) <= 1e-4);
    CHECK(std::abs(device.loss - cpu.loss) <= 1e-4);
  }
}

}  // namespace
}  // namespace caltrop::test
