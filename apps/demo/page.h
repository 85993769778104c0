// The page of `caltrop demo`, report.html: what happened to the network, for someone who has never seen an
// attack. A function of the run's numbers alone.
#pragma once

#include <string>

#include "apps/demo/result.h"

namespace caltrop {

std::string demo_page(const DemoResult& result);

}  // namespace caltrop
