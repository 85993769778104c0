#include "apps/report/svg_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace caltrop {
namespace {

// In units of the drawing, which is stretched to the width of the page. The margins hold the larger letters
// that a phone's style asks for.
constexpr double kWidth = 640, kHeight = 340, kLeft = 74, kRight = 18, kTop = 42, kBottom = 60;
constexpr size_t kColours = 4;

std::string at(double value) {
  return fmt::format("{:.1f}", value);
}
std::string percent(double share) {
  return fmt::format("{:.4g} %", 100 * share);
}
std::string general(double value) {
  return fmt::format("{:.4g}", value);
}
std::string colour(const char* kind, size_t series) {
  return fmt::format("{}{}", kind, series % kColours);
}

Html text(double x, double y, const char* anchor, const std::string& words) {
  return element("text", {{"x", at(x)}, {"y", at(y)}, {"text-anchor", anchor}}, words);
}
Html line(const char* kind, double x1, double y1, double x2, double y2) {
  return element("line", {{"class", kind}, {"x1", at(x1)}, {"y1", at(y1)}, {"x2", at(x2)}, {"y2", at(y2)}});
}

// Series differ in shape as well as in colour.
Html marker(size_t series, double x, double y) {
  constexpr double r = 4;
  static const std::array<std::vector<std::pair<double, double>>, 3> shapes = {
      {{{-r, -r}, {r, -r}, {r, r}, {-r, r}},
       {{0, -1.4 * r}, {1.25 * r, r}, {-1.25 * r, r}},
       {{0, -1.4 * r}, {1.4 * r, 0}, {0, 1.4 * r}, {-1.4 * r, 0}}}};
  const std::string fill = colour("f", series);
  if (series % kColours == 0) {
    return element("circle", {{"class", fill}, {"cx", at(x)}, {"cy", at(y)}, {"r", at(r)}});
  }
  std::string path;
  for (const auto& [dx, dy] : shapes[series % kColours - 1]) {
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x + dx, y + dy);
  }
  return element("path", {{"class", fill}, {"d", path + "Z"}});
}

// 1, 2 or 5 times a power of ten: about `count` steps over `span`.
double step_over(double span, double count) {
  const double rough = span / count, power = std::pow(10, std::floor(std::log10(rough)));
  const double lead = rough / power;
  return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}
std::vector<double> ticks_over(double low, double high, double step) {
  std::vector<double> ticks;
  for (double k = std::ceil(low / step - 1e-6); k * step <= high + 1e-6 * step; ++k)
    ticks.push_back(k * step + 0.0);  // 0, not -0
  return ticks;
}

// One axis: where a value lies, from `from` to `to`.
struct Axis {
  double low, high, from, to;
  bool log = false;
  bool holds(double value) const {
    const double slack = 1e-9 * (high - low);
    return (!log || value > 0) && value >= low - slack && value <= high + slack;
  }
  double operator()(double value) const {
    const double share = log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return from + share * (to - from);
  }
};

Axis x_axis(const Figure& figure) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const Series& series : figure.series) {
    for (const double x : series.x) {
      if (!std::isfinite(x) || (figure.log_x && !(x > 0))) continue;
      low = std::min(low, x);
      high = std::max(high, x);
    }
  }
  if (!(low <= high)) low = high = 1;  // nothing to draw, still an axis
  const double more = figure.log_x ? 0 : std::max(0.04 * (high - low), low == high ? 0.5 : 0.0);
  if (figure.log_x) return {low / 1.35, high * 1.35, kLeft, kWidth - kRight, true};
  return {low - more, high + more, kLeft, kWidth - kRight, false};
}

Html y_grid(const Axis& y, const std::string& label) {
  Html grid;
  for (const double tick : ticks_over(y.low, y.high, step_over(y.high - y.low, 5))) {
    grid += line("grid", kLeft, y(tick), kWidth - kRight, y(tick));
    grid += text(kLeft - 9, y(tick) + 5, "end", percent(tick));
  }
  if (!label.empty()) grid += text(0, 17, "start", label);
  return grid;
}

