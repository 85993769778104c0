#include "defense/training/distillation.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "attacks/adaptive.h"
#include "engine/error.h"
#include "engine/inference.h"
#include "engine/ops.h"

namespace caltrop {

std::vector<float> soft_labels(const Model& teacher, const ImageSource& images, float temperature) {
  std::vector<float> rows = predict(teacher, images);
  const auto classes = static_cast<size_t>(teacher.outputs());
  for (auto row = rows.begin(); row != rows.end(); row += static_cast<std::ptrdiff_t>(classes)) {
    const auto end = row + static_cast<std::ptrdiff_t>(classes);
    const double highest = static_cast<double>(*std::max_element(row, end));
    std::vector<double> p(row, end);
    double total = 0;
    for (double& value : p) total += value = std::exp((value - highest) / static_cast<double>(temperature));
    std::transform(p.begin(), p.end(), row,
                   [total](double value) { return static_cast<float>(value / total); });
  }
  return rows;
}

void TemperedCrossEntropy::prepare(const Model& model, const MiniBatch& batch) {
  if (soft_.empty()) return;
  const auto classes = static_cast<size_t>(model.outputs());
  Tensor& targets = targets_[batch.x.dim(0)];
  if (!targets) targets = Tensor::uninitialized(batch.x.backend(), {batch.x.dim(0), model.outputs()});
  std::vector<float> rows;
  for (const int64_t row : batch.rows) {
    const auto from = soft_.begin() + row * static_cast<std::ptrdiff_t>(classes);
    rows.insert(rows.end(), from, from + static_cast<std::ptrdiff_t>(classes));
  }
  targets.backend().upload(targets.mutable_data(), rows.data(), rows.size() * sizeof(float));
}

BatchLoss TemperedCrossEntropy::loss(const Model& model, const MiniBatch& batch) {
  const Tensor logits = model.forward(batch.x, batch.forward), z = logits / temperature_;
  if (soft_.empty()) return {cross_entropy(z, batch.labels), logits};
  return {soft_cross_entropy(z, targets_.at(batch.x.dim(0))), logits};
}

namespace {

class Distillation final : public TrainedDefence {
 public:
  Distillation()
      : TrainedDefence(
            "distillation",
            {.epochs = 50, .rule = {.rule = Rule::sgd, .rate = 0.01f, .momentum = 0.9f, .nesterov = true}}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    return {
        {.name = "temperature",
         .value = &temperature_,
         .what = "T, by which logits are divided in training",
         .value_name = "T",
         .low = 0,
         .high = 1e6,
         .open_low = true},
        {.name = "attack-temperature",
         .value = &attack_temperature_,
         .what = "by which an attacker who knows the defence divides the logits; one who does not takes 1",
         .value_name = "T",
         .otherwise = "that of training",
         .low = 0,
         .high = 1e6,
         .open_low = true},
        {.name = "teacher",
         .value = &teacher_,
         .what = "a teacher that is trained already, of any network",
         .value_name = "FILE",
         .otherwise = "trained first, of the student's network"}};
  }

  void resolve_own(std::string_view, const PoolRecipeOptions&) override {
    if (!attack_temperature_) attack_temperature_ = temperature_;
    if (!teacher_.empty()) teacher_ = std::filesystem::absolute(teacher_).lexically_normal().string();
  }

  void check_own(const DefenceTask& task) const override {
    if (!teacher_.empty()) (void)given_teacher(task);
  }

  std::vector<TrainingStage> stages(const DefenceTask& task) const override {
    const auto temperature = static_cast<float>(temperature_);
    const std::function<void(Model&, const StageModels&)> as_the_first = [](Model& model,
                                                                            const StageModels& before) {
      model.load(before.front()->state());
    };
    std::vector<TrainingStage> all;
    // Which counts as one of both. Weights to go on from are shared as they are.
    const bool shared = from_scratch() && epochs() > 1;
    if (shared) {
      all.push_back({.name = "first epoch",
                     .file = "first.safetensors",
                     .epochs = 1,
                     .objective = [](const Model&, const StageModels&) {
                       return std::make_unique<CrossEntropy>();
                     }});
    }
    const int64_t rest = shared ? epochs() - 1 : epochs();
    const std::function<void(Model&, const StageModels&)> begin = shared ? as_the_first : nullptr;
    if (teacher_.empty()) {
      all.push_back({.name = "teacher",
                     .file = "teacher.safetensors",
                     .epochs = rest,
                     .objective =
                         [=](const Model&, const StageModels&) {
                           return std::make_unique<TemperedCrossEntropy>(temperature);
                         },
                     .begin = begin});
    }
    all.push_back({.name = "student",
                   .file = "model.safetensors",
                   .epochs = rest,
                   .objective =
                       [this, &task, temperature](const Model&, const StageModels& before) {
                         const std::shared_ptr<const Model> teacher =
                             teacher_.empty() ? before.back() : given_teacher(task);
                         return std::make_unique<TemperedCrossEntropy>(
                             temperature, soft_labels(*teacher, task.train, temperature));
                       },
                   .begin = begin});
    return all;
  }

  Defended defended(const DefenceTask& task, const StageModels& trained) const override {
    Defended student = TrainedDefence::defended(task, trained);
    if (*attack_temperature_ == 1) return student;
    student.unaware = student.classifier;
    student.classifier = wrapped<Tempered>(student.classifier, static_cast<float>(*attack_temperature_));
    return student;
  }

 private:
  std::shared_ptr<const Model> given_teacher(const DefenceTask& task) const {
    try {
      const SafeTensorFile file = read_safetensors(teacher_);
      const StatedNetwork of = stated_network(file, teacher_)
                                   .value_or(StatedNetwork{task.target.architecture(), task.train.shape()});
      const ImageShape &asked = of.input, &given = task.train.shape();
      if (!(asked == given)) {
        fail("{} takes images of {}x{}x{}, the training images are {}x{}x{}", teacher_, asked.height,
             asked.width, asked.channels, given.height, given.width, given.channels);
      }
      const auto teacher = std::make_shared<Model>(of.architecture, of.input, task.train.backend());
      if (teacher->outputs() != task.target.outputs())
        fail("{} gives {} logits, the student {}", teacher_, teacher->outputs(), task.target.outputs());
      teacher->load(file);
      return teacher;
    } catch (const Error& problem) {
      fail("--teacher: {}", problem.what());
    }
  }

  double temperature_ = 100;
  std::optional<double> attack_temperature_;
  std::string teacher_;
};

}  // namespace

DefenceInfo distillation_info() {
  return {
      .name = "distillation",
      .summary = "a student learns the soft labels of a teacher at a temperature, and answers at 1",
      .about =
          "Defensive distillation: a teacher is trained at temperature T, a student of the same network "
          "learns "
          "its soft labels at T, and answers at 1. There its cross-entropy is saturated, and attacks by that "
          "gradient fail in fp32; the tables count such gradients, and show attacks that divide the logits "
          "by T "
          "beside those that do not. CW, whose objective is a difference of logits, is not hindered (Carlini "
          "& "
          "Wagner 2017).",
      .source = "Papernot et al. 2016; trained as by Carlini & Wagner 2017",
      .make = []() -> std::unique_ptr<Defence> { return std::make_unique<Distillation>(); },
      .pools = false};
}

}  // namespace caltrop
