// Attacks on the paper's Target, trained for a moment on real images: MNIST where it is found.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "attacks/gma.h"
#include "data/dataset.h"
#include "engine/autograd.h"
#include "engine/ops.h"
#include "engine/optimizer.h"
#include "engine/training.h"
#include "engine/zoo.h"
#include "kernels/cpu_backend.h"
#include "tests/attacks/setup.h"

namespace caltrop {

using namespace test;

namespace {

struct Trained {
  std::string name;
  Model model;
  Images test;
};

// The gradient of each image's loss for its pixels, as an attack takes it.
std::vector<float> pixel_gradients(const Model& model, const Images& images) {
  const std::vector<int64_t> rows = row_range(0, images.count());
  const Tensor x = variable(images.pixels(rows));
  const Labels labels(cpu_backend(), images.labels_of(rows));
  return grad(sum(cross_entropy(model.forward(x), labels)), x).to_host();
}

Images images_of(const ImageSet& set) {
  return Images(cpu_backend(), {set.height, set.width, set.channels}, set.pixels, set.labels);
}

Trained train(const std::string& line, int64_t images, int epochs) {
  const Dataset data = load_dataset({});
  const ImageSet train = take_first(data.train, images), test = take_first(data.test, 100);
  Model model(parse_architecture(line), {train.height, train.width, train.channels}, cpu_backend());
  model.initialize(Initializer::he_uniform, 1);
  Optimizer optimizer({}, model.parameters());
  const Images pixels = images_of(train);
  CrossEntropy objective;
  fit(model, optimizer, pixels, objective, {.epochs = epochs});
  return {data.name, std::move(model), images_of(test)};
}

const Trained& trained_target() {
  static const Trained trained = train(zoo_line("target", 10), 4000, 2);
  return trained;
}

AttackSummary attack(const Trained& target, const AttackOptions& options, float eps) {
  return attack_images(target.model, target.test, std::span(&eps, 1), options,
                       {.rows = row_range(0, target.test.count())})
      .sizes[0];
}

}  // namespace

TEST_SUITE("attacks") {
  TEST_CASE("an undefended Target falls, and falls further to stronger attacks") {
    const Trained& target = trained_target();
    MESSAGE("data: ", target.name);
    AttackOptions pgd40 = attack_of(AttackKind::pgd, Norm::linf, true);
    pgd40.steps = 40;
    pgd40.step_size = 0.01f;
    const AttackSummary strongest = attack(target, pgd40, 0.3f);
    CHECK(strongest.clean_accuracy() >= 0.75);
    CHECK(strongest.accuracy() <= 0.02);
    CHECK(strongest.robust_accuracy() <= strongest.accuracy());
    CHECK(strongest.success_rate_of_correct() >= 0.98);
    CHECK(strongest.ball_violations + strongest.box_violations + strongest.nan_gradients == 0);

    const double fgsm = attack(target, attack_of(AttackKind::fgsm, Norm::linf), 0.1f).robust_accuracy();
    const double bim = attack(target, attack_of(AttackKind::bim, Norm::linf), 0.1f).robust_accuracy();
    const double mim = attack(target, attack_of(AttackKind::mim, Norm::linf), 0.1f).robust_accuracy();
    CHECK(bim <= fgsm);
    CHECK(mim <= fgsm);
    CHECK(fgsm < strongest.clean_accuracy());
    AttackOptions restarts = attack_of(AttackKind::pgd, Norm::linf, true);
    const double once = attack(target, restarts, 0.1f).robust_accuracy();
    restarts.restarts = 4;
    CHECK(attack(target, restarts, 0.1f).robust_accuracy() <= once);
    CHECK(attack(target, attack_of(AttackKind::pgd, Norm::l2), 4.0f).robust_accuracy() <= 0.1);
  }

  TEST_CASE("GMA fools Target with its large L-inf sizes and not with its miniature ones") {
    const Trained& target = trained_target();
    const AttackJob job{.rows = row_range(0, 30)};
    const GmaAnalysis linf =
        gma_analyze(target.model, target.test, gma_sizes(), gma_attack(AttackKind::pgd, Norm::linf), 1, job);
    for (const GmaSizeResult& size : linf.sizes) {
      CAPTURE(size.size.name());
      if (size.size.eps >= 0.18f) CHECK(size.verdict() == GmaVerdict::fooled);
      if (size.size.eps <= 0.001f) CHECK(size.accuracy() >= linf.baseline - 0.02);
    }
    CHECK(linf.worst_accuracy <= 0.02);
    CHECK(linf.pooled_accuracy > linf.worst_accuracy);
    const GmaAnalysis l2 =
        gma_analyze(target.model, target.test, gma_sizes(), gma_attack(AttackKind::pgd, Norm::l2), 1, job);
    CHECK(l2.pooled_accuracy > linf.pooled_accuracy);  // the same size permits less under L2
  }

  // An attack follows signs. Winograd's products round otherwise than direct sums do, which may turn those of
  // gradients near zero: one in ten thousand at most.
  TEST_CASE("Winograd turns hardly a sign of a gradient") {
    const Trained network = train(
        "conv 32 3 pad 1 | relu | maxpool 2 | conv 32 3 pad 1 | relu | conv 64 3 pad 1 | relu | maxpool 2 | "
        "conv 64 3 pad 1 | relu | flatten | dense 10",
        1000, 2);
    const std::vector<float> fast = pixel_gradients(network.model, network.test);
    set_cpu_winograd(false);
    const std::vector<float> direct = pixel_gradients(network.model, network.test);
    set_cpu_winograd(true);
    CHECK(fast != direct);
    size_t turned = 0;
    for (size_t i = 0; i < fast.size(); ++i) turned += std::signbit(fast[i]) != std::signbit(direct[i]);
    MESSAGE(turned, " of ", fast.size(), " signs are turned");
    CHECK(turned * 10000 <= fast.size());
  }
}

}  // namespace caltrop
