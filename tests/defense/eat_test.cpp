// Training through stages: nested sets, weights carried on, the same bits after a stop anywhere.
#include <doctest/doctest.h>

#include "defense/eat.h"
#include "tests/attacks/setup.h"

namespace caltrop::test {
namespace {

// A pool of `count` bright images, told from random ones at a glance.
AttackedPool bright_pool(int64_t count) {
  AttackedPool pool;
  std::vector<float> pixels;
  for (int64_t j = 0; j < count; ++j) {
    pool.plan.push_back({.position = j, .image = j, .attack = j % 4});
    if (j % 10 == 9) continue;  // dropped
    pool.images.push_back({.position = j, .image = j});
    pixels.insert(pixels.end(), 144, 0.9f + 0.001f * static_cast<float>(j % 50));
  }
  pool.pixels = Tensor::from(cpu_backend(), {pool.count(), 12, 12, 1}, pixels);
  return pool;
}

Model model11(uint64_t seed) {
  return make_model("conv 4 3x3 | relu | maxpool 2 | flatten | dropout 0.2 | dense 11", {12, 12, 1}, seed);
}

std::vector<float> weights(const Model& model) {
  std::vector<float> all;
  for (const Tensor& parameter : model.parameters()) {
    const std::vector<float> values = parameter.to_host();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TEST_SUITE("defense") {
  TEST_CASE("eat: cycles are nested and leave out what the pool dropped") {
    const AttackedPool pool = bright_pool(100);
    const auto cycles = cycle_rows(100, pool, {0.2, 0.5}, ShareOf::all);
    REQUIRE(cycles.size() == 2);
    CHECK(cycles[0].size() == 100 + 23);  // 25 places, two of them dropped
    CHECK(cycles[1].size() == 100 + 90);
    CHECK(std::equal(cycles[0].begin(), cycles[0].end(), cycles[1].begin()));
    CHECK_THROWS_AS((void)cycle_rows(100, pool, {0.5, 0.2}, ShareOf::all), Error);
    CHECK_THROWS_AS((void)cycle_rows(100, pool, {0.2, 0.2}, ShareOf::all), Error);
    CHECK_THROWS_AS((void)cycle_rows(100, pool, {}, ShareOf::all), Error);
    CHECK_THROWS_WITH_AS((void)cycle_rows(100, pool, {0.6}, ShareOf::all),
                         "the pool has 100 attacked images, but a cycle needs 150", Error);
  }

  TEST_CASE("eat: cycles without some of the pool hold as many places of the rest") {
    const AttackedPool pool = bright_pool(100);
    const PoolFilter first = [](const PlannedImage& planned) {
      return planned.attack == 0;
    };
    const auto cycles = cycle_rows_without(100, pool, {0.2, 0.4}, ShareOf::all, first);
    REQUIRE(cycles.size() == 2);
    // 25 places of attacks 1 to 3 are those below 34, without 0, 4, ...; 9, 19 and 29 were dropped.
    CHECK(cycles[0].size() == 100 + 25 - 3);
    for (const auto& cycle : cycles) {
      for (size_t i = 100; i < cycle.size(); ++i) {
        CHECK_UNARY(pool.images[static_cast<size_t>(cycle[i]) - 100].position % 4 != 0);
      }
    }
    CHECK(std::equal(cycles[0].begin(), cycles[0].end(), cycles[1].begin()));
    const auto all = [](const PlannedImage&) {
      return false;
    };
    CHECK(cycle_rows_without(100, pool, {0.2}, ShareOf::all, all) ==
          cycle_rows(100, pool, {0.2}, ShareOf::all));
    CHECK_THROWS_WITH_AS((void)cycle_rows_without(100, pool, {0.45}, ShareOf::all, first),
                         "without what is left out the pool has 75 attacked images, but a cycle needs 82",
                         Error);
  }

  TEST_CASE("eat: a set filled up takes each image as often as any other, but for one") {
    const std::vector<int64_t> rows = row_range(50, 60);
    const std::vector<int64_t> filled = refilled(rows, 27, 3);
    REQUIRE(filled.size() == 27);
    CHECK(std::equal(rows.begin(), rows.end(), filled.begin()));
    for (const int64_t row : rows) {
      const auto count = std::count(filled.begin(), filled.end(), row);
      CHECK_UNARY((count == 2 || count == 3));
    }
    CHECK(filled == refilled(rows, 27, 3));
    CHECK(filled != refilled(rows, 27, 4));
    CHECK(refilled(rows, 10, 3) == rows);
    CHECK_THROWS_AS((void)refilled(rows, 9, 3), Error);
    CHECK_THROWS_AS((void)refilled({}, 1, 3), Error);
  }

  TEST_CASE("eat: a training that was saved after any epoch ends with the same bits") {
    const Images clean = random_images({12, 12, 1}, 100, 10);
    const AttackedPool pool = bright_pool(100);
    const AugmentedImages all(clean, pool, 10);
    const auto cycles = cycle_rows(100, pool, {0.2, 0.5}, ShareOf::all);
    const ChosenImages first(all, cycles[0]), second(all, cycles[1]);
    const std::vector<Stage> stages = {{"cycle 1", &first, 2}, {"cycle 2", &second, 2}};
    for (const bool carry : {true, false}) {
      const StagedOptions options{.batch = 32, .carry_optimizer = carry, .seed = 4};
      Model whole = model11(1);
      StagedTraining training(whole, stages, options);
      std::vector<SafeTensorFile> saved;
      std::vector<StageEpoch> met;
      int64_t images = 0;
      training.run(
          [&](const StageEpoch& epoch) {
            met.push_back(epoch);
            saved.emplace_back();
            training.save(saved.back());
            CHECK(images == training.images(training.done()));
          },
          [&](int64_t done) { images = done; });
      REQUIRE(saved.size() == 4);
      CHECK((met[1].stage == 0 && met[1].last && met[2].stage == 1 && met[2].epoch == 1 && !met[2].last));
      for (const SafeTensorFile& file : saved) {
        Model resumed = model11(2);
        StagedTraining rest(resumed, stages, options);
        rest.load(file, "checkpoint");
        rest.run([&](const StageEpoch& epoch) {
          CHECK(epoch.loss == met[static_cast<size_t>(rest.done()) - 1].loss);
          CHECK(epoch.stop_rule == met[static_cast<size_t>(rest.done()) - 1].stop_rule);
        });
        CHECK(same_bytes(weights(resumed), weights(whole)));
      }
    }
    Model model = model11(3);
    StagedTraining training(model, stages, {});
    SafeTensorFile file = model.state();
    CHECK_THROWS_AS(training.load(file, "no checkpoint"), Error);
    CHECK_THROWS_AS(StagedTraining(model, {}, {}), Error);
    CHECK_THROWS_AS(StagedTraining(model, {{"none", &first, 0}}, {}), Error);
  }

  TEST_CASE("eat: the stop rule is reported once in a stage, and training goes on") {
    // One image with two labels: who always says the commoner one is right for just its share, and nobody for more.
    const auto twofold = [](int64_t common) {
      std::vector<int32_t> labels(40, 4);
      std::fill_n(labels.begin(), common, 3);
      return Images(cpu_backend(), {12, 12, 1}, std::vector<uint8_t>(144 * 40, 200), labels);
    };
    const Images below = twofold(30), above = twofold(36);  // 75 %, 90 %
    Model model = make_model("flatten | dense 11", {12, 12, 1}, 1);
    StagedTraining training(model, {{"a", &below, 8}, {"b", &above, 3}, {"c", &above, 2}},
                            {.batch = 8, .rule = {.rate = 0.01f}});
    std::vector<int64_t> met;
    int64_t epochs = 0;
    training.run([&](const StageEpoch& epoch) {
      ++epochs;
      if (epoch.stop_rule) met.push_back(epochs);
    });
    CHECK(epochs == 13);
    CHECK(met == std::vector<int64_t>{9, 12});  // as soon as it can be, and again in the next stage
    CHECK(member_seed(1, 0) != member_seed(1, 1));
    CHECK(member_seed(1, 0) != member_seed(2, 0));
  }
}

}  // namespace
}  // namespace caltrop::test
