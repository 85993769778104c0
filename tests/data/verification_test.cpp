// A set of attacked images that is what it claims, and one broken claim after the other.
#include "data/verification.h"

#include <limits>

#include "engine/error.h"
#include "kernels/backend.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

// Two images of 2x1 with two sizes each; the network says 0 of all but the last row, of which it says 1.
AttackedSet sample() {
  return {.shape = {2, 1, 1},
          .index = {7, 3},
          .label = {0, 0},
          .clean_prediction = {0, 0},
          .x = {0, 255, 51, 102},
          .eps = {0.1f, 0.3f},
          .delta = {0.1f, 0, 0.3f, -0.25f, -0.1f, 0.05f, 0.3f, 0.3f},
          .prediction = {0, 0, 0, 1},
          .success = {0, 0, 0, 1}};
}

SetAnswers answers() {
  return {.clean = {2, 1, 2, 1},
          .attacked = {2, 1, 2, 1, 2, 1, 1, 2},
          .rounded = {2, 1, 2, 1, 2, 1, 2, 1},
          .outputs = 2};
}

const SetClaims kClaims = {.tolerance = 1e-6f};

// Claims that do not hold, each with how often.
std::string broken(const AttackedSet& set, const SetClaims& claims = kClaims,
                   const std::optional<Differences>& found = {}) {
  std::string names;
  for (const Claim& claim : verify(set, claims, answers(), found).claims) {
    if (claim.broken > 0) names += claim.name + ": " + std::to_string(claim.broken) + "; ";
  }
  return names;
}

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("verification: a sound set, and what rounding leaves of it") {
    const Verification found = verify(sample(), kClaims, answers(), {});
    CHECK(found.broken() == 0);
    CHECK(found.claims.size() == 7);  // nothing says what images and labels should be
    CHECK(found.rows == 4);
    CHECK(found.share(found.successes) == 0.25);
    CHECK(found.rounded_successes == 0);
    CHECK(found.rounded_within == 2);  // 0.1 becomes 26/255, and 0.3 from 51 to 128
  }

  TEST_CASE("verification: each broken claim is found") {
    const auto with = [](const auto& change) {
      AttackedSet set = sample();
      change(set);
      return broken(set);
    };
    CHECK(with([](AttackedSet& set) { set.index[1] = 7; }) == "no image counts twice: 1; ");
    CHECK(with([](AttackedSet& set) { set.clean_prediction[1] = 1; }) ==
          "clean predictions are the network's: 1; ");
    CHECK(with([](AttackedSet& set) { set.prediction[3] = 2; }) == "predictions are the network's: 1; ");
    CHECK(with([](AttackedSet& set) { set.success[3] = 0; }) == "successes are successes: 1; ");
    CHECK(with([](AttackedSet& set) { set.success[0] = 1; }) == "successes are successes: 1; ");
    CHECK(with([](AttackedSet& set) { set.delta[5] = 0.2f; }) == "perturbations keep to their size: 1; ");
    CHECK(with([](AttackedSet& set) { set.delta[0] = -0.1f; }) == "pixels lie in [0,1]: 1; ");
    CHECK(with([](AttackedSet& set) {
            set.delta[6] = std::numeric_limits<float>::quiet_NaN();
          }).starts_with("perturbations are finite numbers: 1; pixels lie in [0,1]: 1; "));
    CHECK(broken(sample(), kClaims, Differences{.images = 1, .labels = 2}) ==
          "clean images are the data set's: 1; labels are the data set's: 2; ");
  }

  TEST_CASE("verification: norms, targets and attacks that promise less") {
    AttackedSet set = sample();
    set.eps.clear();
    set.index = {7, 3, 1, 2};
    set.label = set.clean_prediction = {0, 0, 0, 0};
    set.x.assign(8, 0);
    set.delta.assign(8, 0.3f);
    SetClaims claims{.eps = 0.5f, .tolerance = 1e-6f};
    SetAnswers said = answers();
    said.clean = {2, 1, 2, 1, 2, 1, 2, 1};
    const auto kept = [&] {
      for (const Claim& claim : verify(set, claims, said, {}).claims) {
        if (claim.name == "perturbations keep to their size") return claim.checked - claim.broken;
      }
      return int64_t{-1};  // not among those checked
    };
    CHECK(kept() == 4);
    claims.norm = Norm::l2;  // 0.42
    CHECK(kept() == 4);
    claims.norm = Norm::l1;  // 0.6
    CHECK(kept() == 0);
    claims.minimum_norm = true;  // the one success alone
    CHECK(verify(set, claims, said, {}).broken() == 2);
    claims.eps.reset();
    CHECK(kept() == -1);
    AttackedSet pushed = sample();
    pushed.target = {1, 1};
    CHECK(broken(pushed).empty());
    CHECK(verify(pushed, kClaims, answers(), {}).successes == 1);
    // Each image to a class of its own: the last row is no success, for it says 1.
    pushed.target = {1, 2};
    CHECK(broken(pushed) == "successes are successes: 1; ");
    CHECK(verify(pushed, kClaims, answers(), {}).successes == 0);
    pushed.target = {0, 1};  // the first image is there already
    CHECK(broken(pushed) == "targets are other classes than the labels: 1; successes are successes: 2; ");
    AttackedSet modest = sample();
    modest.success[3] = 0;
    CHECK(broken(modest, {.confident = true}).empty());
  }

  TEST_CASE("verification: stored images as a network sees them, and the data set's in their place") {
    AttackedSet set = sample();
    const StoredImages exact(set, cpu_backend(), false), rounded(set, cpu_backend(), true);
    CHECK(exact.count() == 4);
    const std::vector<int64_t> rows = {3, 0};
    CHECK(exact.pixels(rows).to_host() ==
          std::vector<float>{51 / 255.0f + 0.3f, 102 / 255.0f + 0.3f, 0.1f, 1});
    CHECK(rounded.pixels(rows).to_host()[2] == 26 / 255.0f);

    ImageSet truth{.height = 2, .width = 1, .channels = 1, .classes = 2};
    truth.pixels.assign(16, 0);
    truth.labels = {0, 0, 0, 1, 0, 0, 0, 0};
    truth.pixels[15] = 255;
    const Differences found = replace_by(truth, set);
    CHECK(found.images == 1);
    CHECK(found.labels == 1);
    CHECK(set.x == std::vector<uint8_t>{0, 255, 0, 0});
    CHECK(set.label == std::vector<int32_t>{0, 1});
    set.index[0] = 8;
    CHECK_THROWS_WITH_AS(replace_by(truth, set), "the set holds image 8, but the data set has 8 images",
                         Error);
    set.shape = {1, 2, 1};
    CHECK_THROWS_AS(replace_by(truth, set), Error);
  }
}

}  // namespace caltrop::test
