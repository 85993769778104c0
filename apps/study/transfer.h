// Transfer: images that were crafted on one network, judged by others.
#pragma once

#include "apps/report/table.h"
#include "apps/study/run.h"

namespace caltrop {

// What a network says of the images that an attack crafted on a source at one size.
struct Transferred {
  std::string source, target, attack;
  Norm norm = Norm::linf;
  std::string asked;
  float eps = 0;
  int64_t images = 0;
  int64_t clean_correct = 0;        // by the target, before
  int64_t robust = 0;               // by the target, before, and after it right or found
  int64_t fooled_source = 0;        // right for the source when clean, and wrong now
  int64_t fooled_both = 0;          // of those, right for the target when clean, and wrong now
  int64_t fooled_source_right = 0;  // of those that fool the source: right for the target when clean

  double robust_accuracy() const;
  double success_rate() const;             // wrong afterwards, of all
  double success_rate_of_correct() const;  // of those that were right for the target
  // Of those that fool the source and were right for the target; absent where there are none.
  std::optional<double> transfer_rate() const;
};

// Crafts with each attack on each arm, or on the first `sources` of them, all of which are given, and asks all of them; an alarm is a right answer to an
// attacked image. In the order of source, attack,
// size, target. Each source is kept in the folder as SOURCE-transfer.json with all that decides it, so that a run that was
// cut off goes on behind it.
std::vector<Transferred> run_transfer(const std::vector<StudyArm>& arms,
                                      const std::vector<StudyAttack>& attacks, const StudyImages& images,
                                      int64_t seed, const StudyPlace& place, size_t sources = 0);

// transfer.csv, .json: a row for each.
Table transfer_table(const std::vector<Transferred>& rows);
// Of one attack and size, for people: sources below, targets across, robust accuracy of the target.
struct TransferMatrix {
  std::string attack, asked;
  Norm norm;
  Table table;
};
std::vector<TransferMatrix> matrices_of(const std::vector<Transferred>& rows);

}  // namespace caltrop
