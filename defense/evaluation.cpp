#include "defense/evaluation.h"

#include <algorithm>

#include "attacks/attack_images.h"
#include "attacks/diagnosis.h"
#include "defense/off_grid.h"

namespace caltrop {

std::vector<TestSet> make_test_sets(const DefenceTask& task, const TestOptions& options) {
  std::vector<TestSet> sets;
  const auto add = [&](const std::string& name, AttackedPool pool) {
    sets.emplace_back(name, task.test, std::move(pool), task.attacked());
  };
  const CraftedPlan crafted =
      task.crafter.craft(task.test, pool_recipe(task.known), options.attacked, Subset::test, task.seed);
  add(task.pool.eight_bits ? "8 bits" : "exact", crafted.pool(task.test, task.pool));
  if (!task.pool.eight_bits) {
    add("8 bits", crafted.pool(task.test, {true, task.pool.keep_unchanged}));
    add(kExactLeft, sets[0].pool.at_positions_of(sets[1].pool));
  }
  if (options.unseen > 0 && !options.others.empty()) {
    add("unseen", task.crafter.craft(task.test, options.others, options.unseen, Subset::test, task.seed)
                      .pool(task.test, task.pool));
  }
  return sets;
}

namespace {

GradientRow gradients_of(const std::string& attacker, const Classifier& classifier, const Images& test) {
  const int64_t images = std::min<int64_t>(test.count(), 1000);
  return {.attacker = attacker,
          .images = images,
          .zero = zero_gradients(classifier, test, images),
          .zero_in_torch = zero_gradients(classifier, test, images, CrossEntropyGrad::torch)};
}

}  // namespace

DefenceEvaluation evaluate(const Defended& defended, const DefenceTask& task,
                           const std::vector<TestSet>& tests, const AdaptiveOptions& adaptive) {
  std::vector<Judge> judges = defended.judges;
  if (judges.empty()) {
    judges.push_back({"defence", "trained", [&](const ImageSource& images) {
                        return defended(images);
                      }});
  }
  if (defended.detects) {
    judges.push_back({"off-grid pixel", "no training", [&](const ImageSource& images) {
                        std::vector<int32_t> answers;
                        for (const bool off : off_grid(images)) answers.push_back(off ? task.attacked() : -1);
                        return answers;
                      }});
  }
  DefenceEvaluation evaluation{.judged = {},
                               .adaptive = {},
                               .parameters = defended.parameters,
                               .passes = defended.classifier->passes()};
  const std::vector<float> sizes = sizes_of(tests);
  for (const TestSet& test : tests) {
    for (const Judge& judge : judges) {
      evaluation.judged.push_back(judged({.model = judge.model,
                                          .stage = judge.stage,
                                          .test = test.name,
                                          .answers = judge.answers(test.images)},
                                         test, task.attacked(), defended.detects, sizes));
    }
  }
  if (!defended.detects) {
    evaluation.gradients.push_back(gradients_of("knows it", *defended.classifier, task.test));
    if (defended.unaware)
      evaluation.gradients.push_back(gradients_of("does not", *defended.unaware, task.test));
  }
  if (adaptive.images > 0) {
    evaluation.adaptive = attack_defended(defended, task.test, task.attacked(), adaptive, task.watch);
    if (defended.unaware)
      evaluation.unaware = attack_defended(defended, task.test, task.attacked(), adaptive, task.watch, true);
  }
  return evaluation;
}

std::vector<TransferRow> transfer(const Defended& defended, const Model& target, const Images& test,
                                  int32_t attacked, const AttackOptions& attack, std::span<const float> sizes,
                                  const Progress& progress) {
  std::vector<TransferRow> rows;
  for (const float size : sizes) rows.push_back({attack.norm, size, {}, {}});
  AttackJob job{.rows = row_range(0, test.count()), .progress = progress};
  job.sink = [&](int64_t, const AttackResult& chunk) {
    const std::vector<int32_t> answers = defended(chunk.adversarial);
    for (size_t r = 0; r < answers.size(); ++r) {
      TransferRow& row = rows[r % sizes.size()];
      const int32_t truth = chunk.images[r / sizes.size()].label;
      row.undefended.add(chunk.rows[r].prediction, truth, attacked);
      row.defended.add(answers[r], truth, attacked);
    }
  };
  attack_images(target, test, sizes, attack, job);
  return rows;
}

}  // namespace caltrop
