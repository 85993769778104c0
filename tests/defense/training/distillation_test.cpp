// Distillation: its loss against loops over doubles, its stages, and what becomes of its gradients.
#include "defense/training/distillation.h"

#include <doctest/doctest.h>

#include <cmath>

#include "attacks/adaptive.h"
#include "attacks/diagnosis.h"
#include "engine/autograd.h"
#include "tests/compare.h"
#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

// Of each row of logits.
std::vector<double> softened(const std::vector<float>& logits, size_t classes, double temperature) {
  std::vector<double> p;
  for (size_t r = 0; r < logits.size(); r += classes) {
    double total = 0;
    for (size_t k = 0; k < classes; ++k) total += std::exp(static_cast<double>(logits[r + k]) / temperature);
    for (size_t k = 0; k < classes; ++k)
      p.push_back(std::exp(static_cast<double>(logits[r + k]) / temperature) / total);
  }
  return p;
}

// For the last bias: the mean over dL/dz.
std::vector<float> gradient_of(const Tensor& losses, const Model& model) {
  return grad(mean(losses), model.parameters().back()).to_host();
}

TEST_SUITE("defense") {
  TEST_CASE("distillation: the loss and its gradient are those of softened labels") {
    const Images images = random_images({12, 12, 1}, 12, 10);
    const Model model = make_model("flatten | dense 9 | relu | dense 10", {12, 12, 1}, 3),
                teacher = make_model("flatten | dense 10", {12, 12, 1}, 4);
    constexpr double kTemperature = 2.5;
    const std::vector<float> soft = soft_labels(teacher, images, 2.5f);
    const Batch batch(images, {7, 2, 11, 0}, 3);  // not in the order of the set
    TemperedCrossEntropy objective(2.5f, soft);
    objective.prepare(model, batch.batch);
    const BatchLoss loss = objective.loss(model, batch.batch);
    const std::vector<double> target = softened(teacher.forward(batch.batch.x).to_host(), 10, kTemperature),
                              said = softened(model.forward(batch.batch.x).to_host(), 10, kTemperature);
    const std::vector<float> losses = loss.losses.to_host(), slope = gradient_of(loss.losses, model);
    std::vector<double> expected(10);
    for (size_t r = 0; r < 4; ++r) {
      double sum = 0;
      for (size_t k = 0; k < 10; ++k) {
        sum -= target[r * 10 + k] * std::log(said[r * 10 + k]);
        expected[k] += (said[r * 10 + k] - target[r * 10 + k]) / kTemperature / 4;
      }
      CHECK(static_cast<double>(losses[r]) == doctest::Approx(sum).epsilon(1e-5));
    }
    for (size_t k = 0; k < 10; ++k) CHECK(std::abs(static_cast<double>(slope[k]) - expected[k]) < 1e-6);

    // At T = 1 with labels that are sure it is cross-entropy.
    std::vector<float> sure(12 * 10);
    for (size_t i = 0; i < 12; ++i) sure[i * 10 + static_cast<size_t>(images.labels()[i])] = 1;
    TemperedCrossEntropy hard(1, sure), own(1);
    CrossEntropy plain;
    hard.prepare(model, batch.batch);
    const Tensor a = hard.loss(model, batch.batch).losses, b = plain.loss(model, batch.batch).losses;
    CHECK(largest_difference(a.to_host(), b.to_host()) < 1e-5);
    CHECK(largest_difference(gradient_of(a, model), gradient_of(b, model)) < 1e-6);
    CHECK(same_bytes(own.loss(model, batch.batch).losses.to_host(), b.to_host()));
  }

  TEST_CASE("distillation: a first epoch, a teacher and a student, each of which goes on after a kill") {
    Run run;
    const auto how = [](Defence& d) {
      option<double>(d, "temperature") = 20;
    };
    Killer whole;
    const std::string bytes = run.train("distillation", "whole", whole, "", 3, how);
    REQUIRE(whole.epochs.size() == 5);
    const char* stages[] = {"first epoch", "teacher", "teacher", "student", "student"};
    for (size_t k = 0; k < 5; ++k) CHECK(whole.epochs[k].stage == stages[k]);
    for (const int64_t after : {1, 2, 4}) {
      Killer killed, rest;
      killed.left = after;
      const std::string name = std::to_string(after);
      CHECK_THROWS_WITH_AS(run.train("distillation", name, killed, "", 3, how), "killed", Error);
      CHECK(run.train("distillation", name, rest, "", 3, how) == bytes);
      CHECK(static_cast<int64_t>(rest.epochs.size()) == 5 - after);
    }
    // The same student from the teacher's file.
    const std::string teacher = (run.folder.path() / "whole" / "teacher.safetensors").string();
    Killer again;
    const auto given = [&](Defence& d) {
      how(d);
      option<std::string>(d, "teacher") = teacher;
    };
    CHECK(run.train("distillation", "given", again, "", 3, given) == bytes);
    CHECK(again.epochs.size() == 3);
    // From weights that are there both go on as they are, for all epochs.
    Killer on;
    (void)run.train("distillation", "on", on, teacher, 2, how);
    CHECK((on.epochs.size() == 4 && on.epochs[0].stage == "teacher"));
    // Who knows the defence divides by the temperature; the answers stay.
    const Tensor x = run.trial.test.pixels(row_range(0, 20));
    REQUIRE(run.defended.unaware);
    CHECK(same_bytes((run.defended.unaware->logits(x, {}) / 20.0f).to_host(),
                     run.defended.classifier->logits(x, {}).to_host()));
    (void)run.train("distillation", "as it is", again, "", 1,
                    [](Defence& d) { option<std::optional<double>>(d, "attack-temperature") = 1; });
    CHECK_FALSE(run.defended.unaware);
  }

  TEST_CASE("distillation: a teacher of other classes or images is refused in one line") {
    Run run;
    const auto refused = [&](const std::string& line, ImageShape shape) {
      const std::string path = (run.folder.path() / "teacher.safetensors").string();
      write_safetensors(path, make_model(line, shape).state());
      Killer watch;
      return refusal([&] {
        (void)run.train("distillation", "", watch, "", 1,
                        [&](Defence& d) { option<std::string>(d, "teacher") = path; });
      });
    };
    const std::string classes = refused("flatten | dense 11", {12, 12, 1}),
                      shape = refused("flatten | dense 10", {12, 13, 1});
    CHECK((classes.starts_with("--teacher: ") && classes.ends_with("gives 11 logits, the student 10")));
    CHECK(shape.ends_with("takes images of 12x13x1, the training images are 12x12x1"));
    for (const std::string name : {"temperature", "attack-temperature"}) {
      for (const DefenceOption& one : defence_info("distillation").make()->options())
        if (one.name == name) CHECK((one.low == 0 && one.open_low));
    }
    CHECK_THROWS_AS(Tempered(Network(run.trial.target), 0), Error);
  }

  TEST_CASE("distillation: saturated gradients are counted, and a temperature brings them back") {
    const Images images = random_images({12, 12, 1}, 40, 10);
    Model model = make_model("flatten | dense 10", {12, 12, 1}, 3);
    std::vector<float> bias(10);
    bias[4] = 200;  // sure beyond fp32 that all are fours
    set_parameter(model, 1, bias);
    const Network network(model);
    int64_t fours = 0;
    for (const int32_t label : images.labels()) fours += label == 4;
    REQUIRE(fours > 0);
    CHECK(zero_gradients(network, images, 40) == fours);
    CHECK(zero_gradients(network, images, 40, CrossEntropyGrad::torch) == fours);
    CHECK(zero_gradients(Tempered(network, 100), images, 40) == 0);
    bias[4] = 40;  // p is 1 in fp32, but the others are not 0: only the form p - 1 loses them
    set_parameter(model, 1, bias);
    CHECK(zero_gradients(network, images, 40) == 0);
  }
}

}  // namespace
}  // namespace caltrop::test
