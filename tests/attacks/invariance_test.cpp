// What must change nothing: the batch, the order, the threads, the sizes crafted alongside, the seed drawn
// twice.

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/attacks/setup.h"

namespace caltrop {

using namespace test;

TEST_SUITE("attacks") {
  TEST_CASE("batches of 1, 7 and 256 give the same bytes") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 300, 10);
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      const std::vector<float> sizes = small_sizes(variant.options.norm);
      AttackOptions options = variant.options;
      if (options.steps > 1) options.steps = 3;
      const Recorded one = run_attack(model, images, sizes, options, {.batch = 1});
      REQUIRE(one.rows.size() == 900);
      CHECK(same_results(one, run_attack(model, images, sizes, options, {.batch = 7})));
      CHECK(same_results(one, run_attack(model, images, sizes, options, {.batch = 256})));
      CHECK(same_results(one, run_attack(model, images, sizes, options, {})));
    }
  }

  TEST_CASE("the paper's network is indifferent to the batch too") {
    const Model model =
        make_model("conv 32 3x3 | relu | maxpool 2 | flatten | dense 100 | relu | dense 10", {28, 28, 1});
    const Images images = random_images(model.input(), 40, 10);
    const std::vector<float> sizes = {0.01f, 0.1f};
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      AttackOptions options = attack_of(AttackKind::pgd, norm, true);
      options.steps = 2;
      const Recorded one = run_attack(model, images, sizes, options, {.batch = 1});
      for (const int64_t batch : {2, 7, 16, 40}) {
        CAPTURE(batch);
        CHECK(same_results(one, run_attack(model, images, sizes, options, {.batch = batch})));
      }
    }
  }

  TEST_CASE("one and two threads give the same bytes") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 50, 10);
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      const std::vector<float> sizes = small_sizes(variant.options.norm);
      set_cpu_threads(1);
      const Recorded one = run_attack(model, images, sizes, variant.options, {.batch = 4});
      set_cpu_threads(2);
      const Recorded two = run_attack(model, images, sizes, variant.options, {.batch = 4});
      set_cpu_threads(0);
      CHECK(same_results(one, two));
    }
  }

  TEST_CASE("sizes crafted together are those crafted alone") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 9, 10);
    for (const Variant& variant : all_variants()) {
      CAPTURE(variant.name);
      const std::vector<float> sizes = small_sizes(variant.options.norm);
      const Recorded all = run_attack(model, images, sizes, variant.options, {});
      const size_t d = 144;
      for (size_t s = 0; s < sizes.size(); ++s) {
        const Recorded alone = run_attack(model, images, {sizes[s]}, variant.options, {});
        for (size_t i = 0; i < 9; ++i) {
          const size_t row = i * sizes.size() + s;
          CHECK(same_row(alone.rows[i], all.rows[row]));
          CHECK(same_bytes(row_of(alone.adversarial, i, d), row_of(all.adversarial, row, d)));
          CHECK(same_bytes(row_of(alone.delta, i, d), row_of(all.delta, row, d)));
        }
      }
    }
  }

  TEST_CASE("an image keeps its result in any order and any company") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 20, 10);
    const AttackOptions options = attack_of(AttackKind::pgd, Norm::l2, true);
    const Recorded all = run_attack(model, images, {0.5f}, options, {});
    const Recorded some = run_attack(model, images, {0.5f}, options, {.rows = {17, 3, 11}, .batch = 2});
    const std::vector<size_t> rows = {17, 3, 11};
    for (size_t k = 0; k < rows.size(); ++k) {
      CHECK(some.images[k].index == static_cast<int64_t>(rows[k]));
      CHECK(same_row(some.rows[k], all.rows[rows[k]]));
      CHECK(same_bytes(row_of(some.adversarial, k, 144), row_of(all.adversarial, rows[k], 144)));
    }
  }

  TEST_CASE("the seed alone decides a random start") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 12, 10);
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      AttackOptions options = attack_of(AttackKind::pgd, norm, true);
      options.steps = 1;
      const Recorded once = run_attack(model, images, {0.5f}, options, {});
      CHECK(same_results(once, run_attack(model, images, {0.5f}, options, {})));
      options.first_try = 1;
      CHECK_FALSE(same_bytes(once.adversarial, run_attack(model, images, {0.5f}, options, {}).adversarial));
      options.first_try = 0;
      options.seed = 8;
      CHECK_FALSE(same_bytes(once.adversarial, run_attack(model, images, {0.5f}, options, {}).adversarial));
    }
    // Without one the seed means nothing.
    AttackOptions plain = attack_of(AttackKind::bim, Norm::linf);
    const Recorded first = run_attack(model, images, {0.1f}, plain, {});
    plain.seed = 99;
    CHECK(same_results(first, run_attack(model, images, {0.1f}, plain, {})));
  }

  TEST_CASE("results arrive in the order of the images, and what the sink throws ends the attack") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 30, 10);
    const Recorded all =
        run_attack(model, images, {0.1f}, attack_of(AttackKind::fgsm, Norm::linf), {.batch = 4});
    CHECK(all.firsts == std::vector<int64_t>{0, 4, 8, 12, 16, 20, 24, 28});
    for (size_t i = 0; i < all.images.size(); ++i) CHECK(all.images[i].index == static_cast<int64_t>(i));

    int calls = 0;
    AttackJob job{.rows = row_range(0, 30), .batch = 1};
    job.sink = [&](int64_t, const AttackResult&) {
      if (++calls == 3) fail("the disk is full");
    };
    const float eps = 0.1f;
    CHECK(refusal([&] {
            attack_images(model, images, std::span(&eps, 1), attack_defaults(AttackKind::fgsm), job);
          }) == "the disk is full");
    CHECK(calls == 3);
  }

  TEST_CASE("progress ends at the number of images") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 10, 10);
    int64_t last = 0;
    bool rising = true;
    AttackJob job{.rows = row_range(0, 10), .batch = 3};
    job.progress = [&](int64_t done) {
      rising = rising && done > last;
      last = done;
    };
    const float eps = 0.1f;
    attack_images(model, images, std::span(&eps, 1), attack_defaults(AttackKind::fgsm), job);
    CHECK(rising);
    CHECK(last == 10);
  }
}

}  // namespace caltrop
