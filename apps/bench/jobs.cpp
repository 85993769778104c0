#include "apps/bench/jobs.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "apps/core/text_layout.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"
#include "defense/mia.h"
#include "defense/training/adversarial.h"
#include "engine/autograd.h"
#include "engine/inference.h"
#include "engine/training.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr double kLeastAccuracy = 0.97;   // after one epoch of either network
constexpr double kMostUnderApgd = 0.90;   // a size that leaves images to the last step
constexpr double kMostUnderPgd = 0.10;    // eps 0.3 leaves an undefended network nothing
constexpr double kLogitTolerance = 1e-4;  // of the largest logit, fused against composed
constexpr double kMostLoss = 30;  // over two mini-batches: the first step of Adam throws a deep network off
constexpr float kTrainingSize = 0.3f;    // of adversarial training
constexpr double kMostTrainingLoss = 5;  // guessing among ten costs 2.303, and first steps more
constexpr int64_t kCheckedImages = 256;

Images first(const Images& images, int64_t count) {
  return images.at(row_range(0, std::min(count, images.count())));
}

EpochResult train_epoch(Model& model, Optimizer& optimizer, const Images& images, uint64_t seed) {
  CrossEntropy objective;
  return fit(model, optimizer, images, objective, {.epochs = 1, .seed = seed}).back();
}

// An epoch over the first `images` training images: of all, a network that can be tested.
TimedWork training(BenchBed& bed, const std::string& name, int64_t images) {
  struct State {
    Model model;
    Images images;
    std::optional<Optimizer> optimizer = {};
    EpochResult result = {};
  };
  const auto state = std::make_shared<State>(State{bed.network(name), first(bed.data.train, images)});
  return {.prepare =
              [state, name, &bed] {
                state->model = bed.network(name);
                state->optimizer.emplace(OptimizerOptions{}, state->model.parameters());
              },
          .run =
              [state, &bed] {
                state->result = train_epoch(state->model, *state->optimizer, state->images, bed.seed);
              },
          .check =
              [state, name, &bed] {
                if (state->images.count() < bed.data.train.count()) {
                  const double loss = state->result.loss;
                  if (!(loss < kMostLoss)) {
                    fail("[bench] {} met a loss of {:.3g}; expected below {}", name, loss, kMostLoss);
                  }
                  return fmt::format("mean loss {:.3f}", loss);
                }
                const double accuracy = evaluate(state->model, bed.data.test).metrics.accuracy;
                if (!(accuracy > kLeastAccuracy)) {
                  fail("[bench] an epoch of {} reached {:.2f} % only; expected above {:.0f} %", name,
                       100 * accuracy, 100 * kLeastAccuracy);
                }
                return fmt::format("test accuracy {:.2f} %", 100 * accuracy);
              }};
}

// Adversarial training on the first `images` training images; `name` is "RECIPE NETWORK".
TimedWork adversarial_training(BenchBed& bed, const std::string& name, int64_t images) {
  const size_t space = name.find(' ');
  const std::string network = name.substr(space + 1);
  AdversarialOptions recipe{.share = 1, .craft = {.eps = kTrainingSize}};
  if (name.substr(0, space) == "pgd7") {
    recipe.craft.steps = 7;
    recipe.craft.step_size = kTrainingSize / 4;
    recipe.craft.start = CraftStart::uniform;
  } else {
    recipe.craft.step_size = 1.25f * kTrainingSize;
    recipe.craft.start = CraftStart::unboxed;
  }
  struct State {
    Model model;
    Images images;
    std::optional<Optimizer> optimizer = {};
    EpochResult result = {};
  };
  const auto state = std::make_shared<State>(State{bed.network(network), first(bed.data.train, images)});
  return {.prepare =
              [state, network, &bed] {
                state->model = bed.network(network);
                state->optimizer.emplace(OptimizerOptions{}, state->model.parameters());
              },
          .run =
              [state, recipe, &bed] {
                AdversarialTraining objective(recipe);
                state->result = fit(state->model, *state->optimizer, state->images, objective,
                                    {.epochs = 1, .seed = bed.seed})
                                    .back();
              },
          .check =
              [state, name] {
                const double loss = state->result.loss;
                if (!(loss < kMostTrainingLoss)) {
                  fail("[bench] {} met a loss of {:.3g}; expected below {}", name, loss, kMostTrainingLoss);
                }
                return fmt::format("mean loss {:.3f}", loss);
              }};
}

