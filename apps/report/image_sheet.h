// Sheets of labelled images, as papers print them: rows of attacks, columns of classes, words under each
// image. The images are one PNG; gnuplot sets the words around them from a script that stays beside it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/core/run_folder.h"
#include "data/image_grid.h"

namespace caltrop {

struct SheetCell {
  std::vector<float> pixels;  // (h,w,c) in [0,1], or a perturbation
  std::string text;           // under the image
  bool fooled = false;        // text and frame in red
};

struct ImageSheet {
  std::string title;
  int64_t height = 0, width = 0;              // of an image
  std::vector<std::string> columns, rows;     // their titles
  std::vector<std::vector<SheetCell>> cells;  // [row][column]; a cell without pixels stays empty
  bool perturbations = false;                 // magnified: each cell by its own largest value
};

// Writes STEM-images.png and STEM.gp and, where gnuplot is installed, STEM.png. Returns the name of what a
// person should open.
std::string write_image_sheet(const RunFolder& folder, const std::string& stem, const ImageSheet& sheet);

}  // namespace caltrop
