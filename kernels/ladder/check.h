// Whether a version of a ladder computes what it should: against loops over doubles, before anything is
// timed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ladder/lab.h"

namespace caltrop {

struct LadderCheck {
  int64_t compared = 0;
  double worst = 0;     // largest share of the tolerance that an element used
  std::string failure;  // empty where all is well
  bool passed() const { return failure.empty() && compared > 0; }
};

// Reproducible operands in [-1, 1), logits in [-4, 4).
LadderOperands ladder_operands(const LadderProblem& problem, uint64_t seed);

// Sizes around every tile and vector, odd shapes, aligned and not.
std::vector<LadderProblem> ladder_edge_problems(Ladder ladder);
// What `caltrop bench kernels` times, with a word on where it comes from.
struct NamedProblem {
  std::string name;
  LadderProblem problem;
};
std::vector<NamedProblem> ladder_timed_problems(Ladder ladder);

// Compares `result` with loops over doubles: all of it where that is little work, otherwise rows drawn from
// all over it, the first and the last among them. NaN never passes.
void check_ladder_result(const LadderProblem& problem, const LadderOperands& operands,
                         const std::vector<float>& result, LadderCheck& check);

// One version on every edge problem.
LadderCheck check_ladder_version(Lab& lab, Ladder ladder, int version);

}  // namespace caltrop
