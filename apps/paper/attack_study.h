// The study of "GMA/MIA 2025", section 6: its networks, its attacks, its numbers, at a scale that a machine
// can bear.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/core/console.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "attacks/gma.h"

namespace caltrop {

// What the text and the figures' captions print, as shares. Absent where the paper gives a bar without a
// number.
struct PaperNumbers {
  std::optional<double> clean;           // B_acc
  double gma = 0;                        // Fool(M)acc under GMA
  std::map<std::string, double> others;  // accuracy under "pgd", "fgsm", "cw"
};
PaperNumbers paper_numbers(const std::string& dataset, const std::string& model);
// Average success rate of GMA over the five networks, Figure 9.
double paper_success_rate(const std::string& dataset);

inline const std::vector<std::string> kPaperModels = {"vgg16", "vgg7", "resnet32", "resnet50", "target"};
inline const std::vector<std::string> kPaperDatasets = {"mnist", "fashion-mnist"};

// How much of the study is done for one network; nothing where it is left out.
struct StudySize {
  int64_t train_images = 0, epochs = 0;  // 0 images: all
  int64_t attacked = 0;                  // test images; 0: all
  int64_t tries = 1;                     // of Algorithm 2
  int64_t measured = 0;                  // images behind the similarity table
  bool full_cw = false;  // 9 rounds of 1,000 steps instead of 3 of 100 with ten times the rate
};
//   smoke  Target alone, on a few thousand images: does it run
//   quick  Target on all images, ResNet32 on some
//   paper  the five networks on all images: for a GPU
std::optional<StudySize> study_size(std::string_view scale, const std::string& model);

// The sizes at which the paper's Table 2 attacks with FGSM, CW and PGD, taken as L2 (no norm is given; sizes
// of 1 to 3 under L-inf on pixels in [0,1] permit any image).
std::vector<float> big_attack_sizes(const std::string& dataset);
// The attacks of the suite that the study compares GMA with: another joins by its name. One that seeks the
// smallest perturbation (cw) is run once, and an image falls at the sizes that its perturbation fits.
const std::vector<std::string>& big_attacks();

struct StudiedNetwork {
  DataInfo data;
  Images test;
  Model model;
  double test_accuracy = 0;
};
// DIR/DATASET-MODEL.safetensors where it is there (a resumed run), else trained and written there. data_dir: ""
// searches, as DatasetRequest does.
StudiedNetwork study_network(const RunFolder& folder, const std::string& dataset, const std::string& data_dir,
                             const std::string& model, const StudySize& size, CommonOptions& common,
                             Backend& backend, Console& console);

// Accuracy of a network under an attack of one size.
struct AccuracyAt {
  double eps = 0, accuracy = 0;
};

struct StudyResult {
  struct Gma {
    Norm norm = Norm::linf;
    double pooled = 0, worst = 0;  // as in GmaAnalysis
    std::vector<AccuracyAt> sizes = {};
  };
  struct Big {
    std::string name;
    std::vector<AccuracyAt> sizes = {};
    double accuracy() const;  // mean over the sizes
  };
  std::string dataset, model;
  int64_t attacked = 0;
  double clean = 0;  // accuracy on the attacked images
  std::vector<Gma> gma = {};
  std::vector<Big> big = {};
};
// GMA's 30 sizes under both norms and the big attacks. Writes the curve and tables of each size into the
// folder.
StudyResult attack_network(const RunFolder& folder, const StudiedNetwork& network, const std::string& dataset,
                           const std::string& model, const StudySize& size, uint64_t seed, Console& console);

}  // namespace caltrop
