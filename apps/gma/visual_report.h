// What attacks do to images, to the eye and in numbers: the sheets of Figures 6 and 10 and a similarity
// table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "attacks/attack.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// One attack at several sizes. GMA is a base attack at miniature sizes; the others are what it is compared
// with.
struct VisualAttack {
  std::string name;  // "GMA", "PGD"
  AttackOptions how;
  std::vector<float> sizes = {};
  std::vector<std::string> size_names = {};
  std::vector<bool> shown = {};  // which sizes have a row in the sheets
};

// GMA's 30 sizes under `norms` with PGD as its base attack, four of them shown; then the big attacks under L2
// at the sizes of the paper's Table 2 for this data set.
std::vector<VisualAttack> visual_attacks(const std::vector<Norm>& norms, const std::string& dataset,
                                         uint64_t seed);

struct VisualInput {
  const Model& model;
  const Images& images;
  std::vector<std::string> class_names;
  std::string title;
  int64_t measured = 200;  // images behind the table
};

struct VisualReport {
  Table similarity;
  std::string sheet, perturbations;  // names of the pictures
};

// Attacks the first `measured` images and, for the sheets, the first image of each class that the network
// gets right. Writes STEM.png, STEM-perturbation.png (with what made them) and STEM-similarity.csv and .json.
VisualReport write_visual(const RunFolder& folder, const std::string& stem, const VisualInput& input,
                          const std::vector<VisualAttack>& attacks, Console& console);

}  // namespace caltrop