// Against the network without its fused ops.
std::string check_logits(const Model& model, const std::string& name, const Images& images,
                         const std::vector<float>& logits) {
  const NoGrad values_only;
  const int64_t n = std::min(kCheckedImages, images.count());
  const std::vector<float> plain = model.forward(images.pixels(row_range(0, n)), {.fuse = false}).to_host();
  float error = 0, largest = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const float gap = std::fabs(plain[i] - logits[i]);
    if (!(gap <= error)) error = gap;  // a NaN stays
    largest = std::max(largest, std::fabs(plain[i]));
  }
  if (!(error <= kLogitTolerance * largest)) {
    fail("[bench] the logits of {} differ from the unfused network's by {:.1e} of {:.1e}", name, error,
         largest);
  }
  if (error == 0) return "logits equal the unfused network's";
  return fmt::format("logits within {:.0e} of the unfused network's", error / largest);
}

TimedWork inference(BenchBed& bed, const std::string& name, int64_t count) {
  const auto model = std::make_shared<Model>(name == "target" ? bed.trained_target() : bed.network(name));
  const auto images = std::make_shared<Images>(first(bed.data.test, count));
  const auto logits = std::make_shared<std::vector<float>>();
  return {.run = [=] { *logits = predict(*model, *images); },
          .check =
              [=] {
                return check_logits(*model, name, *images, *logits);
              }};
}

std::string check_attack_report(const AttackReport& report, int64_t images, double most_left) {
  for (const AttackSummary& size : report.sizes) {
    if (size.images != images || size.box_violations + size.ball_violations > 0 || size.nan_gradients > 0) {
      fail("[bench] the attack of size {:g} left its bounds {} times, its box {} times, met {} NaNs",
           size.size, size.ball_violations, size.box_violations, size.nan_gradients);
    }
  }
  const auto [small, large] = std::ranges::minmax_element(report.sizes, {}, &AttackSummary::size);
  if (!(large->accuracy() < most_left)) {
    fail("[bench] size {:g} left {:.2f} % accuracy; expected below {:.0f} %", large->size,
         100 * large->accuracy(), 100 * most_left);
  }
  if (small != large && !(small->accuracy() > kLeastAccuracy - 0.02)) {
    fail("[bench] size {:g} left {:.2f} % accuracy; expected nearly the clean one", small->size,
         100 * small->accuracy());
  }
  return fmt::format("accuracy {:.2f} % at size {:.3g}", 100 * large->accuracy(), large->size);
}

TimedWork attack(BenchBed& bed, const std::vector<float>& sizes, const AttackOptions& options, int64_t images,
                 double most_left = kMostUnderPgd) {
  const Model& model = bed.trained_target();
  images = std::min(images, bed.data.test.count());
  const auto report = std::make_shared<AttackReport>();
  return {.run =
              [=, &bed, &model] {
                *report = attack_images(model, bed.data.test, sizes, options, {.rows = row_range(0, images)});
              },
          .check =
              [=] {
                return check_attack_report(*report, images, most_left);
              }};
}

TimedWork pgd(BenchBed& bed, const std::string&, int64_t images) {
  AttackOptions options = gma_attack(AttackKind::pgd, Norm::linf);
  options.steps = 10;
  options.step_size = 0.075f;
  return attack(bed, {0.3f}, options, images);
}

TimedWork gma(BenchBed& bed, const std::string&, int64_t images) {
  return attack(bed, eps_of(gma_sizes()), gma_attack(AttackKind::pgd, Norm::linf), images);
}

// As torchattacks and foolbox have it: one constant, no search for it, and no early end.
TimedWork cw(BenchBed& bed, const std::string&, int64_t images) {
  AttackOptions options = attack_defaults(AttackKind::cw);
  options.steps = 1000;
  options.cw.rounds = 1;
  options.cw.first_constant = 1;
  options.cw.abort_early = false;
  return attack(bed, {default_eps(AttackKind::cw, options.norm)}, options, images);
}

TimedWork apgd(BenchBed& bed, const std::string&, int64_t images) {
  AttackOptions options = attack_defaults(AttackKind::apgd_ce);
  options.steps = 100;
  return attack(bed, {0.06f}, options, images, kMostUnderApgd);
}

TimedWork fused_ensemble(BenchBed& bed, const std::string&, int64_t) {
  return ensemble_work(bed, true);
}

}  // namespace

Model BenchBed::network(const std::string& name) const {
  const ZooEntry entry = zoo(name, name.starts_with("eat-") ? 11 : 10);
  Model model(parse_architecture(entry.line), data.train.shape(), data.train.backend());
  model.initialize(parse_initializer(entry.initializer), seed);
  return model;
}

