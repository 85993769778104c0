// The style sheet of apps/report/page.css, built into the program.
#pragma once

#include <string_view>

namespace caltrop {

std::string_view page_style();

}  // namespace caltrop