Html x_ticks(const Axis& x, const Figure& figure) {
  std::vector<double> ticks;
  if (x.log) {
    for (double power = std::ceil(std::log10(x.low)); power <= std::log10(x.high); ++power) {
      ticks.push_back(std::pow(10, power));
    }
  } else {
    ticks = ticks_over(x.low, x.high, std::max(1.0, step_over(x.high - x.low, 8)));
  }
  const double floor = kHeight - kBottom;
  Html axis = line("axis", kLeft, floor, kWidth - kRight, floor);
  for (const double tick : ticks) {
    axis += line("axis", x(tick), floor, x(tick), floor + 5);
    axis += text(x(tick), floor + 23, "middle", general(tick));
  }
  axis += text((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", figure.x_label);
  return axis;
}

Html draw(const Series& series, size_t number, const Axis& x, const Axis& y, const Figure& figure) {
  std::string points;
  Html marks;
  for (size_t i = 0; i < std::min(series.x.size(), series.y.size()); ++i) {
    if (!x.holds(series.x[i]) || !y.holds(series.y[i])) continue;
    const double px = x(series.x[i]), py = y(series.y[i]);
    points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", px, py);
    const std::string words = fmt::format("{}: {} at {} {}", series.title, percent(series.y[i]),
                                          figure.x_label, general(series.x[i]));
    // A finger or a pointer need not hit the mark exactly.
    const Html around = element("circle", {{"class", "hit"}, {"cx", at(px)}, {"cy", at(py)}, {"r", "10"}});
    marks += element("g", {}, element("title", {}, words), around, marker(number, px, py));
  }
  Html drawn = element("polyline", {{"class", "line " + colour("s", number)}, {"points", points}});
  drawn += marks;
  return drawn;
}

Html legend(const std::vector<std::string>& titles, bool lines) {
  Html items;
  for (size_t i = 0; i < titles.size(); ++i) {
    Html sample;
    if (lines) {
      sample += element(
          "line", {{"class", "line " + colour("s", i)}, {"x1", "0"}, {"y1", "8"}, {"x2", "30"}, {"y2", "8"}});
      sample += marker(i, 15, 8);
    } else {
      sample += element("rect", {{"class", colour("f", i)},
                                 {"x", "9"},
                                 {"y", "2"},
                                 {"width", "12"},
                                 {"height", "12"},
                                 {"rx", "2"}});
    }
    items += element("li", {}, element("svg", {{"viewBox", "0 0 30 16"}, {"aria-hidden", "true"}}, sample),
                     titles[i]);
  }
  return element("ul", {{"class", "legend"}}, items);
}

using Rows = std::vector<std::vector<std::string>>;  // the first: titles
Html numbers_below(const Rows& rows) {
  Html body;
  for (size_t r = 0; r < rows.size(); ++r) {
    Html cells;
    for (const std::string& cell : rows[r]) cells += element(r == 0 ? "th" : "td", {}, cell);
    body += element("tr", {}, cells);
  }
  return element("details", {}, element("summary", {}, "The numbers"),
                 element("div", {{"class", "scroll"}}, element("table", {}, body)));
}

Html framed(const std::string& title, const std::string& description, const Html& names, const Html& drawing,
            const Rows& numbers) {
  const Attributes picture = {{"class", "chart"},
                              {"viewBox", fmt::format("0 0 {} {}", kWidth, kHeight)},
                              {"role", "img"},
                              {"aria-label", description}};
  return element("figure", {}, element("figcaption", {}, title), names, element("svg", picture, drawing),
                 numbers_below(numbers));
}

}  // namespace

Html svg_chart(const Figure& figure, const std::string& description) {
  const Axis x = x_axis(figure), y{figure.y_low, figure.y_high, kHeight - kBottom, kTop};
  Html drawing = y_grid(y, figure.y_label);
  drawing += x_ticks(x, figure);
  for (const Threshold& limit : figure.thresholds) {
    if (!y.holds(limit.y)) continue;
    drawing += line("limit", kLeft, y(limit.y), kWidth - kRight, y(limit.y));
    drawing += text(kLeft + 6, y(limit.y) - 6, "start", limit.text);
  }
  std::vector<std::string> titles;
  std::vector<double> places;
  for (size_t s = 0; s < figure.series.size(); ++s) {
    drawing += draw(figure.series[s], s, x, y, figure);
    titles.push_back(figure.series[s].title);
    places.insert(places.end(), figure.series[s].x.begin(), figure.series[s].x.end());
  }
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  Rows rows = {{figure.x_label}};
  rows[0].insert(rows[0].end(), titles.begin(), titles.end());
  for (const double place : places) {
    rows.push_back({general(place)});
    for (const Series& series : figure.series) {
      const auto found = std::find(series.x.begin(), series.x.end(), place);
      const auto i = static_cast<size_t>(found - series.x.begin());
      rows.back().push_back(i < series.y.size() ? percent(series.y[i]) : "");
    }
  }
  return framed(figure.title, description, legend(titles, true), drawing, rows);
}

Html svg_chart(const BarFigure& figure, const std::string& description) {
  const Axis y{0, 1, kHeight - kBottom, kTop};
  Html drawing = y_grid(y, figure.y_label);
  const double room =
      (kWidth - kRight - kLeft) / static_cast<double>(std::max<size_t>(1, figure.groups.size()));
  const double wide =
      std::min(64.0, 0.8 * room / static_cast<double>(std::max<size_t>(1, figure.series.size())));
  Rows rows = {{""}};
  rows[0].insert(rows[0].end(), figure.series.begin(), figure.series.end());
  for (size_t g = 0; g < figure.groups.size(); ++g) {
    const auto& [name, bars] = figure.groups[g];
    const double middle = kLeft + room * (static_cast<double>(g) + 0.5);
    drawing += text(middle, kHeight - kBottom + 24, "middle", name);
    rows.push_back({name});
    for (size_t s = 0; s < bars.size(); ++s) {
      rows.back().push_back(std::isfinite(bars[s]) ? percent(bars[s]) : "");
      if (!y.holds(bars[s])) continue;
      const double left = middle + wide * (static_cast<double>(s) - 0.5 * static_cast<double>(bars.size()));
      const std::string words =
          fmt::format("{}, {}: {}", name, s < figure.series.size() ? figure.series[s] : "", percent(bars[s]));
      const Html bar = element("rect",
                               {{"class", colour("f", s)},
                                {"x", at(left + 2)},
                                {"y", at(y(bars[s]))},
                                {"width", at(wide - 4)},
                                {"height", at(y(0) - y(bars[s]))},
                                {"rx", "2"}},
                               element("title", {}, words));
      drawing += bar;
      drawing += text(left + wide / 2, y(bars[s]) - 5, "middle", fmt::format("{:.0f}", 100 * bars[s]));
    }
  }
  drawing += line("axis", kLeft, y(0), kWidth - kRight, y(0));
  return framed(figure.title, description, legend(figure.series, false), drawing, rows);
}

}  // namespace caltrop
