// Tables for papers: LaTeX with booktabs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/metrics.h"

namespace caltrop {

// Text as LaTeX sets it: what is a command or a comment there is escaped.
std::string latex_text(const std::string& text);

// A number over seeds in per cent: "64.00 \pm 0.35" in math; without a deviation for one seed.
struct LatexNumber {
  std::optional<MeanAndDeviation> value = {};  // a share; absent: --
  bool best = false;                           // in bold
  std::string bound = {};                      // or what is known of it instead, in math: "\geq 50"
};

struct LatexRow {
  std::vector<std::string> words = {};  // as many as there are columns of words
  std::vector<LatexNumber> numbers = {};
  bool begins_group = false;  // a rule before it
};

struct LatexTable {
  std::string comment;                      // in the first lines of the file
  std::vector<std::string> words, numbers;  // titles of the columns; those of numbers are LaTeX already
  std::vector<LatexRow> rows = {};
};

// A tabular; \usepackage{booktabs} is all that it needs. An Error where a row has other columns than the table.
std::string latex_of(const LatexTable& table);

}  // namespace caltrop
