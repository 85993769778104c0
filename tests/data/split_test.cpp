// Splits: every image once, each class in proportion, the same for the same seed.
#include "data/split.h"

#include <algorithm>
#include <numeric>

#include "tests/files.h"

namespace caltrop::test {

TEST_SUITE("data") {
  TEST_CASE("split: ratios are parsed, everything else is refused") {
    CHECK(parse_split("70:30").train == 70);
    CHECK(parse_split("70:30").test == 30);
    CHECK(parse_split("7:3").test == 3);
    for (const char* text :
         {"", ":", "70", "70:", ":30", "0:100", "100:0", "-1:2", "70:30:1", "7.5:2.5", " 70:30", "70:30 ",
          "a:b", "70;30", "99999999999999999999:1", "1000001:1", "+7:3", "Standard"}) {
      CAPTURE(text);
      check_refusal(refusal([&] { return parse_split(text); }), {"unknown split", "70:30"});
    }
  }

  TEST_CASE("split: each class is divided in the same proportion, and nothing is lost") {
    // 10, 21, 33 and 1 images; class 4 has none.
    std::vector<int32_t> labels;
    for (const auto& [label, count] : {std::pair{0, 10}, {1, 21}, {2, 33}, {3, 1}})
      labels.insert(labels.end(), count, label);
    const SplitIndices split = stratified_split(labels, 5, {70, 30}, 3);
    CHECK(split.train.size() == 45);  // 65 * 0.7 = 45.5, rounded down
    CHECK(std::is_sorted(split.train.begin(), split.train.end()));
    CHECK(std::is_sorted(split.test.begin(), split.test.end()));
    std::vector<int64_t> all = split.train;
    all.insert(all.end(), split.test.begin(), split.test.end());
    std::sort(all.begin(), all.end());
    std::vector<int64_t> expected(labels.size());
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(all == expected);
    std::vector<int> per_class(5);
    for (const int64_t i : split.train) ++per_class[static_cast<size_t>(labels[static_cast<size_t>(i)])];
    // 7.0, 14.7, 23.1, 0.7: the one left over goes to the first of the two that lost 0.7.
    CHECK(per_class == std::vector<int>{7, 15, 23, 0, 0});
  }

  TEST_CASE("split: the seed decides, and it alone") {
    std::vector<int32_t> labels(200);
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % 4);
    const SplitIndices split = stratified_split(labels, 4, {1, 1}, 7);
    CHECK(split.train == stratified_split(labels, 4, {50, 50}, 7).train);
    CHECK(split.train != stratified_split(labels, 4, {1, 1}, 8).train);
    // Not the first half of each class.
    CHECK(std::count_if(split.train.begin(), split.train.end(), [](int64_t i) { return i >= 100; }) > 30);
    CHECK(std::count_if(split.train.begin(), split.train.end(), [](int64_t i) { return i < 100; }) > 30);
  }

  TEST_CASE("split: an empty side and a wrong label are refused") {
    const std::vector<int32_t> few = {0, 1};
    check_refusal(refusal([&] {
                    return stratified_split(few, 2, {1, 99}, 0);
                  }),
                  {"no image on one side", "2 images"});
    check_refusal(refusal([&] { return stratified_split(few, 1, {1, 1}, 0); }), {"label 1 is 1"});
    check_refusal(refusal([&] { return stratified_split({}, 2, {1, 1}, 0); }), {"0 images"});
  }
}

}  // namespace caltrop::test
