#include "defense/evaluation.h"

#include "defense/off_grid.h"

namespace caltrop {

std::vector<TestSet> make_test_sets(const DefenceTask& task, const TestOptions& options) {
  std::vector<TestSet> sets;
  const auto add = [&](const std::string& name, AttackedPool pool) {
    sets.emplace_back(name, task.test, std::move(pool), task.attacked());
  };
  const CraftedPlan crafted = task.crafter.craft(task.test, pool_recipe(task.known), options.attacked,
                                                 Subset::test, task.seed);
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

DefenceEvaluation evaluate(const Defended& defended, const DefenceTask& task,
                           const std::vector<TestSet>& tests, const AdaptiveOptions& adaptive) {
  std::vector<Judge> judges = defended.judges;
  if (judges.empty()) {
    judges.push_back({"defence", "trained", [&](const ImageSource& images) { return defended(images); }});
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
  for (size_t t = 0; t < tests.size(); ++t) {
    for (const Judge& judge : judges)
      evaluation.judged.push_back({judge.model, judge.stage, t, judge.answers(tests[t].images)});
  }
  if (adaptive.images > 0)
    evaluation.adaptive = attack_defended(defended, task.test, task.attacked(), adaptive, task.watch);
  return evaluation;
}

}  // namespace caltrop