const Model& BenchBed::trained_target() {
  if (!target) {
    Model model = network("target");
    Optimizer optimizer(OptimizerOptions{}, model.parameters());
    train_epoch(model, optimizer, data.train, seed);
    target = std::move(model);
  }
  return *target;
}

TimedWork ensemble_work(BenchBed& bed, bool fused) {
  const auto networks = std::make_shared<std::vector<Model>>();
  for (const char* name : {"eat-1", "eat-2", "eat-3"}) networks->push_back(bed.network(name));
  const auto vote = [networks, &bed](bool together) {
    if (together) {
      std::vector<const Model*> all;
      for (const Model& network : *networks) all.push_back(&network);
      return Ensemble(all).vote(bed.data.test);
    }
    std::vector<std::vector<float>> logits;
    for (const Model& network : *networks) logits.push_back(predict(network, bed.data.test));
    return majority_vote(logits, networks->front().outputs());
  };
  const auto votes = std::make_shared<std::vector<int32_t>>();
  return {.run = [=] { *votes = vote(fused); },
          .check =
              [=] {
                if (*votes != vote(!fused))
                  fail("[bench] the fused ensemble and its networks one by one vote differently");
                return fmt::format("the same {} votes fused and composed",
                                   grouped(static_cast<int64_t>(votes->size())));
              }};
}

const std::vector<BenchJob>& bench_jobs() {
  static const std::vector<BenchJob> jobs = {
      {"train_epoch_target", "one epoch of Target: 60,000 images, batch 128, Adam", training, "target",
       60000},
      {"train_epoch_eat3", "one epoch of EAT-3: 60,000 images, batch 128, Adam", training, "eat-3", 60000},
      {"train_kim3", "Adam on 6,400 images in batches of 128, Kim-3", training, "kim-3", 6400},
      {"train_vgg7", "the same on 256 images, VGG7", training, "vgg7", 256},
      {"train_vgg16", "the same on 256 images, VGG16", training, "vgg16", 256},
      {"train_resnet32", "the same on 1,280 images, ResNet32", training, "resnet32", 1280},
      {"train_resnet50", "the same on 128 images, ResNet50", training, "resnet50", 128},
      {"pgd7_train_target", "PGD-7 training on 6,400 images in batches of 128, eps 0.3, Target",
       adversarial_training, "pgd7 target", 6400},
      {"pgd7_train_kim2", "the same, Kim-2", adversarial_training, "pgd7 kim-2", 6400},
      {"fast_train_target", "fast adversarial training on 6,400 images, Target", adversarial_training,
       "fast target", 6400},
      {"fast_train_kim2", "the same, Kim-2", adversarial_training, "fast kim-2", 6400},
      {"train_kim2", "Adam on 6,400 images in batches of 128, Kim-2", training, "kim-2", 6400},
      {"inference_target", "logits of 10,000 images, Target", inference, "target", 10000},
      {"inference_eat1", "logits of 10,000 images, EAT-1", inference, "eat-1", 10000},
      {"inference_eat2", "logits of 10,000 images, EAT-2", inference, "eat-2", 10000},
      {"inference_eat3", "logits of 10,000 images, EAT-3", inference, "eat-3", 10000},
      {"inference_ensemble", "votes of EAT-1, -2, -3 on 10,000 images", fused_ensemble, "", 10000},
      {"inference_kim3", "logits of 10,000 images, Kim-3", inference, "kim-3", 10000},
      {"inference_vgg7", "logits of 500 images, VGG7", inference, "vgg7", 500},
      {"inference_vgg16", "logits of 500 images, VGG16", inference, "vgg16", 500},
      {"inference_resnet32", "logits of 2,000 images, ResNet32", inference, "resnet32", 2000},
      {"inference_resnet50", "logits of 200 images, ResNet50", inference, "resnet50", 200},
      {"pgd10_target", "PGD-10 on 10,000 images: L-inf, eps 0.3, step 0.075, Target", pgd, "target", 10000},
      {"gma_target", "GMA's 30 sizes on 1,000 images: PGD-10 in L-inf, Target", gma, "target", 1000},
      {"cw1000_target", "CW on 100 images: 1,000 steps, constant 1, Target", cw, "target", 100},
      {"apgd_target", "APGD-CE on 1,000 images: 100 steps, L-inf, eps 0.06, Target", apgd, "target", 1000},
  };
  return jobs;
}

}  // namespace caltrop
