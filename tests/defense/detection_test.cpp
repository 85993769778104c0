// What judges make of test images, counted by hand.
#include "defense/detection.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "engine/error.h"
#include "kernels/backend.h"

namespace caltrop::test {
namespace {

bool same(const Fates& fates, int64_t flagged, int64_t right, int64_t wrong) {
  return fates.flagged == flagged && fates.right == right && fates.wrong == wrong &&
         fates.images == flagged + right + wrong;
}
bool is(double value, double expected) {
  return std::abs(value - expected) < 1e-12;
}

// Two clean classes, four clean images; two attacks with three attacked images.
struct Small {
  Images clean{cpu_backend(), {1, 1, 1}, std::vector<uint8_t>{0, 1, 2, 3}, std::vector<int32_t>{0, 0, 1, 1}};
  std::vector<TestSet> sets;

  Small() {
    constexpr float kUnbounded = std::numeric_limits<float>::infinity();
    AttackedPool pool;
    pool.attacks = {{"fgsm", attack_defaults(AttackKind::fgsm), {0.1f, 2.0f}},
                    {"cw", attack_defaults(AttackKind::cw), {kUnbounded}}};
    pool.images = {{.position = 0, .attack = 0, .size = 0.1f, .fooled = true},
                   {.position = 1, .image = 2, .attack = 1, .size = kUnbounded, .l2 = 1.5f},
                   {.position = 2, .image = 1, .attack = 0, .size = 2.0f}};
    pool.pixels = Tensor::zeros(cpu_backend(), {3, 1, 1, 1});
    sets.emplace_back("exact", clean, std::move(pool), 2);
  }
  JudgedTest count(std::vector<int32_t> answers, bool detects = true) const {
    return judged({.model = "m", .stage = "s", .test = "exact", .answers = std::move(answers)}, sets[0], 2,
                  detects, sizes_of(sets));
  }
};

TEST_SUITE("defense") {
  TEST_CASE("detection: clean and attacked images, by attack and size") {
    const Small small;
    CHECK((small.sets[0].clean() == 4 && small.sets[0].truth(3) == 1 && small.sets[0].truth(5) == 1));
    // Clean: right, right, a false alarm, wrong class. Attacked: found, missed but given its class, found.
    const JudgedTest one = small.count({0, 0, 2, 0, 2, 1, 2});
    CHECK(one.knows_classes);
    CHECK(same(one.clean, 1, 2, 1));
    CHECK(same(one.attacked.all, 2, 1, 0));
    CHECK(same(one.attacked.fooling, 1, 0, 0));
    CHECK(is(one.metrics.accuracy, 4.0 / 7));
    // F1: class 0: 2*2/(2+3), class 1: 0, attacked: 2*2/(3+3)
    CHECK(is(one.metrics.f1, (0.8 + 0 + 2.0 / 3) / 3));
    REQUIRE(one.attacks.size() == 2);
    CHECK((one.attacks[0].name == "fgsm" && same(one.attacks[0].fates.all, 2, 0, 0)));
    CHECK((same(one.attacks[0].fates.fooling, 1, 0, 0) && is(one.attacks[0].metrics.accuracy, 4.0 / 6)));
    CHECK((same(one.attacks[1].fates.all, 0, 1, 0) && is(one.attacks[1].metrics.accuracy, 2.0 / 5)));
    REQUIRE(one.sizes.size() == 3);
    CHECK((one.sizes[0].attack == "fgsm" && one.sizes[0].size == 0.1f &&
           same(one.sizes[0].fates.all, 1, 0, 0)));
    CHECK((one.sizes[2].attack == "cw" && one.sizes[2].size == 2.0f));  // 1.5 fits the size 2
    const JudgedTest missed = small.count({0, 0, 1, 1, 0, 0, 1});
    CHECK((one.sound() == 4 && missed.sound() == 4));
    // It finds more, and raises a false alarm more.
    CHECK_FALSE((one.no_worse_than(missed) || missed.no_worse_than(one)));
    CHECK(one.no_worse_than(one));
    CHECK((same(missed.attacked.all, 0, 1, 2) && same(missed.attacks[1].fates.all, 0, 0, 1)));
  }

  TEST_CASE("detection: judges without alarms, detectors without classes, answers that are missing") {
    const Small small;
    // Where nobody raises alarms the right answer to an attacked image is its class.
    CHECK(is(small.count({0, 0, 1, 1, 0, 1, 1}, false).metrics.accuracy, 6.0 / 7));
    const JudgedTest detector = small.count({-1, -1, 2, -1, 2, -1, 2});
    CHECK_FALSE(detector.knows_classes);
    CHECK((detector.clean.flagged == 1 && detector.attacked.all.flagged == 2 && detector.metrics.n == 0));
    CHECK_THROWS_AS(small.count({0}), Error);
  }
}

}  // namespace
}  // namespace caltrop::test
