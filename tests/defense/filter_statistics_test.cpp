// Filter statistics: axes, SVM, statistics and thresholds against values by hand; the cascade as an alarm, and under
// attackers who know it and who do not.
#include "defense/filters/filter_statistics.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "defense/evaluation.h"
#include "defense/filters/cascade.h"
#include "defense/filters/principal_axes.h"
#include "engine/autograd.h"
#include "tests/compare.h"
#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

double primal(const LinearSvm& svm, std::span<const float> rows, const std::vector<bool>& positive,
              double cost) {
  const size_t width = svm.weights.size();
  double square = svm.bias * svm.bias, losses = 0;
  for (const double w : svm.weights) square += w * w;
  for (size_t i = 0; i < positive.size(); ++i) {
    double score = svm.bias;
    for (size_t k = 0; k < width; ++k) score += svm.weights[k] * static_cast<double>(rows[i * width + k]);
    losses += std::max(0.0, 1 - (positive[i] ? score : -score));
  }
  return square / 2 + cost * losses;
}

// A network with convolutions on the small task, as what is defended.
struct ConvolutionTrial : Trial {
  TempDirectory folder;

  ConvolutionTrial()
      : Trial("conv 4 3x3 | relu | maxpool 2 | conv 5 3x3 | relu | flatten | dense 10", 0.003f, 4) {}
  DefenceTask task() {
    DefenceTask task{.target = target,
                     .train = train,
                     .test = test,
                     .classes = 10,
                     .crafter = crafter,
                     .folder = folder.path(),
                     .seed = 5,
                     .watch = watch};
    task.known.attacks = {"fgsm"};
    task.known.norm = Norm::linf;
    task.known.sizes = {0.2f, 0.3f};
    return task;
  }
};

