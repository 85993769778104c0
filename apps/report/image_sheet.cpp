#include "apps/report/image_sheet.h"

#include "apps/core/run_folder.h"
#include "apps/report/figure.h"

namespace caltrop {
namespace {

constexpr int64_t kScale = 3, kMargin = 22, kBorder = 2;  // screen pixels; the words stand in the margins
constexpr int64_t kLeft = 190, kTop = 66;                 // for the titles
constexpr Colour kRedFrame{0xD5, 0x2B, 0x1E}, kGreyFrame{0xBB, 0xBB, 0xBB};

}  // namespace

std::string write_image_sheet(const RunFolder& folder, const std::string& stem, const ImageSheet& sheet) {
  const auto rows = static_cast<int64_t>(sheet.rows.size()),
             columns = static_cast<int64_t>(sheet.columns.size());
  ImageGrid grid(rows, columns, sheet.height, sheet.width,
                 {.scale = kScale, .margin = kMargin, .border = kBorder});
  std::string words;
  const int64_t cell_w = sheet.width * kScale + 2 * kBorder, cell_h = sheet.height * kScale + 2 * kBorder;
  const int64_t high = grid.image().height, wide = grid.image().width;
  const auto middle = [&](int64_t column) {
    return kMargin + column * (cell_w + kMargin) + cell_w / 2;
  };
  // gnuplot counts from below.
  const auto below = [&](int64_t row) {
    return high - (row + 1) * (cell_h + kMargin);
  };
  for (int64_t c = 0; c < columns; ++c) {
    words += fmt::format("set label {} at {},{} center front font ',12'\n",
                         quoted(sheet.columns[static_cast<size_t>(c)]), middle(c), high - 8);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = static_cast<size_t>(r);
    words += fmt::format("set label {} at -8,{} right front font ',12'\n", quoted(sheet.rows[row]),
                         below(r) + cell_h / 2);
    for (int64_t c = 0; c < columns; ++c) {
      const SheetCell& cell = sheet.cells.at(row).at(static_cast<size_t>(c));
      if (cell.pixels.empty()) continue;
      const Colour frame = cell.fooled ? kRedFrame : kGreyFrame;
      if (sheet.perturbations) {
        grid.set_perturbation(r, c, cell.pixels, 0, frame);
      } else {
        grid.set(r, c, cell.pixels, frame);
      }
      if (cell.text.empty()) continue;
      words += fmt::format("set label {} at {},{} center front font ',10' tc rgb '{}'\n", quoted(cell.text),
                           middle(c), below(r) - 9, cell.fooled ? "#D52B1E" : "#333333");
    }
  }
  grid.write(folder.file(stem + "-images.png"));
  folder.write(stem + ".gp", fmt::format("# gnuplot {0}.gp draws {0}.png around {0}-images.png\n"
                                         "set terminal pngcairo size {1},{2} font 'sans,12' noenhanced\n"
                                         "set output '{0}.png'\n"
                                         "set lmargin at screen 0; set rmargin at screen 1\n"
                                         "set bmargin at screen 0; set tmargin at screen 1\n"
                                         "unset border; unset tics; unset key\n"
                                         "set xrange [{3}:{4}]\nset yrange [0:{2}]\n"
                                         "set label {5} at {6},{7} center front font ',16'\n{8}"
                                         "plot '{0}-images.png' binary filetype=png with rgbimage\n",
                                         stem, wide + kLeft, high + kTop, -kLeft, wide, quoted(sheet.title),
                                         (wide - kLeft) / 2, high + kTop - 22, words));
  return draw_figure(folder, stem) ? stem + ".png" : stem + "-images.png";
}

}  // namespace caltrop
