#include "defense/training/ape_gan.h"

#include <fmt/format.h>

#include <filesystem>
#include <limits>
#include <utility>

#include "defense/eat.h"
#include "engine/autograd.h"
#include "engine/error.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWhole = "model.safetensors";
const std::string kBefore = "objective.discriminator.";

// "3.weight" as a network's that begins with `layers` more.
std::string behind(const std::string& name, size_t layers) {
  const size_t dot = name.find('.');
  return std::to_string(std::stoul(name.substr(0, dot)) + layers) + name.substr(dot);
}

class ApeGan final : public TrainedDefence {
 public:
  ApeGan()
      : TrainedDefence(
            "ape-gan",
            {.epochs = 10, .batch = 64, .rule = {.rate = 2e-4f, .beta1 = 0.5f}, .continues = false}) {}

  DefenceCost cost(const DefenceTask& task) const override {
    const ImageShape& shape = task.train.shape();
    const Architecture cleaner = architecture(task), critic = parse_architecture(discriminator_line(width_));
    const auto g = static_cast<double>(count_macs(cleaner, shape)),
               d = static_cast<double>(count_macs(critic, shape)),
               f = static_cast<double>(count_macs(task.target.architecture(), shape));
    // Forward and backward are three passes: G twice, D of two images once, and of G's image without its weights twice.
    const double of_pair = 2 * 3 * g + (2 * 3 + 2 * 2) * d + 2 * f;
    const int64_t bytes = 4 * (count_parameters(cleaner, shape) + count_parameters(critic, shape));
    constexpr int64_t kCheckpoint = 3;  // weights and Adam's moments
    return {.macs = of_pair * static_cast<double>(epochs() * pairs(task)),
            .answer = g + f,
            .bytes = (kCheckpoint + 2) * bytes +
                     4 * count_parameters(task.target.architecture(), task.target.input())};
  }

  Defended train(const DefenceTask& task, const TestSet& watched) override {
    const auto copy =
        std::make_shared<Model>(task.target.architecture(), task.target.input(), task.target.backend());
    copy->load(task.target.state());
    network_ = copy;
    if (!task.folder.empty() && fs::exists(task.folder / kWhole)) {  // came to its end
      auto whole = std::make_shared<Model>(cleaned_line(task), task.target.input(), task.target.backend());
      whole->load(read_safetensors(task.folder / kWhole));
      task.watch.begin_training(epochs(), epochs());
      return with_network(whole);
    }
    pool_ = task.crafter.craft(task.train, pool_recipe(task.known), pairs(task), Subset::train, task.seed)
                .pool(task.train, task.pool);
    task.watch.pool("train", pool_);
    if (pool_.count() == 0) fail("[ape-gan] none of the attacked training images differs from its clean one");
    pairs_ = std::make_unique<PairedImages>(task.train, pool_);
    return TrainedDefence::train(task, watched);
  }

 protected:
  std::vector<DefenceOption> own_options() override {
    return {{.name = "pool",
             .value = &pool_size_,
             .what = "training images attacked",
             .value_name = "N",
             .otherwise = "as many as clean ones",
             .low = 1,
             .high = std::numeric_limits<int32_t>::max()},
            {.name = "distance",
             .value = &distance_,
             .what = "weight of the mean squared error to the clean image in the generator's loss",
             .value_name = "W",
             .low = 0,
             .high = 1e6},
            {.name = "adversarial",
             .value = &adversarial_,
             .what = "... and of the discriminator's doubt",
             .value_name = "W",
             .low = 0,
             .high = 1e6},
            {.name = "width",
             .value = &width_,
             .what = "filters of the first layers of generator and discriminator",
             .value_name = "W",
             .low = 1,
             .high = 4096}};
  }
  void resolve_own(std::string_view, const PoolRecipeOptions&) override {
    if (distance_ + adversarial_ <= 0) fail("--distance 0 and --adversarial 0 leave nothing to learn");
  }
  void check_own(const DefenceTask& task) const override {
    check_planned("--pool", pairs(task), task.train.count());
    (void)Model(architecture(task), task.train.shape(), task.train.backend());
    (void)Model(parse_architecture(discriminator_line(width_)), task.train.shape(), task.train.backend());
  }

