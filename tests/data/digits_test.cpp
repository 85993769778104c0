// The built-in digits: fixed by seed and number, balanced, and drawn on the page.
#include "data/digits.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "tests/files.h"

namespace caltrop::test {
namespace {

using Page = std::array<uint8_t, kDigitSize * kDigitSize>;

Page draw(uint64_t seed, int64_t index) {
  Page page{};
  draw_digit(seed, index, page);
  return page;
}

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("digits: an image is a function of seed and number alone") {
    CHECK(draw(1, 5) == draw(1, 5));
    CHECK(draw(1, 5) != draw(2, 5));
    CHECK(draw(1, 5) != draw(1, 15));
    const ImageSet set = draw_digits(1, 3, 4);
    for (int64_t i = 0; i < 4; ++i) {
      const Page page = draw(1, 3 + i);
      CHECK(std::equal(page.begin(), page.end(), set.image(i).begin()));
    }
    Page page{};
    CHECK(draw_digit(1, 1'000'000'000'007, page) == 7);
  }

  TEST_CASE("digits: sets are balanced and complete") {
    const ImageSet set = draw_digits(0, 0, 200);
    CHECK(set.count() == 200);
    CHECK(set.channels == 1);
    CHECK(set.pixels.size() == 200 * 28 * 28);
    CHECK(set.class_names == std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"});
    for (int32_t digit = 0; digit < 10; ++digit) {
      CHECK(std::count(set.labels.begin(), set.labels.end(), digit) == 20);
    }
  }

  TEST_CASE("digits: every image has ink, on a black page, off its edge") {
    const ImageSet set = draw_digits(4, 0, 1000);
    for (int64_t i = 0; i < set.count(); ++i) {
      CAPTURE(i);
      const auto image = set.image(i);
      const double mean =
          std::accumulate(image.begin(), image.end(), 0.0) / static_cast<double>(image.size());
      CHECK(mean >= 4);
      CHECK(mean <= 110);
      CHECK(*std::max_element(image.begin(), image.end()) >= 150);
      // The corners stay empty, however a digit is turned and moved.
      CHECK(image[0] + image[27] + image[27 * 28] + image[27 * 28 + 27] == 0);
    }
  }

  TEST_CASE("digits: images of a class differ, and classes are told apart by their means") {
    // The nearest class mean is a very weak classifier: far better than chance, far from perfect, so the set
    // is neither noise nor trivial.
    const ImageSet train = draw_digits(0, 0, 2000), test = draw_digits(0, 2000, 500);
    std::array<std::array<double, 784>, 10> means{};
    for (int64_t i = 0; i < train.count(); ++i) {
      auto& mean = means[static_cast<size_t>(train.labels[static_cast<size_t>(i)])];
      for (size_t p = 0; p < 784; ++p) mean[p] += train.image(i)[p] / 200.0;
    }
    int right = 0;
    for (int64_t i = 0; i < test.count(); ++i) {
      std::array<double, 10> distance{};
      for (size_t c = 0; c < 10; ++c) {
        for (size_t p = 0; p < 784; ++p) {
          const double difference = test.image(i)[p] - means[c][p];
          distance[c] += difference * difference;
        }
      }
      const auto nearest = std::min_element(distance.begin(), distance.end()) - distance.begin();
      right += nearest == test.labels[static_cast<size_t>(i)] ? 1 : 0;
    }
    MESSAGE("nearest class mean is right for " << right << " of 500 digits");
    CHECK(right >= 250);
    CHECK(right <= 450);
  }

  TEST_CASE("digits: wrong requests are refused") {
    std::array<uint8_t, 10> small{};
    check_refusal(refusal([&] { return draw_digit(0, 0, small); }), {"784 pixels"});
    check_refusal(refusal([&] { return draw_digits(0, 0, 0); }), {"got 0"});
    check_refusal(refusal([&] { return draw_digits(0, -1, 10); }), {"at least 0"});
  }
}

}  // namespace caltrop::test
