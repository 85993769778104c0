// What "GMA/MIA 2025" prints, digit for digit, as fractions.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

namespace caltrop {

// Section 6.2: of the text and the figures' captions. Absent where the paper gives a bar without a number.
struct PaperNumbers {
  std::optional<double> clean;           // B_acc
  double gma = 0;                        // Fool(M)acc under GMA
  std::map<std::string, double> others;  // accuracy under "pgd", "fgsm", "cw"
};
PaperNumbers paper_numbers(const std::string& dataset, const std::string& model);
// Average success rate of GMA over the five networks, Figure 9.
double paper_success_rate(const std::string& dataset);

struct PrintedScore {
  double f1 = 0, accuracy = 0;
};
// Table 3: the ensemble under one attack.
PrintedScore printed_vote(const std::string& dataset, const std::string& attack);
// Tables 5 (mnist) and 6 (fashion-mnist): a network after a cycle, counted from 0.
PrintedScore printed_network(const std::string& dataset, const std::string& model, size_t cycle,
                             const std::string& attack);

}  // namespace caltrop
