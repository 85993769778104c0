// What an attack did, for people, programs and eyes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/report/figure.h"
#include "apps/report/table.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"

namespace caltrop {

// All that a summary counts, for --json and summary.json.
Json to_json(const AttackSummary& summary);

// Norms of the perturbations of one attack, for their mean, median and largest.
class NormsUsed {
 public:
  void add(const AttackRow& row);
  Json json() const;
  Table table() const;
  int64_t count() const { return static_cast<int64_t>(values_[0].size()); }
  bool empty() const { return count() == 0; }

 private:
  std::vector<double> values_[4];  // L0, L1, L2, L-inf
};

// A few lines: accuracy before and after, success with both denominators, budget used, passes.
void say_summary(Console& console, const AttackSummary& summary, const AttackReport& report, Norm norm);
// Adds a sentence for each kind of anomaly: violations, zero and NaN gradients, and a search without
// gradients that fools what gradients did not. `fooled_by`: of autoattack, images that were right, by the
// attack that fooled them.
void add_anomalies(const AttackSummary& summary, const std::map<std::string, int64_t>& fooled_by,
                   std::vector<std::string>& warnings);

// One row for each size of an analysis, the smallest first.
Table gma_table(const GmaAnalysis& analysis);
Json to_json(const GmaAnalysis& analysis);
// What must be read together with the table.
void say_gma(Console& console, const GmaAnalysis& analysis);
// Accuracy by size, one curve for each norm, with Algorithm 2's thresholds.
Figure gma_figure(const std::vector<GmaAnalysis>& analyses, const std::string& what);

// One attacked image for the picture.
struct Shown {
  std::vector<float> clean, delta;
  bool fooled = false;
};
// Three rows: clean, attacked (framed orange where fooled, green where not), the perturbation magnified.
void write_attack_grid(const RunFolder& folder, const std::string& name, const std::vector<Shown>& images,
                       int64_t height, int64_t width);

}  // namespace caltrop
