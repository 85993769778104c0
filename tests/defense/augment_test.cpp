// Augmented data: evenly drawn, nested, of its sources alone, and the same whatever the batch.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "defense/off_grid.h"
#include "defense/pool/images.h"
#include "tests/attacks/setup.h"
#include "tests/kernels/delegating_backend.h"

namespace caltrop::test {
namespace {

PoolRecipeOptions quick_recipe() {
  PoolRecipeOptions options;
  options.cw_steps = 20;
  options.cw_rounds = 2;
  options.cw_constant = 1;
  options.cw_rate = 0.5f;
  options.seed = 5;
  return options;
}

// A pool of all attacks, crafted in parts of `part` images.
AttackedPool craft_pool(const Model& model, const Images& images, int64_t count,
                        const AttackedPoolOptions& options = {}, size_t part = 1000) {
  const std::vector<PoolAttack> attacks = pool_recipe(quick_recipe());
  const std::vector<PlannedImage> plan = plan_pool(attacks, images.count(), count, Subset::train, 5);
  std::vector<Crafted> crafted;
  for (size_t k = 0; k < attacks.size(); ++k) {
    std::vector<PlannedImage> mine;
    for (const PlannedImage& planned : plan) {
      if (planned.attack == static_cast<int64_t>(k)) mine.push_back(planned);
    }
    for (size_t begin = 0; begin < mine.size(); begin += part) {
      const auto some = std::span(mine).subspan(begin, std::min(part, mine.size() - begin));
      crafted.push_back(craft_planned(Network(model), images, attacks[k], some));
    }
  }
  return make_pool(images, attacks, plan, crafted, options);
}

// Counts what crosses between host and device.
class Counting final : public DelegatingBackend {
 public:
  using DelegatingBackend::DelegatingBackend;
  void upload(void* device, const void* host, size_t bytes) override {
    uploaded += bytes;
    DelegatingBackend::upload(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    downloaded += bytes;
    ++downloads;
    DelegatingBackend::download(host, device, bytes);
  }
  size_t uploaded = 0, downloaded = 0, downloads = 0;
};

TEST_SUITE("defense") {
  TEST_CASE("augment: a pool is even over attacks, sizes and norms in every prefix") {
    const std::vector<PoolAttack> attacks = pool_recipe(quick_recipe());
    REQUIRE(attacks.size() == 5);  // gma twice
    CHECK(attacks[0].sizes.size() == 30);
    CHECK(attacks[2].sizes.size() == 33);
    const std::vector<PlannedImage> plan = plan_pool(attacks, 500, 1200, Subset::train, 3);
    REQUIRE(plan.size() == 1200);
    std::map<std::string, int64_t> counts;
    std::map<std::pair<int64_t, float>, int64_t> cells;
    for (size_t j = 0; j < plan.size(); ++j) {
      CHECK_UNARY(plan[j].position == static_cast<int64_t>(j));
      ++counts[attacks[static_cast<size_t>(plan[j].attack)].name];
      ++cells[{plan[j].attack, plan[j].size}];
      int64_t low = std::numeric_limits<int64_t>::max(), high = 0;
      for (const auto& [name, count] : counts) low = std::min(low, count), high = std::max(high, count);
      if (j >= 4) CHECK_UNARY(high - low <= 1);
    }
    CHECK(cells.size() == 60 + 33 + 33 + 1);
    for (const auto& [cell, count] : cells) {
      if (cell.first < 2) CHECK_UNARY(count == 5);  // 300 places of gma over 60 cells
    }
  }

  TEST_CASE("augment: each image is attacked once before any is attacked twice; parts draw other orders") {
    const std::vector<PoolAttack> attacks = pool_recipe(quick_recipe());
    const std::vector<PlannedImage> plan = plan_pool(attacks, 100, 250, Subset::train, 3);
    std::set<int64_t> first, second;
    for (int64_t j = 0; j < 100; ++j) first.insert(plan[static_cast<size_t>(j)].image);
    for (int64_t j = 100; j < 200; ++j) second.insert(plan[static_cast<size_t>(j)].image);
    CHECK((first.size() == 100 && second.size() == 100));
    const std::vector<PlannedImage> other = plan_pool(attacks, 100, 250, Subset::test, 3);
    int64_t same = 0;
    for (size_t j = 0; j < 250; ++j) same += plan[j].image == other[j].image;
    CHECK(same < 20);
    // A longer plan begins with the shorter one: cycles are nested whatever the pool.
    const std::vector<PlannedImage> longer = plan_pool(attacks, 100, 400, Subset::train, 3);
    for (size_t j = 0; j < 250; ++j) {
      CHECK_UNARY((longer[j].image == plan[j].image && longer[j].attack == plan[j].attack &&
                   longer[j].size == plan[j].size));
    }
  }

  TEST_CASE(
      "augment: a pool depends neither on how it is divided nor on the threads, and holds its budgets") {
    const Model model = small_model();
    const Images images = random_images({12, 12, 1}, 60, 10);
    const AttackedPool whole = craft_pool(model, images, 150);
    const AttackedPool parts = craft_pool(model, images, 150, {}, 7);
    set_cpu_threads(1);
    const AttackedPool alone = craft_pool(model, images, 150, {}, 40);
    set_cpu_threads(0);
    CHECK(same_bytes(whole.pixels.to_host(), parts.pixels.to_host()));
    CHECK(same_bytes(whole.pixels.to_host(), alone.pixels.to_host()));
    REQUIRE(whole.count() > 100);
    const std::vector<PoolAttack> attacks = pool_recipe(quick_recipe());
    const std::vector<float> attacked = whole.pixels.to_host();
    for (int64_t i = 0; i < whole.count(); ++i) {
      const PoolImage& one = whole.images[static_cast<size_t>(i)];
      const PoolAttack& attack = attacks[static_cast<size_t>(one.attack)];
      const std::vector<float> clean = images.pixels(std::vector{one.image}).to_host();
      double linf = 0, squares = 0;
      for (size_t p = 0; p < 144; ++p) {
        const float value = attacked[static_cast<size_t>(i) * 144 + p];
        REQUIRE((value >= 0 && value <= 1));
        const double d = static_cast<double>(value) - static_cast<double>(clean[p]);
        linf = std::max(linf, std::abs(d));
        squares += d * d;
      }
      const double used = attack.options.norm == Norm::linf ? linf : std::sqrt(squares);
      CHECK_UNARY((used > 0 && used <= static_cast<double>(one.size) + 1e-5));
    }
  }

  TEST_CASE("augment: rounding to 8 bits erases the smallest perturbations, which are counted and dropped") {
    const Model model = small_model();
    const Images images = random_images({12, 12, 1}, 60, 10);
    const AttackedPool exact = craft_pool(model, images, 240);
    const AttackedPool rounded = craft_pool(model, images, 240, {.eight_bits = true});
    const AttackedPool kept = craft_pool(model, images, 240, {.eight_bits = true, .keep_unchanged = true});
    int64_t unchanged = 0;
    for (const int64_t count : rounded.unchanged) unchanged += count;
    CHECK(unchanged > 20);
    CHECK(rounded.count() == 240 - unchanged);
    CHECK(kept.count() == 240);
    CHECK(kept.unchanged == rounded.unchanged);
    // Under L-inf below half a level every image is the clean one again.
    for (const PoolImage& one : rounded.images) {
      if (one.attack == 0) CHECK_UNARY(one.size >= 1.0f / 510);
    }
    const AugmentedImages with_exact(images, exact, 10), with_rounded(images, rounded, 10);
    const std::vector<bool> off = off_grid(with_exact), on = off_grid(with_rounded);
    for (size_t i = 0; i < 60; ++i) CHECK_UNARY_FALSE(off[i]);  // clean images never are
    for (const bool found : on) CHECK_UNARY_FALSE(found);
    int64_t found = 0;
    for (size_t i = 60; i < off.size(); ++i) found += off[i];
    CHECK(found > exact.count() * 9 / 10);
  }

  TEST_CASE("augment: rounding to 8 bits and what lies off their grid, pixel by pixel") {
    // Every k/255, its neighbours in fp32, and the middles between levels, which go up as lround has them.
    std::vector<float> values;
    for (int k = 0; k <= 510; ++k) {
      const float value = static_cast<float>(k) / 510.0f;
      for (const float near : {std::nextafter(value, 0.0f), value, std::nextafter(value, 2.0f)})
        values.push_back(std::clamp(near, 0.0f, 1.0f));
    }
    const auto n = static_cast<int64_t>(values.size());
    const Tensor x = Tensor::from(cpu_backend(), {n, 1, 1, 1}, values);
    const std::vector<float> rounded = rounded_to_8_bits(x).to_host();
    const std::vector<bool> off = off_grid(x);
    for (size_t k = 0; k < values.size(); ++k) {
      const float nearest = static_cast<float>(std::lround(values[k] * 255.0f)) / 255.0f;
      CHECK_UNARY((rounded[k] == nearest && off[k] == (values[k] != nearest)));
    }
    const auto is_off = [](std::initializer_list<float> pixels) -> bool {
      return off_grid(Tensor::from(cpu_backend(), {1, static_cast<int64_t>(pixels.size()), 1, 1}, pixels))
          .at(0);
    };
    CHECK(is_off({0.0f, 0.5f}));
    CHECK(is_off({1.0f, std::numeric_limits<float>::quiet_NaN()}));
    CHECK((is_off({2.0f}) && is_off({-1.0f / 255.0f})));
    CHECK_FALSE(is_off({0.0f, 1.0f, 77.0f / 255.0f}));
  }

  TEST_CASE("augment: a pool is put together on the device") {
    Counting device(cpu_backend());
    const Images images(device, {12, 12, 1}, std::vector<uint8_t>(144 * 50, 100),
                        std::vector<int32_t>(50, 1));
    const std::vector<PoolAttack> attacks = pool_recipe(quick_recipe());
    const std::vector<PlannedImage> plan = plan_pool(attacks, 50, 3000, Subset::train, 5);
    const Crafted crafted{plan, std::vector<float>(3000), std::vector<float>(3000),
                          std::vector<uint8_t>(3000), std::vector<float>(144 * 3000, 0.01f)};
    device.uploaded = 0;
    const AttackedPool pool = make_pool(images, attacks, plan, std::span(&crafted, 1), {});
    const AugmentedImages all(images, pool, 10);
    CHECK(pool.count() == 3000);
    CHECK(device.uploaded <= 3000 * 144 * sizeof(float) + 1000);  // the perturbations, once
    CHECK(device.downloaded == 0);
    CHECK(all.count() == 3050);
  }

  TEST_CASE("augment: rows of an augmented set, in any order, are the clean images and the pool's") {
    const Model model = small_model();
    const Images images = random_images({12, 12, 1}, 20, 10);
    const AttackedPool pool = craft_pool(model, images, 40);
    const AugmentedImages all(images, pool, 10);
    REQUIRE(all.count() == 20 + pool.count());
    const std::vector<int64_t> rows = {21, 3, 4, 20, 20, 19, all.count() - 1};
    const ChosenImages some(all, rows);
    CHECK(some.labels()[0] == 10);
    CHECK(some.labels()[1] == images.labels()[3]);
    const std::vector<float> attacked = pool.pixels.to_host();
    const std::vector<float> pixels = some.pixels(row_range(0, some.count())).to_host();
    for (size_t k = 0; k < rows.size(); ++k) {
      const std::vector<float> expected = rows[k] < 20
                                              ? images.pixels(std::vector{rows[k]}).to_host()
                                              : std::vector<float>(attacked.begin() + (rows[k] - 20) * 144,
                                                                   attacked.begin() + (rows[k] - 19) * 144);
      CHECK(same_bytes(row_of(pixels, k, 144), expected));
    }
    CHECK_THROWS_AS((void)all.pixels(std::vector{all.count()}), Error);
    CHECK_THROWS_AS((void)some.pixels(std::vector{int64_t{7}}), Error);
  }

  TEST_CASE("augment: unseen attacks are none of those that are trained on") {
    PoolRecipeOptions trained = quick_recipe();
    const std::vector<PoolAttack> attacks =
        unseen_recipe(trained, {"bim", "deepfool", "other-norm", "other-sizes"}, {0.7f, 5});
    std::map<std::string, PoolAttack> by_name;
    for (const PoolAttack& one : attacks) by_name[one.name] = one;
    REQUIRE((attacks.size() == 6 && by_name.size() == 6));
    CHECK(by_name.at("bim").sizes.size() == 33);
    CHECK(std::isinf(by_name.at("deepfool").sizes.at(0)));
    for (const char* name : {"pgd-other-norm", "fgsm-other-norm"}) {
      CHECK(by_name.at(name).options.norm == Norm::linf);
      CHECK(by_name.at(name).sizes.size() == 30);  // 1, 2 and 3 under L-inf permit any image
    }
    CHECK(by_name.at("pgd-other-sizes").sizes == std::vector<float>{0.7f, 5});
    CHECK(by_name.at("pgd-other-sizes").options.norm == Norm::l2);
    CHECK_THROWS_AS((void)unseen_recipe(trained, {"pgd"}, {1}), Error);
    CHECK_THROWS_AS((void)unseen_recipe(trained, {"mim", "mim"}, {1}), Error);
    CHECK_THROWS_AS((void)unseen_recipe(trained, {"square"}, {1}), Error);
    CHECK_THROWS_AS((void)unseen_recipe(trained, {"other-sizes"}, {}), Error);
    trained.norm = Norm::linf;
    CHECK(unseen_recipe(trained, {"other-norm"}, {})[0].options.norm == Norm::l2);
    trained.attacks = {"gma", "cw"};  // what was left out of training can be tested on
    CHECK(unseen_recipe(trained, {"pgd", "fgsm"}, {}).size() == 2);
    CHECK(unseen_recipe(trained, {"other-norm"}, {}).empty());
  }

  TEST_CASE("augment: shares") {
    CHECK(attacked_count(600, 0.4, ShareOf::all) == 400);
    CHECK(attacked_count(600, 0.5, ShareOf::all) == 600);
    CHECK(attacked_count(600, 0.4, ShareOf::clean) == 240);
    for (const double share : {0.0, 1.0, -0.1, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
      CHECK_THROWS_AS((void)attacked_count(600, share, ShareOf::all), Error);
    }
    CHECK_THROWS_AS((void)attacked_count(2, 0.1, ShareOf::all), Error);  // none
    PoolRecipeOptions options;
    options.attacks = {"gma", "gma"};
    CHECK_THROWS_AS((void)pool_recipe(options), Error);
    options.attacks = {"square"};
    CHECK_THROWS_AS((void)pool_recipe(options), Error);
    options.attacks = {};
    CHECK_THROWS_AS((void)pool_recipe(options), Error);
  }

  TEST_CASE("augment: the images of a pool at the positions that another has kept") {
    AttackedPool pool;
    pool.images = {{.position = 0, .image = 7}, {.position = 2, .image = 8}, {.position = 3, .image = 9}};
    pool.plan.resize(4);
    pool.pixels = Tensor::from(cpu_backend(), {3, 1, 2, 1}, {0.0f, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f});
    AttackedPool other = pool;
    other.images = {{.position = 1}, {.position = 2}, {.position = 3}};
    const AttackedPool both = pool.at_positions_of(other);
    REQUIRE(both.count() == 2);
    CHECK((both.images[0].image == 8 && both.images[1].image == 9));
    CHECK(both.pixels.to_host() == std::vector<float>{0.2f, 0.3f, 0.4f, 0.5f});
    CHECK(both.planned() == 4);
    other.images.clear();
    CHECK(pool.at_positions_of(other).count() == 0);
  }
}

}  // namespace
}  // namespace caltrop::test
