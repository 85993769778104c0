// "Kim 2025" (Strategic Defense in Machine Learning, J. Robot. Auto. Res. 6(2)) as data: the control, three defences, all
// ordered pairs of them, networks of 2 to 5 convolutions, and the numbers that the paper prints, as fractions. What the paper
// leaves open (sizes, temperature, what masking is, batch norm or dropout) has a default and arms that show what hangs on it.
//
//   smoke  a few images, one seed: does it run
//   quick  some thousand training images, two seeds: under an hour on 2 cores, both data sets
//   paper  all images, 16 seeds: the paper's "16 test runs"
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/study/run.h"

namespace caltrop {

inline const std::vector<std::string> kKimDatasets = {"mnist", "fashion-mnist"};
inline const std::string kAdversarial = "adversarial", kDistillation = "distillation", kMasking = "masking";
inline const std::vector<std::string> kKimDefences = {kAdversarial, kDistillation, kMasking};
inline const std::string kControl = "control";
// Attacks by their names: FGSM by one who does not know the defence, FGSM and PGD by one who does.
inline const std::string kFgsm = "fgsm", kFgsmAware = "fgsm-aware", kPgd = "pgd";

// Names of arms.
std::string pair_arm(const std::string& first, const std::string& second);  // "masking-then-adversarial"
std::string network_arm(const std::string& method,
                        const std::string& network);  // "adversarial-kim-5"; of kim-2 the method alone

struct KimOptions {
  std::string scale = "quick", data_dir = "";
  std::optional<int64_t> seeds = {};         // how many; by the scale: 1, 2, 16
  std::optional<int64_t> train_images = {};  // by the scale: 600, 6,000, all
  double eps = 0.15;                         // of FGSM in training, and after each epoch
  double temperature = 100;

  int64_t seed_count() const;
  int64_t trained() const;  // images; 0: all
  int64_t judged() const;   // test images
};

// Of the first method and of what follows it; alone a method has all.
struct KimEpochs {
  int64_t first = 4, second = 3;
  int64_t all() const { return first + second; }
};
KimEpochs kim_epochs(std::string_view scale);

std::vector<StudyArm> kim_arms(const KimOptions& options);
// Under L-inf FGSM at kFgsmSizes by an attacker who does not know the defence, as the paper's does not; by one who does
// FGSM and PGD-100 with restarts, Square and AutoAttack at kStrongSizes or some of them, and CW under L2.
std::vector<StudyAttack> kim_attacks(std::string_view scale);
inline const std::vector<float> kFgsmSizes = {0.05f, 0.1f, 0.15f, 0.2f, 0.25f, 0.3f};
inline const std::vector<float> kStrongSizes = {0.1f, 0.2f, 0.3f};
inline constexpr float kTransferSize = 0.2f;  // of images made on the control
inline const std::vector<float> kCwSizes = {1.0f, 2.0f};

// Accuracy under FGSM on MNIST as printed: in section 4, of three convolutions under "Future Direction". Where sections
// disagree, what the others say, in words.
std::optional<double> printed_fgsm(const std::string& arm);
std::string printed_elsewhere(const std::string& arm);
inline constexpr double kPrintedClean = 0.995, kPrintedControl = 0.2915;

}  // namespace caltrop
