#include "engine/metrics.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/error.h"

namespace caltrop {
namespace {

bool near(double a, double b, double tolerance = 1e-12) {
  return std::fabs(a - b) <= tolerance;
}

Confusion confusion_of(int64_t classes, std::vector<int32_t> labels, std::vector<int32_t> predictions) {
  return Confusion(classes, labels, predictions);
}

TEST_SUITE("engine") {
  TEST_CASE("metrics of three classes, counted by hand") {
    // class 0: TP 2, FN 1 (as 1), FP 1 (a 2); class 1: TP 1, FN 0, FP 1; class 2: TP 1, FN 1, FP 0
    const Confusion confusion = confusion_of(3, {0, 0, 0, 1, 2, 2}, {0, 0, 1, 1, 2, 0});
    CHECK(confusion.correct() == 4);
    CHECK(confusion.at(0, 1) == 1);
    CHECK(confusion.at(1, 0) == 0);
    const Metrics metrics = summarize(confusion);
    CHECK(near(metrics.accuracy, 4.0 / 6));
    CHECK(near(metrics.precision, (2.0 / 3 + 1.0 / 2 + 1.0) / 3));
    CHECK(near(metrics.recall, (2.0 / 3 + 1.0 + 1.0 / 2) / 3));
    // F1 = 2 TP / (2 TP + FP + FN)
    CHECK(near(metrics.f1, (4.0 / 6 + 2.0 / 3 + 2.0 / 3) / 3));
    const ClassMetrics first = class_metrics(confusion, 0);
    CHECK(first.images == 3);
    CHECK(first.predicted == 3);
    CHECK(near(first.f1, 1 / ((1 / first.precision + 1 / first.recall) / 2)));
  }

  TEST_CASE("a class that never occurs takes no part in the means, one that is only predicted does") {
    CHECK(near(summarize(confusion_of(4, {0, 1}, {0, 1})).f1, 1.0));
    // class 2 is predicted once and never right: precision, recall and F1 of 0
    const Metrics metrics = summarize(confusion_of(4, {0, 1}, {0, 2}));
    CHECK(near(metrics.precision, 1.0 / 3));
    CHECK(near(metrics.recall, 1.0 / 3));
  }

  TEST_CASE("metrics of no images are zero, not NaN") {
    const Metrics metrics = summarize(confusion_of(2, {}, {}));
    CHECK(metrics.n == 0);
    CHECK(metrics.accuracy == 0.0);
    CHECK(metrics.f1 == 0.0);
    CHECK(metrics.interval.low == 0.0);
    CHECK(metrics.interval.high == 1.0);
  }

  TEST_CASE("labels and predictions outside the classes are refused") {
    CHECK_THROWS_AS(confusion_of(2, {2}, {0}), Error);
    CHECK_THROWS_AS(confusion_of(2, {0}, {-1}), Error);
    CHECK_THROWS_AS(confusion_of(2, {0, 1}, {0}), Error);
  }

  TEST_CASE("Wilson's interval") {
    // Worked by hand from (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96
    const Interval half = wilson_interval(5, 10, 1.96);
    CHECK(near(half.low, 0.236590, 1e-6));
    CHECK(near(half.high, 0.763410, 1e-6));
    const Interval none = wilson_interval(0, 10, 1.96);
    CHECK(none.low == 0.0);
    CHECK(near(none.high, 1.96 * 1.96 / (10 + 1.96 * 1.96), 1e-12));
    const Interval all = wilson_interval(10, 10, 1.96);
    CHECK(all.high == 1.0);
    CHECK(near(all.low, 1 - none.high));
  }

  TEST_CASE("calibration: how far confidence is from being right") {
    Calibration sure;
    CHECK(sure.error() == 0);
    sure.add(0.9, true);
    sure.add(0.9, false);  // a bin of two: 0.9 claimed, 0.5 right
    sure.add(1.0, true);
    sure.add(0.0, true);  // and one right where nothing was claimed
    sure.add(std::nan(""), true);
    CHECK(sure.error() == doctest::Approx((2 * 0.4 + 0 + 1) / 4));
    const std::vector<double> likeliest = confidences(std::vector<float>{0, 0, 1, 3}, 2);
    REQUIRE(likeliest.size() == 2);
    CHECK(likeliest[0] == doctest::Approx(0.5));
    CHECK(likeliest[1] == doctest::Approx(1 / (1 + std::exp(-2.0))));
  }

  TEST_CASE("a mean over seeds, its range and Student's interval") {
    const MeanAndDeviation three = over_seeds({1, 2, 3});
    CHECK(three.mean == doctest::Approx(2));
    CHECK(three.deviation.value_or(0) == doctest::Approx(1));
    CHECK(three.lowest == 1);
    CHECK(three.highest == 3);
    CHECK(three.half_width().value_or(0) ==
          doctest::Approx(4.30265 / std::sqrt(3.0)));  // t of 2 degrees, 97.5 %
    CHECK(over_seeds({1, 1.5}).half_width(0.9).value_or(0) ==
          doctest::Approx(6.31375 * 0.353553 / std::sqrt(2.0)));
    CHECK_FALSE(over_seeds({5}).half_width());
  }

  TEST_CASE("two numbers of each seed: the paired t-test, its effect, and Holm's correction") {
    // Student's sleep data (1908), as R's t.test(extra ~ group, paired = TRUE) has them: t = -4.0621, p = 0.002833.
    const std::vector<double> first = {0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0},
                              second = {1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4};
    const PairedTest sleep = paired_test(first, second);
    CHECK(sleep.difference.mean == doctest::Approx(-1.58));
    CHECK(sleep.effect.value_or(0) == doctest::Approx(-4.0621 / std::sqrt(10.0)).epsilon(1e-4));
    CHECK(sleep.p.value_or(0) == doctest::Approx(0.002833).epsilon(1e-3));

    const std::vector<double> one = {0.5}, same = {0.5, 0.75}, more = {0.75, 1.0};
    CHECK_FALSE(paired_test(one, one).p);
    CHECK(paired_test(same, same).p == 1.0);
    CHECK_FALSE(paired_test(more, same).p);  // 0.25 with each seed
    CHECK_FALSE(paired_test(more, same).effect);
    CHECK_THROWS_AS(paired_test(one, same), Error);

    const std::vector<double> corrected = holm(std::vector<double>{0.04, 0.01, 0.03, 0.5});
    CHECK(corrected[1] == doctest::Approx(0.04));
    CHECK(corrected[2] == doctest::Approx(0.09));
    CHECK(corrected[0] == doctest::Approx(0.09));  // 2 * 0.04 is less than the one before
    CHECK(corrected[3] == doctest::Approx(0.5));
    CHECK(holm(std::vector<double>{0.9, 0.8}) == std::vector<double>{1.0, 1.0});
  }
}

}  // namespace
}  // namespace caltrop
