// The contract of defences: one that is no part of the product, the example of docs/adding_a_defence.md, goes through the one evaluation; and what an attacker who knows it does to it.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "defense/cycles.h"
#include "defense/evaluation.h"
#include "defense/training/trained.h"
#include "engine/autograd.h"
#include "engine/training.h"
#include "tests/defense/trial.h"

namespace caltrop::test {
namespace {

// Input-gradient regularisation (Ross & Doshi-Velez 2018; in L1 as Simon-Gabriel et al. 2019): what FGSM of size eps
// would add to the loss, to first order, is added to it.
class SmallSlopes final : public Objective {
 public:
  explicit SmallSlopes(float eps) : eps_(eps) {}

  BatchLoss loss(const Model& model, const MiniBatch& batch) override {
    const Tensor x = variable(batch.x);
    const Tensor logits = model.forward(x, batch.forward);
    const Tensor losses = cross_entropy(logits, batch.labels);
    const Tensor slope = grad(sum(losses), x, {.create_graph = true});
    const Tensor added = sum(abs(slope), {1, 2, 3}) * eps_;
    return {losses + added, logits, {added}};
  }
  std::vector<std::string> reports() const override { return {"added"}; }

 private:
  float eps_;
};

class SlopeRegularization final : public TrainedDefence {
 public:
  SlopeRegularization()
      : TrainedDefence("small-slopes", {.epochs = 40, .batch = 32, .rule = {.rate = 0.002f}}) {}

 protected:
  std::vector<DefenceOption> own_options() override {
    return {{.name = "eps",
             .value = &eps_,
             .what = "L-inf size of the attack whose effect is made small",
             .value_name = "E",
             .low = 0,
             .high = 1,
             .open_low = true}};
  }
  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    return std::make_unique<SmallSlopes>(static_cast<float>(eps_));
  }

