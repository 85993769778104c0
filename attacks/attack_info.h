// What each attack is: one row, in attack_table.cpp, of what the rest of the program asks about it. A new attack
// is its file, its row and its test (docs/adding_an_attack.md).
#pragma once

#include <string_view>
#include <vector>

#include "attacks/attack.h"

namespace caltrop {

// attacks/attack_rows.h
class Workbench;
struct Rows;
struct Try;
struct Found;

enum class Goal : uint8_t {
  highest_loss,  // within a size
  nearest,       // the smallest perturbation that fools; a size is a bound on what counts
};

struct AttackInfo {
  AttackKind kind;
  const char* name;
  const char* source;       // the paper, and where in it
  std::vector<Norm> norms;  // that it knows; its own first
  int64_t steps;            // unless told otherwise
  Goal goal = Goal::highest_loss;
  bool gradients = true;  // whether it needs them
  // Climbs cross-entropy with every row in every try, fooled or not; sizes share their first gradient.
  bool ascent = false;
  bool starts = false;        // can begin where it is told (AttackBatch::start)
  bool random_start = false;  // unless told otherwise
  bool draws = false;         // random numbers whatever the options
  // Goes for the likeliest other classes in turn, AttackOptions::target_classes of them: Rows::goals.
  bool by_class = false;
  // The options that it reads besides those that all read (seed, box, labels, targets), by their names in
  // for_each_option; "cw" stands for all of AttackOptions::cw.
  std::vector<std::string_view> reads = {};
  const char* no_target = nullptr;  // why it cannot go to a class that is given; null: it can
  const char* no_random_start = "which chooses its own";  // why not; null: it can
  // The lead that the wrong class must have for a success; null: any.
  float (*lead)(const AttackOptions& options) = nullptr;
  // Works on rows that nothing has fooled yet (an ascent: on all).
  Found (*run)(Workbench& bench, const Rows& rows, const Try& attempt) = nullptr;
  // Instead of `run`: the attacks to run one after the other, each on what those before it left.
  std::vector<AttackOptions> (*stages)(const AttackOptions& options) = nullptr;

  bool knows(Norm norm) const;
  bool reads_option(std::string_view option) const;
};

const std::vector<AttackInfo>& all_attacks();
const AttackInfo& info_of(AttackKind kind);

}  // namespace caltrop
