// The page of `caltrop demo`, report.html: what happened to the network, for someone who has never seen an
// attack. A function of the run's numbers alone. Sentences are chosen by the numbers, so that they are true whatever
// these are: a defence that misses most attacks is said to, and so is one that a single comparison beats.
#pragma once

#include <cstdint>
#include <string>

#include "apps/demo/result.h"

namespace caltrop {

// Without `drawn` the figures are left out.
std::string demo_page(const DemoResult& result, bool drawn = true);

// "98.5 %". 0 and 100 % are said only of none and all: 9,999 of 10,000 are "> 99.9 %".
std::string percent_words(int64_t part, int64_t whole);

}  // namespace caltrop
