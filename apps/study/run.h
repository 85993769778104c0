// A study as data, and what runs it.
//
//   Study     a data set; arms: networks to train; seeds; attacks with their sizes
//   cells     each arm with each seed
//   results   of each cell what every attack did to it at every size, all counts kept: tables, figures and claims are
//             made of these, never of one another
//
// A paper's experiment is one Study or several, and a page that shows their results (docs/adding_a_study.md).
//
// In the run folder:
//   STEM.safetensors    the trained network (apps/study/arm.h has what several trainings leave). STEM is DATASET-ARM, with
//                       -seed-N where there are several seeds
//   STEM-attacks.json   what attacks did to it so far, each with all that decides it ("about")
// A run that was cut off goes on behind the last network or attack that was finished, and ends with the same bytes;
// what comes from other weights, images or options is made again. A network is asked about the clean images once, and an
// attack that draws no random numbers runs once for all seeds of a network that is given.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/core/setup.h"
#include "apps/study/studied.h"
#include "apps/study/training.h"
#include "attacks/gma.h"
#include "engine/metrics.h"

namespace caltrop {

class Console;
class RunFolder;
struct StudyPlace;

// Stands in what is stored of attacks, so that it is made again where attacks have changed: to be raised then.
inline constexpr int kAttackVersion = 3;

struct StudyAttack {
  std::string name;                     // in tables: "pgd"
  AttackOptions options;                // but for the seed, which is the cell's
  std::vector<GmaSize> sizes;           // GMA's, or those of plain_sizes()
  int64_t tries = 1;                    // of Algorithm 2 (attacks/gma.h), 1 to 3
  std::vector<std::string> asked = {};  // the sizes as they were asked for; empty: as fp32 has them
  // Ends where it is known of every size whether the robust accuracy is at least this.
  std::optional<double> until = {};
  int64_t draws = 1;     // over which gradients of a classifier that draws are averaged (EOT)
  int64_t images = 0;    // of the arm's, the first so many; 0: all
  bool unaware = false;  // by an attacker who does not know the defence (Defended::unaware)

  std::string asked_size(size_t which) const;
};
std::vector<GmaSize> plain_sizes(std::span<const float> eps);

struct StudyArm {
  std::string name;                                   // of the zoo, where `line` is empty
  std::string line = {}, initializer = "he_uniform";  // as engine/architecture.h and Initializer read them
  int64_t train_images = 0, epochs = 1;               // 0 images: all
  int64_t attacked = 0;                               // test images; 0: all
  std::shared_ptr<const Studied> given = {};          // then nothing is trained or written
  // One after the other, instead of `epochs` of plain training.
  std::vector<StudyTraining> trainings = {};
  int64_t pool_stride = 2;  // of networks of the zoo that a defence trains
};

// Images that are given, where they are not searched by the data set's name.
struct StudyImages {
  DataInfo info;
  std::optional<Images> train;  // needed where a network is trained
  Images test;
  Json fingerprint;  // of what is attacked
  std::vector<int64_t> rows =
      {};  // of `test`, which are attacked; empty: the first, as StudyArm::attacked says
};

// A data set by its name, whole; a DatasetNotFound where it is not there.
StudyImages study_images(const std::string& dataset, const std::string& data_dir, const StudyPlace& place);

struct Study {
  std::string dataset, data_dir;  // data_dir: "" searches, as DatasetRequest does
  std::vector<StudyArm> arms;
  std::vector<int64_t> seeds;
  std::vector<StudyAttack> attacks;
  std::shared_ptr<const StudyImages> images = {};
  bool grows = false;  // seeds may be added later: files have theirs in their names, be there one or several
};

struct StudyCell {
  std::string dataset, data_dir;
  StudyArm arm;
  int64_t seed = 0;
  std::vector<StudyAttack> attacks;
  std::string stem;  // of its files
  std::shared_ptr<const StudyImages> images = {};

  std::string title() const { return arm.name + " on " + dataset; }
};
std::vector<StudyCell> cells_of(const Study& study);

struct CellResult {
  StudyCell cell;
  // In the order of the cell's attacks. An attack that seeks the smallest perturbation runs once, and an image falls
  // at the sizes that its perturbation fits.
  std::vector<GmaAnalysis> attacks = {};
  std::vector<int64_t> clean_correct = {};  // of what each attack was to attack, also where it ended before

  // An Error where the cell has no such attack.
  const GmaAnalysis& under(std::string_view attack) const;
  int64_t attacked() const { return attacks.at(0).images; }
  int64_t planned() const;               // images that are attacked
  int64_t planned(size_t attack) const;  // the same by one attack, which may be of the first alone
  bool ended(size_t attack) const;       // StudyAttack::until ended it before it had met all
  double clean() const { return attacks.at(0).baseline; }  // accuracy on the attacked images
};

// A number of each cell of an arm, over its seeds; an Error where there is no such cell.
template <typename OfCell>
MeanAndDeviation over_cells(const std::vector<CellResult>& results, std::string_view dataset,
                            std::string_view arm, const OfCell& of_cell) {
  std::vector<double> values;
  for (const CellResult& result : results) {
    if (result.cell.dataset == dataset && result.cell.arm.name == arm) values.push_back(of_cell(result));
  }
  if (values.empty()) fail("[study] there is no result of {} on {}", arm, dataset);
  return over_seeds(values);
}

struct StudiedNetwork {
  TrainingData data;
  std::shared_ptr<const Studied> network;
  const Model& model() const { return *network->defended.model; }
};

// Where a study runs.
struct StudyPlace {
  const RunFolder& folder;
  Backend& backend;
  Console& console;
  int64_t batch = 0;  // images attacked together, 0 for what suits the network; results do not depend on it
};

// What a cell attacks: of the folder, or else trained and kept there. The first of its images are read by name.
StudiedNetwork study_network(const StudyCell& cell, const StudyPlace& place);
std::shared_ptr<const Studied> study_network(const StudyCell& cell, const StudyImages& images,
                                             const StudyPlace& place);

struct StudyResults {
  std::vector<CellResult> cells = {};
  std::vector<std::string> skipped = {};  // why a data set is left out
};
// All cells, one after the other, under one progress line. A data set that is not found is left out, with a warning;
// anything else that fails ends the study.
StudyResults run_study(const std::vector<StudyCell>& cells, const StudyPlace& place);

// What run_study will do, and at most how long: the work in millions of multiply-accumulates by part; what an
// earlier seed has done already is no work.
struct StudyPart {
  const StudyCell& cell;
  std::string what;   // "training", a training of several, or the attack's name
  int64_t sizes = 0;  // of an attack
  int64_t images = 0;
  double work = 0;  // 0: shared with an earlier seed
  int64_t bytes = 0;
};
std::vector<StudyPart> plan_of(const std::vector<StudyCell>& cells, const StudyPlace& place);

}  // namespace caltrop
