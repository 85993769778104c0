// The style sheet and the templates of pages, built into the program.
#pragma once

#include <string_view>

namespace caltrop {

std::string_view page_style();      // apps/report/page.css
std::string_view chart_template();  // apps/report/chart.html.mustache
std::string_view table_template();  // apps/report/table.html.mustache
std::string_view demo_template();   // apps/demo/report.html.mustache

}  // namespace caltrop
