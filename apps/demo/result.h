// All that a run of `caltrop demo` found out: what demo.json holds and report.html tells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/report/table.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"
#include "defense/fates.h"
#include "engine/architecture.h"
#include "engine/metrics.h"

namespace caltrop {

// One detector on one test set.
struct Verdicts {
  std::string name;
  Fates clean, attacked;
  Fates fooling;  // of the attacked images, those to which the undefended network gives a wrong class
};
struct AttackVerdicts {
  std::string attack;
  Fates attacked, fooling;
};
// GMA at one size.
struct SizeVerdicts {
  Norm norm = Norm::linf;
  float size = 0;
  Fates undefended, vote;
};
// An attack that knows the defence, judged by the vote: the images as they are, and rounded to 8 bits.
struct AdaptiveVerdicts {
  Norm norm = Norm::linf;
  float size = 0;
  Fates exact, rounded;
};
struct Picture {
  std::vector<float> pixels;  // (h,w,c)
  int32_t label = 0, undefended = 0, vote = 0;
};

struct DefenceResult {
  int32_t attacked = 0;        // the class of attacked images
  int64_t clean_train = 0;     // images that the networks learn from
  int64_t attacked_train = 0;  // in the last cycle
  int64_t vanished = 0;        // attacked test images that rounding turns back into their clean image
  std::vector<double> cycles;  // shares of attacked images
  // The undefended network, each network of the ensemble, the vote, and the check for pixels that are no
  // multiple of 1/255 in front of the undefended network.
  std::vector<Verdicts> exact, rounded;
  std::vector<AttackVerdicts> by_attack;  // of the vote
  std::vector<SizeVerdicts> by_size;
  std::vector<AdaptiveVerdicts> adaptive;
  // The first ones: attacked images that get past the vote, and clean ones that it flags.
  std::vector<Picture> missed, alarms;

  const Verdicts& undefended() const { return exact.front(); }
  const Verdicts& vote() const { return exact.at(exact.size() - 2); }
  const Verdicts& off_grid() const { return exact.back(); }
};
// One attack of one size on the undefended network.
struct AttackOutcome {
  std::string name;
  Norm norm = Norm::linf;
  AttackSummary summary;
  int64_t gradients = 0;  // taken for all images together
};

// What a network says of an image, and how sure it is (softmax).
struct Opinion {
  int32_t says = 0;
  double sure = 0;
};
struct Example {
  std::vector<float> clean, attacked;  // (h,w,c)
  int32_t label = 0;
  Opinion before, after;  // of the undefended network
  int32_t vote = 0;       // of the attacked image
};
struct SizeExample {
  Norm norm = Norm::linf;
  float size = 0;
  Example image;
};

struct TrainingEpoch {
  std::string model, stage;  // stage: "" for the undefended network
  int64_t epoch = 0;         // from 1
  double loss = 0, train_accuracy = 0, test_accuracy = 0;
};

struct DemoResult {
  std::string dataset, network;  // the line
  std::vector<std::string> class_names;
  ImageShape shape;
  int64_t train_images = 0, parameters = 0;
  std::vector<TrainingEpoch> epochs;
  Metrics clean;  // on all test images
  std::vector<AttackOutcome> attacks;
  size_t pictured = 0;  // the attack of `examples`
  std::vector<Example> examples;
  std::vector<GmaAnalysis> gma;
  std::vector<SizeExample> sizes;  // one image under GMA
  DefenceResult defence;
  // How to repeat it.
  std::string command, version, commit, device;
  int64_t seed = 0;

  const AttackSummary& pictured_attack() const { return attacks.at(pictured).summary; }
};

Json to_json(const DefenceResult& result);
Json to_json(const DemoResult& result);

// One row for each detector and test set, exact and 8 bits.
Table defence_table(const DefenceResult& result);
Table by_size_table(const DefenceResult& result);   // of the undefended network and of the vote
Table adaptive_table(const DefenceResult& result);  // of the vote

}  // namespace caltrop
