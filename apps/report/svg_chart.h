// Figures as SVG inside a page. gnuplot draws the same descriptions as PNG (apps/report/figure.h), but it need not be
// installed, and a picture knows neither dark mode nor a phone's width: here colours and letters come from the
// page's style. Each point says its numbers when a pointer rests on it, and all of them stand in a table below
// for those who see no picture.
#pragma once

#include <string>

#include "apps/report/figure.h"
#include "apps/report/html_page.h"

namespace caltrop {

// Lines with points; y is a share, shown in percent. `description`: the picture in a sentence, for screen
// readers. Points outside of the figure's range, or not above 0 on a logarithmic axis, are not drawn.
Html svg_chart(const Figure& figure, const std::string& description);
Html svg_chart(const BarFigure& figure, const std::string& description);

}  // namespace caltrop