  Architecture architecture(const DefenceTask& task) const override {
    return parse_architecture(generator_line(task.train.shape(), width_));
  }

  std::vector<TrainingStage> stages(const DefenceTask& task) const override {
    std::vector<TrainingStage> all(1);
    all[0] = {
        .name = "generator",
        .file = "generator.safetensors",
        .epochs = epochs(),
        .objective =
            [this, &task](const Model& generator, const StageModels&) {
              Model critic(parse_architecture(discriminator_line(width_)), generator.input(),
                           generator.backend());
              critic.initialize(Initializer::he_uniform, member_seed(task.seed, 1));
              return std::make_unique<ApeGanTraining>(
                  ApeGanOptions{static_cast<float>(distance_), static_cast<float>(adversarial_), rule()},
                  std::move(critic), *network_, *pairs_);
            },
        .images = pairs_.get(),
        .tested =
            [this](const Model& generator) {
              return cleaned_network(generator, *network_);
            }};
    return all;
  }

  Defended defended(const DefenceTask& task, const StageModels& trained) const override {
    const auto whole = cleaned_network(*trained.back(), *network_);
    if (!task.folder.empty()) {
      SafeTensorFile weights = whole->state();
      weights.metadata.insert(task.metadata.begin(), task.metadata.end());
      write_safetensors(task.folder / kWhole, weights);
    }
    return with_network(whole);
  }

 private:
  int64_t pairs(const DefenceTask& task) const { return pool_size_.value_or(task.train.count()); }
  Architecture cleaned_line(const DefenceTask& task) const {
    const Model generator(architecture(task), task.target.input(), task.target.backend());
    return cleaned_network(generator, *network_)->architecture();
  }

  Defended with_network(const std::shared_ptr<Model>& whole) const {
    const Defended cleaned = defended_by(whole), alone = defended_by(network_);
    Defended both = cleaned;
    both.unaware = alone.classifier;
    both.unaware_answers_otherwise = true;
    both.judges = {{"ape-gan", "trained", cleaned}, {"network alone", "before", alone}};
    return both;
  }

  std::optional<int64_t> pool_size_;
  double distance_ = ApeGanOptions{}.distance, adversarial_ = ApeGanOptions{}.adversarial;
  int64_t width_ = 64;
  std::shared_ptr<const Model> network_;
  AttackedPool pool_;
  std::unique_ptr<PairedImages> pairs_;
};

}  // namespace

std::string generator_line(const ImageShape& images, int64_t width) {
  if (images.height % 4 != 0 || images.width % 4 != 0) {
    fail("the generator halves images twice: expected sides that are multiples of 4, got {}x{}",
         images.height, images.width);
  }
  constexpr const char* kHow = "4x4 stride 2 pad 1";
  constexpr const char* kThen = "batchnorm | leakyrelu 0.2";
  return fmt::format(
      "conv {} {} | {} | conv {} {} | {} | deconv {} {} | {} | deconv {} {} | sigmoid | flatten", width, kHow,
      kThen, 2 * width, kHow, kThen, width, kHow, kThen, images.channels, kHow);
}

std::string discriminator_line(int64_t width) {
  return fmt::format(
      "conv {} 4x4 stride 2 pad 1 | leakyrelu 0.2 | conv {} 4x4 stride 2 pad 1 | batchnorm | leakyrelu 0.2 | "
      "conv {} 4x4 stride 2 pad 1 | batchnorm | leakyrelu 0.2 | flatten | dense 1",
      width, 2 * width, 4 * width);
}

std::shared_ptr<Model> cleaned_network(const Model& generator, const Model& network) {
  Architecture line = generator.architecture();
  line.layers.pop_back();  // flatten
  const size_t before = line.layers.size();
  const std::vector<LayerSpec>& after = network.architecture().layers;
  line.layers.insert(line.layers.end(), after.begin(), after.end());
  SafeTensorFile state = generator.state();
  for (auto& [name, tensor] : network.state().tensors)
    state.tensors.emplace_back(behind(name, before), tensor);
  auto whole = std::make_shared<Model>(std::move(line), network.input(), network.backend());
  whole->load(state);
  return whole;
}

