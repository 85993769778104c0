// What "GMA/MIA 2025" prints of its defence: Tables 3, 5 and 6.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace caltrop {

inline const std::vector<std::string> kPaperAttacks = {"gma", "pgd", "fgsm", "cw"};  // columns of its tables
inline const std::vector<std::string> kPaperMembers = {"eat-1", "eat-2", "eat-3"};
inline const std::vector<double> kPaperCycles = {15, 25, 40, 50};  // per cent

// As fractions.
struct PrintedScore {
  double f1 = 0, accuracy = 0;
};
// Table 3: the ensemble under one attack.
PrintedScore printed_vote(const std::string& dataset, const std::string& attack);
// Tables 5 (mnist) and 6 (fashion-mnist): a network after a cycle, counted from 0.
PrintedScore printed_network(const std::string& dataset, const std::string& model, size_t cycle,
                             const std::string& attack);

}  // namespace caltrop
