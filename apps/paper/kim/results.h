// What the study found on one data set, and the numbers that tables, figures and claims are made of: each by arm and seed.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/paper/kim/study.h"
#include "engine/metrics.h"

namespace caltrop {

// After an epoch of an arm's trainings, counted through them from 1.
struct KimEpoch {
  int64_t epoch = 0;
  std::string method;
  double clean = 0, fgsm = 0;  // accuracy on the first test images, the second attacked at KimOptions::eps
};

// A share of one cell's images, and of how many.
struct KimNumber {
  std::function<double(const CellResult& cell)> value;
  std::function<int64_t(const CellResult& cell)> images;
  double operator()(const CellResult& cell) const { return value(cell); }
};

struct KimStudy {
  std::string dataset;
  std::vector<CellResult> cells = {};
  // By the stem of a cell.
  std::map<std::string, std::vector<KimEpoch>> epochs = {};
  std::map<std::string, std::map<std::string, double>> transferred =
      {};                                   // by attack: right on the control's images
  std::map<std::string, double> work = {};  // of training: million multiply-accumulates

  std::vector<std::string> arms() const;
  bool has(const std::string& arm) const;
  // Seed by seed; an Error where there is no such arm.
  std::vector<double> each(const std::string& arm, const KimNumber& number) const;
  MeanAndDeviation mean(const std::string& arm, const KimNumber& number) const {
    return over_seeds(each(arm, number));
  }
  // a - b, in pairs.
  PairedTest compare(const std::string& a, const std::string& b, const KimNumber& number) const;
  int64_t images(const KimNumber& number) const { return number.images(cells.front()); }
  bool printed() const { return dataset == "mnist"; }  // the paper has no other data

  // The size of FGSM at which the control is right on as many images as the paper says, by a line between the sizes on
  // either side; absent where it never falls so far.
  std::optional<double> matched() const;
  // That one, or where there is none the one of kFgsmSizes nearest to it.
  double size() const;
  KimNumber transfer(const std::string& attack) const;
};

KimNumber clean_accuracy();
// Of all images right under the attack: under FGSM as the paper counts, else those right before and under it.
KimNumber under_attack(const std::string& attack, float size);
// Right before and under it, of the first `images` alone: to be set beside an attack on so many.
KimNumber under_attack_on(const std::string& attack, float size, int64_t images);
// Of FGSM at any size, by a line between its neighbours; at 0 the clean images.
KimNumber under_fgsm(double size);
// Images at which the gradient that FGSM follows is zero everywhere.
KimNumber zero_gradients();

}  // namespace caltrop
