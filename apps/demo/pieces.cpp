#include "apps/demo/pieces.h"

#include <algorithm>
#include <cmath>

#include "data/image_grid.h"

namespace caltrop {

Html said(const std::string& words) {
  return words.empty() ? Html() : paragraph(words);
}
Html note(const std::string& words) {
  return element("p", {{"class", "note"}}, words);
}
Html heading(const std::string& words) {
  return element("h2", {}, words);
}
Html question(const std::string& words) {
  return element("h3", {}, words);
}

Html page_table(const std::string& caption, const std::vector<std::vector<std::string>>& rows,
                const std::string& chief) {
  Html body;
  for (size_t r = 0; r < rows.size(); ++r) {
    Html cells;
    for (const std::string& cell : rows[r]) {
      cells += r == 0 ? element("th", {{"scope", "col"}}, cell) : element("td", {}, cell);
    }
    const bool stands_out = r > 0 && rows[r][0] == chief;
    body += element("tr", stands_out ? Attributes{{"class", "chief"}} : Attributes{}, cells);
  }
  const Attributes frame = {
      {"class", "scroll"}, {"tabindex", "0"}, {"role", "region"}, {"aria-label", caption}};
  Html html = element("div", frame, element("table", {}, element("tbody", {}, body)));
  html += element("p", {{"class", "caption"}}, caption);  // not of the table, with which it would scroll
  return html;
}

std::string class_name(const DemoResult& run, int32_t label) {
  if (label == run.defence.attacked) return "attacked";
  const auto k = static_cast<size_t>(label);
  return k < run.class_names.size() ? run.class_names[k] : std::to_string(label);
}

Html picture(const DemoResult& run, const std::vector<float>& pixels, const std::string& description,
             float limit) {
  const ImageShape& shape = run.shape;
  ImageGrid grid(1, 1, shape.height, shape.width, {.scale = 1, .margin = 0, .border = 0});
  if (limit > 0) {
    grid.set_perturbation(0, 0, pixels, limit);
  } else {
    grid.set(0, 0, pixels);
  }
  return element("img", {{"src", png_address(encode_png(grid.image()))},
                         {"alt", description},
                         {"width", std::to_string(shape.width)},
                         {"height", std::to_string(shape.height)}});
}

Html answer_words(const DemoResult& run, int32_t says, int32_t label) {
  const bool wrong = says != label && says != run.defence.attacked;
  return element("b", {{"class", wrong ? "bad" : "good"}}, class_name(run, says));
}

Html opinion_words(const DemoResult& run, const Opinion& opinion, int32_t label) {
  const bool wrong = opinion.says != label;
  return element("b", {{"class", wrong ? "bad" : "good"}},
                 fmt::format("{} ({:.0f} %){}", class_name(run, opinion.says), 100 * opinion.sure,
                             wrong ? ", wrong" : ""));
}

void fit_to_lowest(Figure& figure) {
  double low = 1;
  for (const Series& series : figure.series) {
    for (const double y : series.y) low = std::min(low, y);
  }
  for (const double floor : {0.95, 0.9, 0.8, 0.5, 0.0}) {
    figure.y_low = floor;
    if (low >= floor + 0.1 * (1 - floor)) return;
  }
}

}  // namespace caltrop
