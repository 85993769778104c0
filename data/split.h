// Stratified random splits: each class is divided in the same proportion.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace caltrop {

struct SplitRatio {
  int64_t train = 0, test = 0;  // both at least 1
};

// "70:30", "7:3": two whole numbers from 1 to 1,000,000.
SplitRatio parse_split(std::string_view text);

struct SplitIndices {
  std::vector<int64_t> train, test;  // ascending: each keeps the order of the images
};

// Every image lands on one side. The training side has round-down(n * train / (train + test)) images in all;
// what whole numbers leave over in the classes goes to those with the largest remainders. A function of the
// labels, ratio and seed alone. An Error where a side would be empty.
SplitIndices stratified_split(std::span<const int32_t> labels, int classes, SplitRatio ratio, uint64_t seed);

}  // namespace caltrop
