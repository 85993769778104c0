#include "defense/training/masking.h"

#include <algorithm>
#include <numeric>

#include "engine/error.h"
#include "engine/inference.h"
#include "engine/ops.h"
#include "engine/random.h"

namespace caltrop {
namespace {

// Layers between two dense ones, through which a unit stays a unit.
bool keeps_units(const LayerSpec& layer) {
  const auto* activation = std::get_if<ActivationSpec>(&layer);
  return (activation && activation->kind != ActivationKind::softmax) ||
         std::holds_alternative<BatchNormSpec>(layer) || std::holds_alternative<DropoutSpec>(layer);
}

// Sets the given rows, or columns, of a tensor of a state to zero.
void zero(SafeTensorFile& file, const std::string& name, const std::vector<int64_t>& places, bool columns) {
  const auto found = std::ranges::find(file.tensors, name, [](const auto& named) { return named.first; });
  if (found == file.tensors.end()) fail("[prune] expected the tensor {}", name);
  const std::vector<int64_t> shape = found->second.shape;
  const std::span<const float> before = found->second.floats();
  std::vector<float> values(before.begin(), before.end());
  const int64_t count = static_cast<int64_t>(values.size()), rows = columns ? shape.at(0) : 1,
                row = count / rows, each = columns ? 1 : count / shape.at(0);
  for (int64_t r = 0; r < rows; ++r) {
    for (const int64_t place : places) std::fill_n(values.begin() + r * row + place * each, each, 0.0f);
  }
  found->second = SafeTensor::from_floats(shape, values);
}

}  // namespace

std::optional<int64_t> penultimate_layer(const Architecture& architecture) {
  const std::vector<LayerSpec>& layers = architecture.layers;
  auto layer = static_cast<int64_t>(layers.size()) - 1;
  const auto at = [&](int64_t k) -> const LayerSpec& {
    return layers[static_cast<size_t>(k)];
  };
  if (layer < 1 || !std::holds_alternative<DenseSpec>(at(layer))) return std::nullopt;
  for (--layer; layer >= 0 && keeps_units(at(layer)); --layer) continue;
  if (layer < 0 || !std::holds_alternative<DenseSpec>(at(layer))) return std::nullopt;
  return layer;
}

std::vector<int64_t> least_active(const Model& model, const ImageSource& images, double share) {
  const Features all = features(model, images);
  const auto width = static_cast<size_t>(all.width);
  std::vector<double> sums(width);
  for (size_t i = 0; i < all.values.size(); ++i) sums[i % width] += static_cast<double>(all.values[i]);
  std::vector<int64_t> units(width);
  std::iota(units.begin(), units.end(), int64_t{0});
  std::stable_sort(units.begin(), units.end(), [&](int64_t a, int64_t b) {
    return sums[static_cast<size_t>(a)] < sums[static_cast<size_t>(b)];
  });
  units.resize(static_cast<size_t>(share * static_cast<double>(width)));
  std::sort(units.begin(), units.end());
  return units;
}

void prune_units(Model& model, const std::vector<int64_t>& units) {
  const Architecture& architecture = model.architecture();
  const std::optional<int64_t> first = penultimate_layer(architecture);
  if (!first) fail("[prune] expected a network with a dense layer before its last");
  const auto last = static_cast<int64_t>(architecture.layers.size()) - 1;
  SafeTensorFile file = model.state();
  for (int64_t k = *first; k < last; ++k) {
    const LayerSpec& layer = architecture.layers[static_cast<size_t>(k)];
    if (!std::holds_alternative<DenseSpec>(layer) && !std::holds_alternative<BatchNormSpec>(layer)) continue;
    for (const char* name : {"weight", "bias"}) zero(file, fmt::format("{}.{}", k, name), units, false);
  }
  zero(file, fmt::format("{}.weight", last), units, true);
  model.load(file);
}

PrunedTraining::PrunedTraining(const Model& model, const std::vector<int64_t>& units) {
  const std::vector<Tensor> parameters = model.parameters();
  weight_ = parameters[parameters.size() - 2].detach();
  std::vector<float> kept(static_cast<size_t>(weight_.dim(1)), 1.0f);
  for (const int64_t unit : units) kept[static_cast<size_t>(unit)] = 0.0f;
  kept_ = Tensor::from(model.backend(), {1, weight_.dim(1)}, kept);
}

BatchLoss PrunedTraining::loss(const Model& model, const MiniBatch& batch) {
  return CrossEntropy().loss(model, batch);
}

void PrunedTraining::update(const MiniBatch& /*batch*/, const std::vector<Tensor>& /*gradients*/) {
  const Tensor kept = weight_ * kept_;
  kept.backend().copy(weight_.mutable_data(), kept.data(), static_cast<size_t>(kept.size()) * sizeof(float));
}

void NoisyGradients::prepare(const Model& model, const MiniBatch& batch) {
  const std::vector<Tensor> parameters = model.parameters();
  for (size_t k = 0; k < parameters.size(); ++k) {
    if (noise_.size() == k) noise_.push_back(Tensor::uninitialized(model.backend(), parameters[k].shape()));
    // 2^36 updates of 2^12 tensors: no two share a stream.
    const uint64_t stream = stream_of(Purpose::gradient_noise, batch.forward.step << 12 | k);
    model.backend().random(Distribution::normal, batch.forward.seed, std::span(&stream, 1), noise_[k].size(),
                           noise_[k].mutable_data());
  }
}

BatchLoss NoisyGradients::loss(const Model& model, const MiniBatch& batch) {
  const Tensor logits = model.forward(batch.x, batch.forward);
  const std::vector<Tensor> parameters = model.parameters();
  // A term of value 0 whose gradient is the noise: the update sees it, the reported loss does not.
  Tensor product = Tensor::zeros(model.backend(), {});
  for (size_t k = 0; k < parameters.size(); ++k) product = product + sum(parameters[k] * noise_[k]);
  const Tensor noise = (product - product.detach()) * sigma_;
  return {cross_entropy(logits, batch.labels) + noise, logits};
}

Tensor without_smallest(const Tensor& g, double q) {
  const int64_t rows = g.dim(0), elements = rows > 0 ? g.size() / rows : 0;
  if (elements == 0) return g;
  const Tensor flat = reshape(g, {rows, elements}), size = abs(flat);
  const Tensor allowed =
      Tensor::full(g.backend(), {}, static_cast<float>(std::floor(q * static_cast<double>(elements))) + 0.5f);
  // The largest threshold below which no more than the allowed number lies, by bisection: ops alone, that an attack's
  // step may be captured. 40 halvings of the largest size are exact for fp32 and its neighbours.
  Tensor low = Tensor::zeros(g.backend(), {rows, 1}), high = reshape(row_max(size), {rows, 1});
  for (int halving = 0; halving < 40; ++halving) {
    const Tensor middle = (low + high) * 0.5f;
    const Tensor fits = greater(allowed, sum(greater(middle, size), {1}, true));
    low = where(fits, middle, low);
    high = where(fits, high, middle);
  }
  return reshape(where(greater(low, size), Tensor::zeros(g.backend(), {}), flat), g.shape());
}

Pass MaskedGradients::differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const {
  Pass pass = inner().differentiate(x, objectives, query);
  for (Tensor& gradient : pass.gradients) gradient = without_smallest(gradient, share_);
  return pass;
}

namespace {

class Masking final : public TrainedDefence {
 public:
  Masking() : TrainedDefence("masking", {.epochs = 7}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    return {
        {.name = "reading",
         .value = &reading_,
         .what = "of what Kim calls gradient masking: prune the least active units of the penultimate layer, "
                 "train "
                 "with noise on the gradients, or hide the smallest gradients of the pixels from an attacker",
         .choices = {"prune", "noise", "mask"}},
        {.name = "share",
         .value = &share_,
         .what = "of the units that are pruned, or of the pixels whose gradients are hidden",
         .value_name = "Q",
         .otherwise = "0.5",
         .low = 0,
         .high = 1},
        {.name = "fine-tune",
         .value = &fine_tune_,
         .what = "of the epochs, after pruning",
         .value_name = "N",
         .otherwise = "3 of 7; all of them with --from",
         .low = 0,
         .high = 100000},
        {.name = "noise",
         .value = &noise_,
         .what = "standard deviation of the noise on each gradient of a weight",
         .value_name = "S",
         .otherwise = "0.01",
         .low = 0,
         .high = 100}};
  }

