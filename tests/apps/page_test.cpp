// Pages: what is written is what was said, whoever said it; figures hold the numbers that they are made of, and show
// no colour twice.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "apps/core/run_folder.h"
#include "apps/report/page.h"
#include "engine/error.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}
bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
std::string escaped(const std::string& text) {
  return fill_page("{{text}}", {{"text", text}});
}
// One chart as a page shows it.
std::string drawn(const Json& chart) {
  return fill_page("{{#one}}{{> chart}}{{/one}}", {{"one", chart}});
}

Figure two_curves() {
  Figure figure{
      .title = "A & B",
      .x_label = "size",
      .y_label = "accuracy",
      .note = "n < 9",
      .log_x = true,
      .series = {{"first", {0.001, 0.01, 0.1}, {1.0, 0.5, 0.123}}, {"second", {0.01, 0.1}, {0.9, 0.0}}},
      .thresholds = {{0.8, "robust above"}}};
  figure.series[1].y[0] = {0.9, {0.8, 0.95}};
  return figure;
}
Figure some_bars() {
  Figure figure{.title = "t", .x_label = "", .y_label = "found", .series = {{"all"}, {"some"}}};
  figure.add_group("PGD", {0.25, 1});
  figure.add_group("CW", {0, NAN});
  figure.series[0].y[0].printed = 0.375;
  return figure;
}

