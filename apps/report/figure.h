// Line and bar figures by gnuplot. The script and its data are kept beside each figure, so that it can be
// drawn again, restyled, or drawn elsewhere when gnuplot is missing here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "apps/core/run_folder.h"

namespace caltrop {

struct Series {
  std::string title;
  std::vector<double> x, y;
};

struct Threshold {
  double y = 0;
  std::string text;
};

struct Figure {
  std::string title, x_label, y_label;
  bool log_x = false;
  bool whole_x = false;  // x counts, as epochs do: no tick between two whole numbers
  double y_low = 0, y_high = 1;
  bool percent = true;  // y is a share, shown in per cent; else a number as it is
  std::vector<Series> series = {};
  std::vector<Threshold> thresholds = {};  // dashed horizontal lines
};

// Bars in groups, each a share shown in percent.
struct BarFigure {
  std::string title, y_label;
  std::vector<std::string> series = {};  // one bar of each group
  // Name, one value for each series; NaN: no bar.
  std::vector<std::pair<std::string, std::vector<double>>> groups = {};
};
// As write_figure.
std::string write_bar_figure(const RunFolder& folder, const std::string& stem, const BarFigure& figure);

// A text as gnuplot reads it.
std::string quoted(const std::string& text);
// Runs STEM.gp inside the folder. False where there is no gnuplot, or no STEM.png came of it.
bool draw_figure(const RunFolder& folder, const std::string& stem);

// Writes STEM.gp and STEM.dat and, where gnuplot is installed, STEM.png. Returns the name of what a person
// should open: the picture, or else the script.
std::string write_figure(const RunFolder& folder, const std::string& stem, const Figure& figure);

}  // namespace caltrop
