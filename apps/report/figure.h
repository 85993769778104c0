// Line and bar figures by gnuplot: a PNG in a run folder, with the script and its data beside it, so that it can
// be drawn again, restyled, or drawn elsewhere when gnuplot is missing here; or SVG for a page.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "apps/core/run_folder.h"
#include "engine/metrics.h"

namespace caltrop {

// A number with what is known of it.
struct Measured {
  Measured(double number) : value(number), low(number), high(number) {}
  Measured(double number, const Interval& interval) : value(number), low(interval.low), high(interval.high) {}
  double value;          // NaN: nothing is drawn
  double low, high;      // its 95 % interval; without one, the value
  double printed = NAN;  // a paper's number for it: a black diamond
};
// part / whole with Wilson's interval.
Measured measured_share(int64_t part, int64_t whole);
// The same for a share of `images`, or for a mean of shares of the same images: its interval is no wider.
Measured measured_share(double share, int64_t images);

struct Series {
  std::string title;
  std::vector<double> x = {};
  std::vector<Measured> y = {};
  bool ground = false;  // a wide pale line that others may lie on: it comes first
  void add(double at, const Measured& measured);
};

struct Threshold {
  double y = 0;
  std::string text;
};

// No figure shows a colour twice: an Error above this many series.
constexpr size_t kMostSeries = 8;

struct Figure {
  std::string title, x_label, y_label;
  std::string note = {};  // below the title: over how many images, what the intervals are
  bool log_x = false;
  bool whole_x = false;  // x counts, as epochs do: no tick between two whole numbers
  bool joined = true;    // false where neighbours are measured on other images: a line would invent a path
  double y_low = 0, y_high = 1;
  bool svg = false;     // STEM.svg beside STEM.png, by the same script
  bool percent = true;  // y is a share, shown in per cent; else a number as it is
  std::vector<Series> series = {};
  std::vector<Threshold> thresholds = {};  // dashed horizontal lines
  // Bars in groups, each a share, in place of curves: the names of x = 0, 1, ..., where each series has one bar.
  std::vector<std::string> groups = {};

  // One bar for each series.
  void add_group(const std::string& name, const std::vector<Measured>& bars);
};

// A text as gnuplot reads it.
std::string quoted(const std::string& text);
// Runs STEM.gp inside the folder. False where there is no gnuplot, or no STEM.png came of it.
bool draw_figure(const RunFolder& folder, const std::string& stem);

// Writes STEM.gp and STEM.dat and, where gnuplot is installed, STEM.png. Returns the name of what a person
// should open: the picture, or else the script.
std::string write_figure(const RunFolder& folder, const std::string& stem, const Figure& figure);

// What a page's <svg class="chart" viewBox="0 0 480 330"> holds: the figure without its title and note; "" where
// there is no gnuplot. `id` begins the names within, which must differ between the figures of a page.
std::string svg_figure(const std::string& id, const Figure& figure);

}  // namespace caltrop
