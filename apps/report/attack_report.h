// What an attack did, for people, programs and eyes.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/report/figure.h"
#include "apps/report/table.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"
#include "data/attacked_set.h"

namespace caltrop {

// All that a summary counts, for --json and summary.json.
Json to_json(const AttackSummary& summary);
// Every option that the attack reads, as resolved for a size: its step, its restarts; of an ensemble those of each
// "stage".
Json to_json(const AttackOptions& options, float eps);

// A row for each class that occurs: images, accuracy when clean and under the attack, what it is most often taken for.
// Names that are lacking are numbers.
Table robust_class_table(const AttackSummary& summary, const std::vector<std::string>& class_names);

// The norms of perturbations, {"n", "l0": {"mean", "median", "max"}, ...}, and for people.
Json to_json(const FooledImages& fooled);
Table norms_table(const FooledImages& fooled);

// A few lines: accuracy before and after, success with both denominators, budget used, passes.
void say_summary(Console& console, const AttackSummary& summary, const AttackReport& report,
                 const AttackOptions& options, const std::optional<Size>& asked);
// What success and robustness mean where images are pushed to targets, as a line for people.
inline constexpr const char* kOfTargets =
    "targeted: success is to arrive at the target, robust is to be right, so that an image of a third class "
    "is neither";

// One row for each size of an analysis, the smallest first.
Table gma_table(const GmaAnalysis& analysis);
Json to_json(const GmaAnalysis& analysis);
// What must be read together with the table.
void say_gma(Console& console, const GmaAnalysis& analysis);
// Accuracy by size, one curve for each norm, with Algorithm 2's thresholds.
Figure gma_figure(const std::vector<GmaAnalysis>& analyses, const std::string& what);

// Adds the first images of a chunk to a set, `most` of them: what it says of budgets and gradients too where the set
// states sizes. `images`: those that were attacked.
void keep(const AttackResult& chunk, const Images& images, AttackedSet& set,
          int64_t most = std::numeric_limits<int64_t>::max());

// One attacked image for the picture.
struct Shown {
  std::vector<float> clean, delta;
  bool fooled = false;
};
// Three rows: clean, attacked (framed orange where fooled, green where not), the perturbation magnified.
void write_attack_grid(const RunFolder& folder, const std::string& name, const std::vector<Shown>& images,
                       int64_t height, int64_t width);
void write_attack_grid(const RunFolder& folder, const std::string& name, const AttackedSet& set);

}  // namespace caltrop
