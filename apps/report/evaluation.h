// What a network is worth, for people and programs.
#pragma once

#include <string>
#include <vector>

#include "apps/report/table.h"
#include "engine/inference.h"

namespace caltrop {

// {"n", "accuracy", "interval": [low, high], "precision", "recall", "f1", "confusion": [[...]]}, as
// fractions.
Json to_json(const Metrics& metrics, const Confusion& confusion);

// "98.76 % (95 % interval 98.53 to 98.96 %)"
std::string in_words(const Metrics& metrics);

// One row per class that occurs, and one for the macro averages.
Table class_table(const Evaluation& evaluation, const std::vector<std::string>& class_names);
Table confusion_table(const Confusion& confusion, const std::vector<std::string>& class_names);
// Rows: true classes; square. Names that are lacking are numbers.
Table confusion_table(const std::vector<std::vector<int64_t>>& counts,
                      const std::vector<std::string>& class_names);

}  // namespace caltrop
