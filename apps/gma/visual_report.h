// What attacks do to images, to the eye and in numbers: the sheets of Figures 6 and 10 and a similarity
// table.
#pragma once

#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/study/run.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// GMA's 30 sizes under `norms` with PGD as its base attack, then the big attacks.
std::vector<StudyAttack> visual_attacks(const std::vector<Norm>& norms, const std::string& dataset,
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
// gets right: with four of GMA's sizes, and the smallest and largest of the others. Writes STEM.png, STEM-perturbation.png (with what made them) and STEM-similarity.csv and .json.
VisualReport write_visual(const RunFolder& folder, const std::string& stem, const VisualInput& input,
                          const std::vector<StudyAttack>& attacks, Console& console);

}  // namespace caltrop
