// "GMA/MIA 2025" as data: its networks, data sets, attacks and cycles, its tables and figures, and the numbers that it
// prints, digit for digit, as fractions.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/study/comparison.h"

namespace caltrop {

inline const std::vector<std::string> kPaperModels = {"vgg16", "vgg7", "resnet32", "resnet50", "target"};
inline const std::vector<std::string> kPaperDatasets = {"mnist", "fashion-mnist"};
inline const std::vector<std::string> kPaperAttacks = {"gma", "pgd", "fgsm", "cw"};  // columns of its tables
inline const std::vector<std::string> kPaperMembers = {"eat-1", "eat-2", "eat-3"};
inline const std::vector<double> kPaperCycles = {15, 25, 40, 50};  // per cent

// The stages of training after which its networks are judged, as a run names them.
inline const std::string kFirstCycle = "cycle 15 %", kThirdCycle = "cycle 40 %",
                         kThirdAgain = "cycle 40 % again", kThirdLonger = "cycle 40 % on",
                         kFourthCycle = "cycle 50 %";
std::string stage_of(double cycle);

struct PaperItem {
  std::string kind;  // "table", "figure"
  int number = 0;
  std::vector<std::string> datasets = {};  // that it is about
  bool defence = false;                    // section 6.3; else 6.1 and 6.2
  bool vote = false;                       // needs the networks that vote, and all controls
  std::string stage = {};                  // of learning curves
  bool loss = false;                       // they show the loss, else accuracy
};
// Tables 3, 5 and 6, Figures 6 to 23.
std::vector<PaperItem> paper_items();
std::vector<std::string> datasets_of(const std::vector<PaperItem>& items);

// Section 6.2: of the text and the figures' captions. Absent where the paper gives a bar without a number.
struct PaperNumbers {
  std::optional<double> clean;           // B_acc
  double gma = 0;                        // Fool(M)acc under GMA
  std::map<std::string, double> others;  // accuracy under "pgd", "fgsm", "cw"
  std::optional<double> under(const std::string& other) const;
};
PaperNumbers paper_numbers(const std::string& dataset, const std::string& model);
// Average success rate of GMA over the five networks, Figure 9.
double paper_success_rate(const std::string& dataset);

// Table 3: the vote.
PrintedRow printed_vote(const std::string& dataset);
// Tables 5 (mnist) and 6 (fashion-mnist): a network after a cycle, counted from 0.
PrintedRow printed_network(const std::string& dataset, const std::string& model, size_t cycle);

}  // namespace caltrop
