// All that a run of `caltrop demo` found out: what report.html tells and the tables and demo.json hold.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/report/table.h"
#include "attacks/attack_images.h"
#include "attacks/examples.h"
#include "attacks/gma.h"
#include "defense/evaluation.h"
#include "engine/architecture.h"
#include "engine/metrics.h"

namespace caltrop {

// A mistake of the defence.
struct Picture {
  std::vector<float> pixels;  // (h,w,c)
  int32_t label = 0, undefended = 0, vote = 0;
};

struct DefenceResult {
  int32_t attacked = 0;        // the class of attacked images
  int64_t clean_train = 0;     // images that the networks learn from
  int64_t attacked_train = 0;  // in the last cycle
  int64_t vanished = 0;        // attacked test images that rounding turns back into their clean image
  // The undefended network, each network of the ensemble, the vote, and the check for pixels that are no
  // multiple of 1/255 in front of the undefended network: on test images as they are, and rounded to 8 bits.
  std::vector<JudgedTest> exact, rounded;
  std::vector<TransferRow> by_size;   // GMA
  std::vector<AdaptiveRow> adaptive;  // by the vote: attacks that know it
  // The first ones: attacked images that get past the vote, and clean ones that it flags.
  std::vector<Picture> missed, alarms;

  static const JudgedTest& undefended(const std::vector<JudgedTest>& rows) { return rows.front(); }
  static const JudgedTest& vote(const std::vector<JudgedTest>& rows) { return rows.at(rows.size() - 2); }
  static const JudgedTest& pixel_check(const std::vector<JudgedTest>& rows) { return rows.back(); }
};

// One attack of one size on the undefended network.
struct AttackOutcome {
  std::string name;
  Norm norm = Norm::linf;
  AttackSummary summary;
};

// An attacked image, with what the vote says of it.
struct VotedExample {
  Example image;
  int32_t vote = 0;
  Norm norm = Norm::linf;
  float size = 0;
};

struct DemoResult {
  std::string dataset, network;  // the line
  std::vector<std::string> class_names;
  ImageShape shape;
  int64_t train_images = 0, parameters = 0;
  Json training, defence_training;  // metrics.jsonl, and that of the defence
  Metrics clean;                    // on all test images
  std::vector<AttackOutcome> attacks;
  size_t pictured = 0;  // the attack of `examples`
  std::vector<VotedExample> examples;
  std::vector<GmaAnalysis> gma;
  std::vector<VotedExample> sizes;  // one image under GMA
  DefenceResult defence;
  // How to repeat it.
  std::string command, version, commit, device;
  int64_t seed = 0;

  const AttackSummary& pictured_attack() const { return attacks.at(pictured).summary; }
};

Json to_json(const DemoResult& result);

// One row for each detector and test set, exact and 8 bits.
Table detector_table(const DefenceResult& result);
Table by_size_table(const DefenceResult& result);  // of the undefended network and of the vote

}  // namespace caltrop