TEST_SUITE("apps") {
  TEST_CASE("page: text stays text") {
    CHECK(escaped("a < b & \"c\" > 'd'") == "a &lt; b &amp; &quot;c&quot; &gt; &apos;d&apos;");
    CHECK(escaped("L∞ – “ok” 漢 😀\n\t") == "L∞ – “ok” 漢 😀\n\t");
    CHECK(escaped("50 % % 5") == "50\xC2\xA0%\xC2\xA0% 5");
    CHECK(escaped("{{text}} {{{text}}} {{> chart}}") == "{{text}} {{{text}}} {{&gt; chart}}");
    const std::string bad = "\xEF\xBF\xBD";
    CHECK(escaped(std::string("a\0b\x1B\x7F", 5)) == "a" + bad + "b" + bad + bad);
    // No UTF-8: a lone byte, a cut sequence, one longer than need be, a surrogate, one above U+10FFFF.
    CHECK(escaped("\xFFx") == bad + "x");
    for (const char* broken : {"\xE2\x88", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80"}) {
      const std::string text = escaped(broken);
      CAPTURE(text);
      CHECK(count_of(text, bad) * bad.size() == text.size());
      CHECK_FALSE(text.empty());
    }
  }

  TEST_CASE("page: a name without a value is an error, not a hole") {
    CHECK_THROWS_WITH_AS(fill_page("{{missing}}", Json::object()),
                         "[page] the template names 'missing', which has no value", Error);
    CHECK_THROWS_AS(fill_page("{{#gone}}{{/gone}}", Json::object()), Error);
    CHECK_THROWS_AS(fill_page("{{#open}}", {{"open", true}}), Error);
    CHECK(fill_page("{{#a}}x{{/a}}{{#b}}y{{/b}}{{#c}}z{{/c}}", {{"a", ""}, {"b", false}, {"c", {1, 2}}}) ==
          "zz");
  }

  TEST_CASE("page: base64 as RFC 4648 has it") {
    const std::string scheme = "data:image/png;base64,";
    CHECK(png_address("") == scheme);
    CHECK(png_address("f") == scheme + "Zg==");
    CHECK(png_address("fo") == scheme + "Zm8=");
    CHECK(png_address("foo") == scheme + "Zm9v");
    CHECK(png_address("foobar") == scheme + "Zm9vYmFy");
    CHECK(png_address(std::string("\xFF\xFE\x00", 3)) == scheme + "//4A");
  }

  TEST_CASE("charts: the numbers are there with and without gnuplot") {
    Json chart = page_chart("one", two_curves(), "two <curves>");
    for (const bool drawing : {true, false}) {
      if (!drawing) chart["drawing"] = "";
      const std::string html = drawn(chart);
      CHECK(holds(html, "<figcaption>A &amp; B<small>n &lt; 9</small></figcaption>"));
      CHECK(holds(html, "<tr><td>0.001</td><td>100\xC2\xA0%</td><td></td></tr>"));
      CHECK(holds(html, "<tr><td>0.01</td><td>50\xC2\xA0%</td><td>90\xC2\xA0% (80–95)</td></tr>"));
      CHECK(holds(html, "<tr><td>0.1</td><td>12.3\xC2\xA0%</td><td>0\xC2\xA0%</td></tr>"));
      CHECK(count_of(html, "<table>") == 1);
    }
    CHECK_FALSE(holds(drawn(chart), "<svg"));
    CHECK_FALSE(holds(drawn(chart), "<details"));
    const std::string bars = drawn(page_chart("two", some_bars(), "bars"));
    CHECK(holds(bars, "<tr><td>CW</td><td>0\xC2\xA0%</td><td></td></tr>"));
  }

  TEST_CASE("charts: gnuplot's drawing, made for a page") {
    const std::string svg = svg_figure("one", two_curves());
    if (svg.empty()) {
      MESSAGE("SKIP: no gnuplot here");
      return;
    }
    CHECK(svg == svg_figure("one", two_curves()));
    const std::string html = drawn(page_chart("one", two_curves(), "two <curves>"));
    CHECK(holds(html, "aria-label=\"two &lt;curves&gt;\""));
    for (const char* words : {">first</text>", ">robust above</text>", ">100 %</text>"}) {
      CAPTURE(words);
      CHECK(holds(svg, words));
    }
    // Points are <use> elements, one more for each entry of the legend.
    CHECK(count_of(svg, "<use href='#one-gpPt") >= 5 + 2);
    CHECK(count_of(svg, "id=") == count_of(svg, "id='one-") + count_of(svg, "id=\"one-"));
    for (const char* outside : {"http:", "https:", "url(", "<script", "<title", "onmouse", "xlink"}) {
      CAPTURE(outside);
      CHECK_FALSE(holds(html, outside));
    }
    Figure figure = two_curves();
    figure.series[0].y[1] = NAN;
    figure.series[1].x[0] = 0;  // on a logarithmic axis
    CHECK(count_of(svg, "<use") - count_of(svg_figure("one", figure), "<use") == 2);
    figure.series.clear();
    CHECK_FALSE(svg_figure("none", figure).empty());
    const std::string bars = svg_figure("bars", some_bars());
    for (const char* words : {">25</text>", ">0</text>", ">CW</text>", ">as the paper prints it</text>"}) {
      CAPTURE(words);
      CHECK(holds(bars, words));
    }
    CHECK_FALSE(holds(bars, "nan"));
  }

  TEST_CASE("charts: no colour twice, each with its like for the dark") {
    Figure figure{.title = "many", .x_label = "x", .y_label = "y"};
    while (figure.series.size() < kMostSeries) figure.series.push_back({"s", {1, 2}, {0.1, 0.2}});
    const std::string svg = svg_figure("m", figure);
    std::set<std::string> colours;
    const std::string before = "' color='";  // of a point
    for (size_t at = 0; (at = svg.find(before, at)) != std::string::npos;) {
      at += before.size();
      colours.insert(svg.substr(at, svg.find('\'', at) - at));
    }
    if (!svg.empty()) CHECK(colours.size() == kMostSeries);
    for (const std::string& colour : colours) {
      CAPTURE(colour);
      CHECK(holds(std::string(page_style()), "[fill=\"" + colour + "\"]"));
    }
    figure.series.push_back(figure.series[0]);
    CHECK_THROWS_WITH_AS(svg_figure("m", figure), "[figure] 'many': expected at most 8 series, got 9", Error);
  }

  TEST_CASE("figures: the data file holds each point with its interval") {
    const Workplace place;
    const RunFolder folder(place.file("run"), {Json::object(), Json::object()}, false);
    const std::string file = write_figure(folder, "f", two_curves());
    CHECK((file == "f.png" || file == "f.gp"));
    const std::string data = place.read("run/f.dat");
    CHECK(holds(data, "0.001 1 1 1\n"));
    CHECK(holds(data, "0.01 0.9 0.8 0.95\n"));
    CHECK(holds(place.read("run/f.gp"), "set output 'f.png'"));
    const Measured half = measured_share(int64_t{5}, 10);
    CHECK(half.value == 0.5);
    CHECK(half.low == doctest::Approx(0.2366).epsilon(1e-3));
    CHECK(half.high == doctest::Approx(0.7634).epsilon(1e-3));
    CHECK(std::isnan(measured_share(int64_t{0}, 0).value));
  }
}

}  // namespace
}  // namespace caltrop::test
