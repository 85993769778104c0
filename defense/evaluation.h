// One evaluation for every defence: clean images, images attacked on the undefended network (those that the defence
// was trained on and others: transfer), detection, and attacks on the defence itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "defense/adaptive.h"
#include "defense/defence.h"
#include "defense/detection.h"

namespace caltrop {

inline const std::string kExactLeft = "exact, left by rounding";

struct TestOptions {
  int64_t attacked = 0;                 // test images under the attacks that the defender knows of
  int64_t unseen = 0;                   // ... and under these
  std::vector<PoolAttack> others = {};  // see unseen_recipe()
};
// "exact", the test images as the defence is meant to see them; "8 bits", the same rounded; of the first those that
// rounding does not turn back into clean ones (kExactLeft); and "unseen", those under other attacks. Where
// task.pool rounds already, "8 bits" comes first and the others are left out.
std::vector<TestSet> make_test_sets(const DefenceTask& task, const TestOptions& options);

// How many test images have no input gradient of cross-entropy in fp32, for an attacker who knows the defence and for
// one who does not, where they see different ones.
struct GradientRow {
  std::string attacker;  // "knows it", "does not"
  int64_t images = 0, zero = 0;
  int64_t zero_in_torch = 0;  // by PyTorch's form of the gradient, p - 1 for the label
};

struct DefenceEvaluation {
  std::vector<JudgedTest> judged;  // test set by test set, in the order of the judges
  std::vector<AdaptiveRow> adaptive;
  std::vector<AdaptiveRow> unaware = {};  // the same attacks through Defended::unaware, where there is one
  std::vector<GradientRow> gradients =
      {};  // of the first 1,000 test images; of a defence that raises no alarm
  // The price: weights, and passes through a network for an answer.
  int64_t parameters = 0, passes = 0;
};
// A defence that raises alarms is judged beside the detector that needs no training (off_grid.h). adaptive.images
// 0: no attacks on the defence.
DefenceEvaluation evaluate(const Defended& defended, const DefenceTask& task,
                           const std::vector<TestSet>& tests, const AdaptiveOptions& adaptive);

// What becomes of test images under an attack of one size on the undefended network: in front of it, and of the
// defence.
struct TransferRow {
  Norm norm = Norm::linf;
  float size = 0;
  Fates undefended, defended;
};
std::vector<TransferRow> transfer(const Defended& defended, const Model& target, const Images& test,
                                  int32_t attacked, const AttackOptions& attack, std::span<const float> sizes,
                                  const Progress& progress = {});

}  // namespace caltrop
