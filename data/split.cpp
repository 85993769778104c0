#include "data/split.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <string>

#include "engine/error.h"
#include "engine/random.h"
#include "engine/text.h"

namespace caltrop {
namespace {

constexpr int64_t kMaxPart = 1'000'000;

// The number that is all of `text`; 0 where it is none.
int64_t parse_part(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good =
      error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= kMaxPart;
  return good ? value : 0;
}

}  // namespace

SplitRatio parse_split(std::string_view text) {
  const size_t colon = text.find(':');
  SplitRatio ratio;
  if (colon != std::string_view::npos) {
    ratio = {parse_part(text.substr(0, colon)), parse_part(text.substr(colon + 1))};
  }
  if (ratio.train == 0 || ratio.test == 0) {
    fail("unknown split '{}': expected 'standard', or two whole numbers from 1 to {} such as '70:30'",
         shown(text), kMaxPart);
  }
  return ratio;
}

SplitIndices stratified_split(std::span<const int32_t> labels, int classes, SplitRatio ratio, uint64_t seed) {
  std::vector<std::vector<int64_t>> members(static_cast<size_t>(classes));
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= classes) {
      fail("[split] label {} is {}, expected 0 to {}", i, labels[i], classes - 1);
    }
    members[static_cast<size_t>(labels[i])].push_back(static_cast<int64_t>(i));
  }

  // Largest remainders: every class gets its share rounded down, those that lost most get one more.
  const int64_t sum = ratio.train + ratio.test;
  int64_t left = static_cast<int64_t>(labels.size()) * ratio.train / sum;
  std::vector<int64_t> share;
  for (const auto& group : members) {
    share.push_back(static_cast<int64_t>(group.size()) * ratio.train / sum);
    left -= share.back();
  }
  std::vector<size_t> order(members.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return static_cast<int64_t>(members[a].size()) * ratio.train % sum >
           static_cast<int64_t>(members[b].size()) * ratio.train % sum;
  });
  for (size_t i = 0; i < order.size() && left > 0; ++i, --left) ++share[order[i]];

  SplitIndices split;
  for (size_t c = 0; c < members.size(); ++c) {
    const auto size = static_cast<int64_t>(members[c].size());
    const std::vector<int64_t> permutation = Random(seed, Purpose::split, c).permutation(size);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t image = members[c][static_cast<size_t>(permutation[static_cast<size_t>(i)])];
      (i < share[c] ? split.train : split.test).push_back(image);
    }
  }
  if (split.train.empty() || split.test.empty()) {
    fail("a split of {}:{} leaves no image on one side: there are only {} images", ratio.train, ratio.test,
         labels.size());
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.test.begin(), split.test.end());
  return split;
}

}  // namespace caltrop
