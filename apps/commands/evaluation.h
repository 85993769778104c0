// A network over an image set: logits, predictions and what they are worth.
#pragma once

#include <string>
#include <vector>

#include "apps/core/setup.h"
#include "apps/report/table.h"
#include "engine/inference.h"
#include "engine/metrics.h"

namespace caltrop {

struct Evaluation {
  std::vector<float> logits;  // (n, outputs)
  std::vector<int32_t> predictions;
  Confusion confusion;  // over the outputs, which may be more than the classes of the data
  Metrics metrics;
};
Evaluation evaluate(const Model& model, const Images& images, int64_t batch = 0,
                    const Progress& progress = {});

// An Error unless the network has an output for every class.
void expect_outputs(const Model& model, const DataInfo& data);

// {"n", "accuracy", "interval": [low, high], "precision", "recall", "f1", "confusion": [[...]]}, as
// fractions.
Json to_json(const Metrics& metrics, const Confusion& confusion);

// "98.76 % (95 % interval 98.53 to 98.96 %)"
std::string in_words(const Metrics& metrics);

// One row per class that occurs, and one for the macro averages.
Table class_table(const Evaluation& evaluation, const std::vector<std::string>& class_names);
Table confusion_table(const Confusion& confusion, const std::vector<std::string>& class_names);

}  // namespace caltrop