  void resolve_own(std::string_view, const PoolRecipeOptions&) override {
    const bool noise = reading_ == "noise", prune = reading_ == "prune";
    if (share_ && noise) fail("--share belongs to --reading prune and mask, not noise");
    if (noise_ && !noise) fail("--noise belongs to --reading noise, not {}", reading_);
    if (fine_tune_ && !prune) fail("--fine-tune belongs to --reading prune, not {}", reading_);
    if (!share_) share_ = 0.5;
    if (*share_ == 1) fail("--share 1 would leave nothing: expected less than 1");
    if (!noise_) noise_ = 0.01;
    if (!fine_tune_) fine_tune_ = from_scratch() ? epochs() * 3 / 7 : epochs();
    if (*fine_tune_ > epochs())
      fail("--fine-tune {} is more than all epochs, of which there are {}", *fine_tune_, epochs());
  }

  void check_own(const DefenceTask& task) const override {
    if (reading_ == "prune" && !penultimate_layer(architecture(task))) {
      fail("--reading prune: the network '{}' has no penultimate layer, a dense one before its last",
           to_string(architecture(task)));
    }
  }

  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    if (reading_ == "noise") return std::make_unique<NoisyGradients>(static_cast<float>(*noise_));
    return std::make_unique<CrossEntropy>();
  }