 private:
  double eps_ = 0.1;
};

DefenceInfo small_slopes_info() {
  return {.name = "small-slopes",
          .summary = "train for small gradients of the loss with respect to pixels",
          .about = "",
          .source = "Ross & Doshi-Velez 2018; Simon-Gabriel et al. 2019",
          .make = []() -> std::unique_ptr<Defence> { return std::make_unique<SlopeRegularization>(); },
          .pools = false};
}

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_SUITE("defense") {
  TEST_CASE("defence: the guide shows the lines that are compiled here") {
    const std::string folder = CALTROP_SOURCE_DIR, guide = read_text(folder + "/docs/adding_a_defence.md"),
                      here = read_text(folder + "/tests/defense/defence_test.cpp");
    int blocks = 0;
    for (size_t at = 0; (at = guide.find("```cpp\n", at)) != std::string::npos; ++blocks) {
      at += 7;
      CHECK(here.find(guide.substr(at, guide.find("```", at) - at)) != std::string::npos);
    }
    CHECK(blocks == 2);
  }

  TEST_CASE("defence: a row of one's own goes through the one evaluation") {
    Trial trial;
    const DefenceTask task = trial.task();
    const std::vector<TestSet> tests = make_test_sets(task, {.attacked = 60});
    REQUIRE(tests.size() == 3);
    const std::unique_ptr<Defence> defence = small_slopes_info().make();
    REQUIRE(defence->options()[0].name == "eps");
    CHECK(*std::get<double*>(defence->options()[0].value) == 0.1);  // defaults lie where options point
    defence->resolve("paper", task.known);
    defence->check(task);
    const Defended defended = defence->train(task, tests[0]);
    CHECK((!defended.detects && defended.parameters == 144 * 24 + 24 + 24 * 10 + 10));
    Defended undefended = defended_by(std::make_shared<Model>(trial.target));

    AdaptiveOptions adaptive = adaptive_linf({"pgd", "apgd-ce"}, 0.1f, 60);
    adaptive.steps = 10;
    const DefenceEvaluation hardened = evaluate(defended, task, tests, adaptive),
                            before = evaluate(undefended, task, tests, adaptive);
    REQUIRE(hardened.judged.size() ==
            3);  // itself on each test set; no detector beside one that detects nothing
    for (const JudgedTest& judged : hardened.judged)
      CHECK((judged.clean.images == 60 &&
             judged.attacked.all.images + 60 == static_cast<int64_t>(judged.answers.size())));
    CHECK(hardened.passes == 1);
    REQUIRE((hardened.adaptive.size() == 4 && before.adaptive.size() == 4));  // none, two attacks, any
    const Fates &clean = hardened.adaptive[0].exact, &any = hardened.adaptive[3].exact;
    CHECK((clean.images == 60 && clean.flagged == 0));
    CHECK(clean.right >= 57);
    // The defence is what makes the difference.
    CHECK(any.wrong + 10 <= before.adaptive[3].exact.wrong);
    CHECK(any.wrong >= hardened.adaptive[1].exact.wrong);
    // What is made on the undefended network fools that more often than the defence.
    const std::vector<float> sizes = {0.01f, 0.1f};
    AttackOptions pgd = attack_defaults(AttackKind::pgd);
    const std::vector<TransferRow> rows = transfer(defended, trial.target, trial.test, 10, pgd, sizes);
    REQUIRE((rows.size() == 2 && rows[1].size == 0.1f && rows[1].norm == pgd.norm));
    for (const TransferRow& row : rows) CHECK((row.undefended.images == 60 && row.defended.images == 60));
    CHECK((rows[0].undefended.wrong < rows[1].undefended.wrong));
    CHECK(rows[1].defended.wrong < rows[1].undefended.wrong);
    const std::vector<TransferRow> itself = transfer(undefended, trial.target, trial.test, 10, pgd, sizes);
    for (const TransferRow& row : itself) CHECK(row.defended.wrong == row.undefended.wrong);
  }

  TEST_CASE("defence: alarms are answers, and an attacker who knows them looks for a third way") {
    Trial trial;
    const DefenceTask task = trial.task();
    // Eleven logits: those of the network and an alarm that always rings a little.
    Model alarmed = make_model("flatten | dense 24 | relu | dense 11", {12, 12, 1}, 3);
    for (const size_t k : {0u, 1u}) set_parameter(alarmed, k, trial.target.parameters()[k].to_host());
    const std::vector<float> weight = trial.target.parameters()[2].to_host();
    std::vector<float> wide = weight;
    wide.resize(24 * 11, 0.0f);
    set_parameter(alarmed, 2, wide);
    std::vector<float> bias = trial.target.parameters()[3].to_host();
    bias.push_back(0.0f);
    set_parameter(alarmed, 3, bias);
    const Defended quiet = defended_by(std::make_shared<Model>(alarmed), 10);
    CHECK(quiet.detects);
    bias.back() = 1e6f;
    Model loud = make_model("flatten | dense 24 | relu | dense 11", {12, 12, 1}, 3);
    for (const size_t k : {0u, 1u}) set_parameter(loud, k, trial.target.parameters()[k].to_host());
    set_parameter(loud, 2, wide);
    set_parameter(loud, 3, bias);
    const Defended always = defended_by(std::make_shared<Model>(loud), 10);

    const AdaptiveOptions adaptive = adaptive_linf({"pgd"}, 0.3f, 20);
    const std::vector<AdaptiveRow> past = attack_defended(quiet, trial.test, 10, adaptive, trial.watch),
                                   rung = attack_defended(always, trial.test, 10, adaptive, trial.watch);
    CHECK(past[1].exact.wrong > 10);
    CHECK((rung[0].exact.flagged == 20 && rung[1].exact.flagged == 20 && rung[1].exact.wrong == 0));
    // JudgedTest beside the detector that needs no training.
    const std::vector<TestSet> tests = make_test_sets(task, {.attacked = 30});
    const DefenceEvaluation evaluation = evaluate(quiet, task, tests, {});
    CHECK((evaluation.judged.size() == 6 && evaluation.judged[1].model == "off-grid pixel"));
    CHECK(evaluation.adaptive.empty());
  }

  TEST_CASE("defence: the table of defences, its options and its scales") {
    std::set<std::string> names;
    for (const DefenceInfo& info : defences()) {
      CAPTURE(info.name);
      CHECK(names.insert(info.name).second);
      CHECK_FALSE((info.summary.empty() || info.source.empty()));
      std::set<std::string> options;
      for (const DefenceOption& option : info.make()->options()) {
        CHECK(options.insert(option.name).second);
        CHECK_FALSE(option.what.empty());
      }
      for (const std::string& scale : kScales) CHECK_NOTHROW(info.make()->resolve(scale, {}));
    }
    CHECK(defence_info("mia").name == "mia");
    CHECK_THROWS_WITH_AS((void)defence_info("nothing"), "unknown defence 'nothing'", Error);
  }
}

}  // namespace
}  // namespace caltrop::test