TEST_SUITE("defense") {
  TEST_CASE("axes: those of a matrix by hand, of one without full rank, and of a large one") {
    const PrincipalAxes two = principal_axes({2, 1, 1, 2}, 2, 1e-6);
    REQUIRE(two.variances.size() == 2);
    CHECK((two.variances[0] == doctest::Approx(3) && two.variances[1] == doctest::Approx(1)));
    CHECK(std::abs(two.axes[0]) == doctest::Approx(std::sqrt(0.5)));
    CHECK(two.axes[0] * two.axes[1] == doctest::Approx(0.5));
    CHECK(two.axes[2] * two.axes[3] == doctest::Approx(-0.5));
    const PrincipalAxes one =
        principal_axes({1, 2, -1, 2, 4, -2, -1, -2, 1}, 3, 1e-6);  // (1,2,-1) with itself
    REQUIRE(one.variances.size() == 1);
    CHECK(one.variances[0] == doctest::Approx(6));

    constexpr size_t kSize = 24;
    Random random(3, Purpose::test);
    std::vector<double> half(kSize * kSize), covariance(kSize * kSize), again(kSize * kSize);
    for (double& value : half) value = static_cast<double>(random.normal());
    for (size_t i = 0; i < kSize * kSize * kSize; ++i)
      covariance[i / kSize] +=
          half[i % kSize * kSize + i / kSize / kSize] * half[i % kSize * kSize + i / kSize % kSize];
    const PrincipalAxes all = principal_axes(covariance, kSize, 1e-12);
    REQUIRE(all.variances.size() == kSize);
    CHECK(std::is_sorted(all.variances.rbegin(), all.variances.rend()));
    for (size_t a = 0; a < kSize; ++a) {
      for (size_t i = 0; i < kSize * kSize; ++i)
        again[i] += all.variances[a] * all.axes[a * kSize + i / kSize] * all.axes[a * kSize + i % kSize];
    }
    for (size_t i = 0; i < again.size(); ++i) CHECK(again[i] == doctest::Approx(covariance[i]).epsilon(1e-9));
  }

  TEST_CASE("svm: by hand, and no step from where it ends lowers what it minimises") {
    const std::vector<float> apart = {1, -1};
    const LinearSvm plain = train_svm(apart, {true, false}, {.gap = 1e-9});
    CHECK((plain.weights[0] == doctest::Approx(1) && std::abs(plain.bias) < 1e-6));
    CHECK(plain.objective == doctest::Approx(0.5));
    // Two for and one against at the same place x = 1: w + b = u costs u^2 / 4 + 2 (1 - u) + 1 + u up to u = 1.
    const std::vector<float> same = {1, 1, 1};
    const LinearSvm torn = train_svm(same, {true, true, false}, {.gap = 1e-9});
    CHECK((torn.weights[0] == doctest::Approx(0.5) && torn.bias == doctest::Approx(0.5)));
    CHECK(torn.objective == doctest::Approx(2.25));
    CHECK_THROWS_AS((void)train_svm(same, {true, true, true}, {}), Error);

    constexpr size_t kCount = 300, kWidth = 7;
    Random random(3, Purpose::test);
    std::vector<float> rows;
    std::vector<bool> positive;
    for (size_t i = 0; i < kCount; ++i) {
      positive.push_back(i % 3 == 0);
      for (size_t k = 0; k < kWidth; ++k)
        rows.push_back(random.normal() + (positive[i] && k < 2 ? 0.8f : 0.0f));
    }
    for (const double cost : {0.01, 1.0}) {
      const LinearSvm svm = train_svm(rows, positive, {.cost = cost, .gap = 1e-6, .passes = 3000});
      CHECK(svm.gap <= 1e-6);
      const double least = primal(svm, rows, positive, cost);
      CHECK(least == doctest::Approx(svm.objective).epsilon(1e-9));
      for (size_t k = 0; k <= kWidth; ++k) {
        for (const double step : {-0.02, 0.02}) {
          LinearSvm moved = svm;
          (k < kWidth ? moved.weights[k] : moved.bias) += step;
          CHECK(primal(moved, rows, positive, cost) >= least * (1 - 1e-6));
        }
      }
      const LinearSvm other =
          train_svm(rows, positive, {.cost = cost, .gap = 1e-6, .passes = 3000, .seed = 9});
      CHECK(other.objective == doctest::Approx(svm.objective).epsilon(2e-6));
    }
  }

  TEST_CASE("filter statistics: by hand, with a percentile's gradient at the pixel that has it") {
    const FilterAxes of{Tensor::from(cpu_backend(), {1, 2}, {1, 0}),
                        Tensor::from(cpu_backend(), {2, 2}, {0.6f, -0.8f, 0.8f, 0.6f}),
                        Tensor::from(cpu_backend(), {1, 2}, {1, 0.5f})};
    CHECK(of.statistics() == 12);
    // Pixels (4,0) (1,10) (3,0) (2,-10): beside the centre (3,0) (0,10) (2,0) (1,-10).
    const Tensor y = variable(Tensor::from(cpu_backend(), {1, 2, 2, 2}, {4, 0, 1, 10, 3, 0, 2, -10}));
    const std::vector<Tensor> parts = filter_statistics(y, of);
    // |.6 x + .8 y|: 1.8 8 1.2 7.4;  |-.8 x + .6 y| / 2: 1.2 3 .8 3.4
    const std::vector<std::vector<float>> expected = {{4.6f, 2.1f}, {1, -10}, {1, -10},
                                                      {2, 0},       {3, 0},   {4, 10}};
    REQUIRE(parts.size() == expected.size());
    for (size_t p = 0; p < parts.size(); ++p)
      CHECK(largest_difference(parts[p].to_host(), expected[p]) < 1e-5);
    CHECK(grad(sum(parts[3]), y).to_host() ==
          std::vector<float>{0, 1, 0, 0, 0, 0, 1, 0});  // 0 comes first there

    // Three filters of which the third is the sum of the others: two axes, of variance 1 each in what is seen.
    Model model = make_model("conv 3 3x3 | relu | globalavgpool", kLightShape, 3);
    SafeTensorFile file = model.state();
    const std::span<const float> before = file.tensors[0].second.floats();
    std::vector<float> filters(before.begin(), before.end());
    for (size_t tap = 0; tap < 9; ++tap) filters[tap * 3 + 2] = filters[tap * 3] + filters[tap * 3 + 1];
    file.tensors[0].second = SafeTensor::from_floats({3, 3, 1, 3}, filters);
    model.load(file);
    const Images images = random_images(kLightShape, 70, 10);
    const FilterAxes found = filter_axes(model, images).at(0);
    REQUIRE(found.scale.dim(1) == 2);
    const Tensor seen = convolved(model, images.pixels(row_range(0, 70))).convolutions.at(0);
    const Tensor turned = matmul(reshape(seen, {7000, 3}) - found.centre, found.axes) * found.scale;
    CHECK(largest_difference(mean(turned, {0}).to_host(), std::vector<float>(2)) < 1e-4);
    const std::vector<float> together = (matmul(turned, turned, true) / 7000.0f).to_host();
    CHECK(largest_difference(together, std::vector<float>{1, 0, 0, 1}) < 1e-3);
  }

  TEST_CASE("cascade: each stage rings for its part of the false alarms, over what is left") {
    // Of ten images two may ring. Both stages like image 9 best; the second likes 3 next.
    const std::vector<std::vector<float>> scores = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
                                                    {0, 0, 0, 5, 0, 0, 0, 4, 0, 8}};
    const std::vector<float> thresholds = cascade_thresholds(scores, 0.2);
    CHECK(thresholds == std::vector<float>{8, 4});
    CHECK(cascade_thresholds({scores[0]}, 0.3) == std::vector<float>{6});
    CHECK(cascade_thresholds({{1, 1, 1, 1}}, 0.5) == std::vector<float>{1});  // none rather than all
  }

  TEST_CASE("filter statistics: an alarm that attacks on the network alone ring, and one who knows it less") {
    ConvolutionTrial trial;
    const DefenceTask task = trial.task();
    const std::vector<TestSet> tests = make_test_sets(task, {.attacked = 60});
    const auto defence = [&] {
      std::unique_ptr<Defence> made = defence_info("filter-statistics").make();
      option<double>(*made, "false-alarms") = 0.02;
      made->resolve("smoke", task.known);
      made->check(task);
      return made;
    };
    const Defended watched = defence()->train(task, tests[0]);
    REQUIRE((watched.detects && watched.classifier->outputs() == 11 && watched.unaware->outputs() == 10));
    CHECK_FALSE(watched.model);

    AdaptiveOptions adaptive = adaptive_linf({"pgd"}, 0.2f, 60);
    adaptive.steps = 30;
    const DefenceEvaluation judged = evaluate(watched, task, tests, adaptive);
    const Fates &clean = judged.adaptive[0].exact, &aware = judged.adaptive[1].exact,
                &unaware = judged.unaware[1].exact;
    CHECK(clean.flagged <= 6);
    CHECK(unaware.flagged >= 40);
    CHECK(aware.wrong > unaware.wrong + 10);
    // Trained once: the second time it comes from its file, with the same bits, whatever the batch.
    const Defended again = defence()->train(task, tests[0]);
    const Tensor x = trial.test.pixels(row_range(0, 12));
    const std::vector<float> z = watched.classifier->logits(x, {}).to_host();
    CHECK(same_bytes(z, again.classifier->logits(x, {}).to_host()));
    for (int64_t i = 0; i < 12; ++i)
      CHECK(same_bytes(row_of(z, static_cast<size_t>(i), 11),
                       watched.classifier->logits(trial.test.pixels(row_range(i, i + 1)), {}).to_host()));
    // The alarm is the largest logit and what the scores exceed their thresholds by; pixels have a say in it.
    const Tensor tracked = variable(x);
    const Convolved seen = convolved(trial.target, tracked);
    const auto& whole = dynamic_cast<const WatchedNetwork&>(*watched.classifier);
    const Tensor excess = whole.cascade().excess(seen.convolutions);
    const std::vector<float> beyond = excess.to_host(), bare = seen.logits.to_host();
    for (size_t r = 0; r < 12; ++r) {
      const float top = *std::max_element(bare.begin() + static_cast<int64_t>(r) * 10,
                                          bare.begin() + static_cast<int64_t>(r + 1) * 10);
      CHECK(z[r * 11 + 10] == doctest::Approx(top + beyond[r]).epsilon(1e-4));
    }
    CHECK(largest_difference(grad(sum(excess), tracked).to_host(), std::vector<float>(12 * 144)) > 1e-3);
  }

  TEST_CASE("filter statistics: what cannot be done is refused before any work") {
    Trial flat;
    const DefenceTask task = flat.task();
    const std::unique_ptr<Defence> defence = defence_info("filter-statistics").make();
    CHECK(refusal([&] { defence->check(task); }).find("looks at convolutions: the network") !=
          std::string::npos);
    ConvolutionTrial trial;
    option<double>(*defence, "false-alarms") = 0.001;
    CHECK(
        refusal([&] {
          defence->check(trial.task());
        }).starts_with("--false-alarms 0.001 of the 200 clean images of --calibration 0.5 is less than one"));
  }
}

}  // namespace
}  // namespace caltrop::test