  std::vector<TrainingStage> stages(const DefenceTask& task) const override {
    if (reading_ != "prune") return TrainedDefence::stages(task);
    std::vector<TrainingStage> all;
    all.push_back({.name = "whole",
                   .file = "whole.safetensors",
                   .epochs = epochs() - *fine_tune_,
                   .objective = [](const Model&, const StageModels&) {
                     return std::make_unique<CrossEntropy>();
                   }});
    const auto units = std::make_shared<std::vector<int64_t>>();
    all.push_back(
        {.name = "pruned",
         .file = "model.safetensors",
         .epochs = *fine_tune_,
         .objective = [units](const Model& model,
                              const StageModels&) { return std::make_unique<PrunedTraining>(model, *units); },
         .begin =
             [units, &task, share = *share_](Model& model, const StageModels& before) {
               model.load(before.front()->state());
               *units = least_active(model, task.train, share);
               prune_units(model, *units);
             }});
    return all;
  }

  Defended defended(const DefenceTask& task, const StageModels& trained) const override {
    Defended network = TrainedDefence::defended(task, trained);
    if (reading_ == "mask") network.unaware = wrapped<MaskedGradients>(network.classifier, *share_);
    return network;
  }

 private:
  std::string reading_ = "prune";
  std::optional<double> share_, noise_;
  std::optional<int64_t> fine_tune_;
};

}  // namespace

DefenceInfo masking_info() {
  return {
      .name = "masking",
      .summary = "gradient masking in three readings: units pruned, noisy training, gradients hidden",
      .about =
          "What Kim 2025 calls gradient masking, in three readings, since its text allows them all: the "
          "least active "
          "units of the penultimate layer are set to zero and the rest is fine-tuned; noise is added to the "
          "gradients of the weights in training; or the smallest gradients of the pixels are hidden from an "
          "attacker, who then meets them as zeros while one who knows it does not.",
      .source = "Kim 2025; Neelakantan et al. 2015 for noise; Athalye et al. 2018 for what it is worth",
      .make = []() -> std::unique_ptr<Defence> { return std::make_unique<Masking>(); },
      .pools = false};
}

}  // namespace caltrop
