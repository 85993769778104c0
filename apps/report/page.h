// Pages: a mustache template filled with values. Text is escaped by the template, so that nothing that a file or a
// flag says is taken for markup. The pages are also XML, so that any parser can check them, and stand alone: one
// file, no script, nothing to load.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/core/flags.h"
#include "apps/report/figure.h"
#include "apps/report/table.h"

namespace caltrop {

// The template with `values`: {{name}} is escaped, {{{name}}} is not. Names are those of a JSON object; "", false,
// null and an empty list leave a section out. Beside its own values a template has {{{style}}}, the style sheet of
// apps/report/page.css, and the part {{> chart}}. An Error where it names a value that is not there.
std::string fill_page(std::string_view page_template, const Json& values);

// What {{> chart}} draws: the figure and, for those who see no picture and where there is no gnuplot, its numbers.
// `description`: the picture in a sentence. `id` as for svg_figure.
Json page_chart(const std::string& id, const Figure& figure, const std::string& description);

// {"title", "note", "titles", "rows"} for a template's table: what people see of it.
Json page_table(const std::string& title, const std::string& note, const Table& table);

// What is built into the program.
std::string_view page_style();      // apps/report/page.css
std::string_view chart_template();  // apps/report/chart.html.mustache
std::string_view demo_template();   // apps/demo/report.html.mustache
std::string_view sweep_template();  // apps/study/report.html.mustache
std::string_view parts_template();  // apps/study/parts.html.mustache

// "data:image/png;base64,...": a picture as an address that needs no file.
std::string png_address(std::string_view png);

}  // namespace caltrop
