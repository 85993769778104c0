// What a sweep measured, over the seeds: what its tables, curves and page show.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/study/run.h"

namespace caltrop {

// One attack on one network at one size, over the seeds; or all of its attacks of the norm together ("all"): an image is
// robust where none of them fools it.
struct SweepPoint {
  std::string dataset, network, attack;
  Norm norm = Norm::linf;
  std::string asked;  // the size as it was asked for
  float eps = 0;
  int64_t images = 0;  // attacked; of the first seed
  // Early, by StudyAttack::until, on one seed at least: then what is known of the robust accuracy is whether it is at
  // least that, and `robust`, `success` and `success_of_correct` are of the first images alone.
  bool ended = false;
  std::optional<double> until = {};
  size_t reached = 0, seeds = 0;  // of these so many reach it
  MeanAndDeviation clean = {}, robust = {}, success = {}, success_of_correct = {};  // shares
  double clean_correct = 0;  // images, as a mean over the seeds: the last one's denominator

  // For people: "43.25 ± 1.02" in per cent; of one that ended early "≥ 50, 63 images".
  std::string in_words() const;
  // "≥ 50", "< 50", or where seeds differ "2 of 3 ≥ 50".
  std::string bound(std::string_view at_least = "≥", std::string_view of = " of ",
                    std::string_view blank = " ") const;
};
inline constexpr const char* kAllAttacks = "all";
std::vector<SweepPoint> points_of(const std::vector<CellResult>& results);

// A table or figure of its own.
struct SweepPlace {
  std::string dataset, network;
  Norm norm;
  bool operator==(const SweepPlace&) const = default;
};
SweepPlace place_of(const SweepPoint& point);
std::vector<SweepPoint> points_at(const std::vector<SweepPoint>& points, const SweepPlace& place);

// What `of` says of the points, each value once, in the order in which they first come.
template <typename Value, typename Of>
std::vector<Value> distinct(const std::vector<SweepPoint>& points, const Of& of) {
  std::vector<Value> values;
  for (const SweepPoint& p : points) {
    if (std::ranges::find(values, std::invoke(of, p)) == values.end()) values.push_back(std::invoke(of, p));
  }
  return values;
}

// Robust under every attack of a norm at a size, for each of a cell's images.
struct Together {
  Norm norm;
  std::string asked;
  float eps;
  std::vector<bool> robust;
  bool draws = false, partial = false;  // one of the attacks did not meet all images
  int64_t attacks = 0;

  int64_t count() const;
};
// The sizes of a cell at which it met more than one attack with all its images, in the order in which they first come.
std::vector<Together> together(const CellResult& result);

// Of all images of a cell, right when clean.
int64_t clean_correct_of(const CellResult& result);

}  // namespace caltrop
