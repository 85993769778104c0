// The figures of the page of `caltrop demo`.
#pragma once

#include <string>

#include "apps/demo/result.h"

namespace caltrop {

std::string norm_words(Norm norm);  // "L∞", "L2"

// By name, as page_chart() makes them (apps/report/page.h); false where there is nothing to show, and for all unless
// `drawn`.
Json demo_charts(const DemoResult& result, bool drawn);

}  // namespace caltrop
