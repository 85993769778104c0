// Pages: what is written is what was said, whoever said it; charts hold the numbers that they are made of.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "apps/report/html_page.h"
#include "apps/report/svg_chart.h"

namespace caltrop::test {
namespace {

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}
// Whatever kind of space stands before a per cent sign.
bool holds(const Html& html, const std::string& part) {
  std::string code = html.code();
  const std::string fixed = "\xC2\xA0%";
  for (size_t at; (at = code.find(fixed)) != std::string::npos;) code.replace(at, fixed.size(), " %");
  return code.find(part) != std::string::npos;
}
std::string escaped(std::string_view text) {
  return Html(text).code();
}

Figure two_curves() {
  return {.title = "A & B",
          .x_label = "size",
          .y_label = "accuracy",
          .log_x = true,
          .series = {{"first", {0.001, 0.01, 0.1}, {1.0, 0.5, 0.123}}, {"second", {0.01, 0.1}, {0.9, 0.0}}},
          .thresholds = {{0.8, "robust above"}}};
}

TEST_SUITE("apps") {
  TEST_CASE("html: text stays text") {
    CHECK(escaped("a < b & \"c\" > d") == "a &lt; b &amp; &quot;c&quot; &gt; d");
    CHECK(escaped("L∞ – “ok” 漢 😀\n\t") == "L∞ – “ok” 漢 😀\n\t");
    CHECK(escaped("50 % % 5") == "50\xC2\xA0%\xC2\xA0% 5");
    const std::string bad = "\xEF\xBF\xBD";
    CHECK(escaped(std::string("a\0b\x1B\x7F", 5)) == "a" + bad + "b" + bad + bad);
    // No UTF-8: a lone byte, a cut sequence, one longer than need be, a surrogate, one above U+10FFFF.
    CHECK(escaped("\xFFx") == bad + "x");
    CHECK(escaped("\xE2\x88") == bad + bad);
    CHECK(escaped("\xC0\xAF") == bad + bad);
    CHECK(escaped("\xED\xA0\x80") == bad + bad + bad);
    CHECK(escaped("\xF4\x90\x80\x80") == bad + bad + bad + bad);
  }

  TEST_CASE("html: what is opened is closed") {
    const Html inner = element("b", {{"class", "x\"><script>"}}, "1 < 2");
    CHECK(inner.code() == "<b class=\"x&quot;&gt;&lt;script&gt;\">1 &lt; 2</b>");
    CHECK(element("p", {}, "so ", inner, "!").code() == "<p>so " + inner.code() + "!</p>");
    CHECK(element("img", {{"alt", ""}}).code() == "<img alt=\"\"/>");
    CHECK(element("p", {}).code() == "<p></p>");
    const std::string page = html_page("en", "</title>", element("main", {}, "here"));
    CHECK(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\"><head>"));
    CHECK(page.find("<title>&lt;/title&gt;</title>") != std::string::npos);
    CHECK(page.ends_with("<body><main>here</main></body></html>\n"));
    CHECK(page.find("prefers-color-scheme: dark") != std::string::npos);
    for (const char* outside : {"http:", "https:", "url(", "@import", "<script", "<link"}) {
      CAPTURE(outside);
      CHECK(page.find(outside) == std::string::npos);
    }
  }

  TEST_CASE("html: base64 as RFC 4648 has it") {
    const std::string scheme = "data:image/png;base64,";
    CHECK(png_address("") == scheme);
    CHECK(png_address("f") == scheme + "Zg==");
    CHECK(png_address("fo") == scheme + "Zm8=");
    CHECK(png_address("foo") == scheme + "Zm9v");
    CHECK(png_address("foobar") == scheme + "Zm9vYmFy");
    CHECK(png_address(std::string("\xFF\xFE\x00", 3)) == scheme + "//4A");
  }

  TEST_CASE("charts: every point is drawn, named and listed") {
    const Html chart = svg_chart(two_curves(), "two curves");
    CHECK(holds(chart, "role=\"img\" aria-label=\"two curves\""));
    CHECK(holds(chart, "<figcaption>A &amp; B</figcaption>"));
    CHECK(count_of(chart.code(), "<polyline") == 2);
    CHECK(count_of(chart.code(), "class=\"hit\"") == 5);
    CHECK(holds(chart, "<title>first: 12.3 % at size 0.1</title>"));
    CHECK(holds(chart, "<title>second: 0 % at size 0.1</title>"));
    CHECK(holds(chart, "<tr><td>0.001</td><td>100 %</td><td></td></tr>"));
    CHECK(holds(chart, "<tr><td>0.1</td><td>12.3 %</td><td>0 %</td></tr>"));
    CHECK(holds(chart, "robust above"));
    // Ticks at powers of ten, one tenth of the axis in logarithms apart from each other as the data are.
    for (const char* tick :
         {">0.001</text>", ">0.01</text>", ">0.1</text>", ">100 %</text>", ">0 %</text>"}) {
      CAPTURE(tick);
      CHECK(holds(chart, tick));
    }
  }

  TEST_CASE("charts: 0 % lies on the axis, 100 % at the top, the middle between them") {
    Figure figure{.title = "",
                  .x_label = "pass",
                  .y_label = "",
                  .series = {{"s", {1, 2, 3}, {0, 0.5, 1}}},
                  .thresholds = {}};
    const std::string code = svg_chart(figure, "").code();
    const size_t at = code.find("points=\"") + 8;
    double x[3], y[3];
    REQUIRE(std::sscanf(code.c_str() + at, "%lf,%lf %lf,%lf %lf,%lf", &x[0], &y[0], &x[1], &y[1], &x[2],
                        &y[2]) == 6);
    CHECK(x[1] - x[0] == doctest::Approx(x[2] - x[1]));
    CHECK(x[0] < x[1]);
    CHECK(y[0] - y[1] == doctest::Approx(y[1] - y[2]));
    CHECK(y[0] > y[1]);
    CHECK(code.find(fmt::format("y1=\"{:.1f}\"", y[0])) != std::string::npos);  // the axis
  }

  TEST_CASE("charts: what cannot be drawn is left out, and nothing else") {
    Figure figure = two_curves();
    figure.series[0].y[1] = std::numeric_limits<double>::quiet_NaN();
    figure.series[1].x[0] = 0;  // on a logarithmic axis
    const Html chart = svg_chart(figure, "");
    CHECK(count_of(chart.code(), "class=\"hit\"") == 3);
    CHECK_FALSE(holds(chart, "<polyline class=\"line s0\" points=\"nan"));
    figure.series.clear();
    CHECK(holds(svg_chart(figure, ""), "</svg>"));
    figure.log_x = false;
    CHECK(holds(svg_chart(figure, ""), "</svg>"));
  }

  TEST_CASE("charts: bars") {
    const BarFigure figure{.title = "t",
                           .y_label = "found",
                           .series = {"all", "some"},
                           .groups = {{"PGD", {0.25, 1}}, {"CW", {0, NAN}}}};
    const Html chart = svg_chart(figure, "bars");
    CHECK(count_of(chart.code(), "<rect") == 3 + 2);  // and those of the legend
    CHECK(holds(chart, "<title>PGD, all: 25 %</title>"));
    CHECK(holds(chart, "<tr><td>CW</td><td>0 %</td><td></td></tr>"));
    CHECK(holds(chart, ">25</text>"));
  }
}

}  // namespace
}  // namespace caltrop::test