Tensor doubt(const Tensor& z, bool truth) {
  const Tensor v = truth ? -z : z, size = abs(v);
  // log(1 + e^v) without overflow, whose derivative at 0 is 1/2.
  return reshape((v + size) * 0.5f + log(exp(-size) + 1.0f), {z.dim(0)});
}

ApeGanTraining::ApeGanTraining(const ApeGanOptions& options, Model discriminator, const Model& network,
                               const PairedImages& pairs)
    : options_(options),
      discriminator_(std::move(discriminator)),
      optimizer_(options.rule, discriminator_.parameters()),
      network_(network),
      pairs_(pairs) {}

void ApeGanTraining::prepare(const Model& /*generator*/, const MiniBatch& batch) {
  if (batch.kind != 0) return;
  Kept& kept = kept_[batch.x.dim(0)];
  if (!kept.clean) {
    kept.clean = Tensor::uninitialized(batch.x.backend(), batch.x.shape());
    kept.discriminator = Tensor::uninitialized(batch.x.backend(), {batch.x.dim(0)});
  }
  pairs_.clean(batch.rows, kept.clean);
  optimizer_.begin_step(batch.rate);
}

void ApeGanTraining::train_discriminator(const Tensor& cleaned, const MiniBatch& batch, const Kept& kept) {
  const Tensor losses = doubt(discriminator_.forward(kept.clean, batch.forward), true) +
                        doubt(discriminator_.forward(cleaned.detach(), batch.forward), false);
  optimizer_.apply(grad({mean(losses)}, discriminator_.parameters()));
  losses.backend().copy(kept.discriminator.mutable_data(), losses.data(),
                        static_cast<size_t>(losses.size()) * sizeof(float));
}

BatchLoss ApeGanTraining::loss(const Model& generator, const MiniBatch& batch) {
  const Kept& kept = kept_.at(batch.x.dim(0));
  const Tensor cleaned = reshape(generator.forward(batch.x, batch.forward), batch.x.shape());
  if (batch.kind == 0) train_discriminator(cleaned, batch, kept);
  const Tensor distance = mean_squared_error(cleaned, kept.clean),
               doubted = doubt(discriminator_.forward(cleaned, batch.forward), true);
  Tensor answers;
  {
    const NoGrad values_only;
    answers = network_.forward(cleaned.detach());
  }
  return {distance * options_.distance + doubted * options_.adversarial,
          answers,
          {distance, doubted, kept.discriminator}};
}

void ApeGanTraining::save(SafeTensorFile& file) const {
  for (auto& [name, tensor] : discriminator_.state().tensors)
    file.tensors.emplace_back(kBefore + name, tensor);
  optimizer_.save(file, "objective.optimizer");
}

void ApeGanTraining::load(const SafeTensorFile& file) {
  SafeTensorFile own;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(kBefore)) own.tensors.emplace_back(name.substr(kBefore.size()), tensor);
  }
  discriminator_.load(own);
  optimizer_.load(file, "objective.optimizer");
}

DefenceInfo ape_gan_info() {
  return {
      .name = "ape-gan",
      .summary = "a generator cleans images before the network sees them (APE-GAN)",
      .about =
          "APE-GAN: a generator is trained against a discriminator to turn attacked images of the network "
          "--weights back into the clean ones, and stands in front of it from then on; the network itself is "
          "not trained. Attacks made on the bare network it takes back (unaware.csv); whoever takes "
          "gradients "
          "through the generator too meets an undefended network that is a few layers deeper (adaptive.csv). "
          "Its authors' pairs: --attacks fgsm --sizes 0.15,0.2,0.25,0.3.",
      .source = "Shen et al. 2017",
      .make = []() -> std::unique_ptr<Defence> {
        return std::make_unique<ApeGan>();
      }};
}

}  // namespace caltrop
