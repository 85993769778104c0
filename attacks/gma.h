// The gradient-based miniature attack (Sanapala & Gondi, "GMA/MIA 2025", section 3): a base attack repeated
// over a set of small sizes (Algorithm 1), and the analysis of what each size does to a model (Algorithm 2).
//
// Where the paper leaves a choice, the default is the reading that lets its algorithms run to their end:
//   sizes    Tr = V_n e^-i with V = .1, .5, 1, 2, 3 and i = 1..6. The paper's tables also fit 10^-i: `base`.
//   grid     all 30 products. Algorithm 1 as printed visits V_0..V_4 for i = 1..5 (and an index 5 that V
//            does not have, skipped here), then leaves its loop after V_0 e^-6: 26 sizes, `literal`.
//   scale    pixels in [0,1]; 255 divides each size by 255, for sizes meant for 8-bit pixels.
//   attack   PGD of 10 steps without random start, untargeted, under L-inf and under L2: no norm is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attacks/attack.h"
#include "attacks/attack_images.h"

namespace caltrop {

enum class GmaBase : uint8_t { e, ten };
enum class GmaGrid : uint8_t { full, literal };
GmaBase parse_gma_base(std::string_view name);  // "e", "10"
GmaGrid parse_gma_grid(std::string_view name);  // "full", "literal"
std::string to_string(GmaBase base);
std::string to_string(GmaGrid grid);

struct GmaSizeOptions {
  GmaBase base = GmaBase::e;
  GmaGrid grid = GmaGrid::full;
  int scale = 1;  // or 255
};

struct GmaSize {
  GmaBase base = GmaBase::e;
  int n = 0;                 // index into V, from 0 as in Algorithm 1
  int i = 1;                 // the exponent
  double v = 0;              // V[n]
  float eps = 0;             // v * base^-i / scale
  std::string name() const;  // "0.5*e^-3"
};

// In the order of Algorithm 1: i = 1..6, and for each the five values of V.
std::vector<GmaSize> gma_sizes(const GmaSizeOptions& options = {});
std::vector<float> eps_of(std::span<const GmaSize> sizes);

// The base attack as the paper's defaults have it: attack_defaults(kind) without random start.
AttackOptions gma_attack(AttackKind kind, Norm norm);

// What the paper compares GMA with: PGD, FGSM and CW at the sizes of its Table 2 for a data set, taken as L2: no norm
// is given, and sizes of 1 to 3 under L-inf on pixels in [0,1] permit any image.
struct BigAttack {
  AttackOptions options;
  std::vector<float> sizes;
};
std::vector<BigAttack> big_attacks(std::string_view dataset);

// Algorithm 2's cases. Between 50 % and 80 % the paper says nothing.
enum class GmaVerdict : uint8_t { fooled, neither, robust };
inline constexpr double kGmaFooled = 0.50;  // accuracy below: "worst case", the attack succeeded
inline constexpr double kGmaRobust = 0.80;  // accuracy above: "best case"
GmaVerdict gma_verdict(double accuracy);
std::string to_string(GmaVerdict verdict);

// What one size did. Algorithm 2 attacks up to three times and stops at the first success; `tries` are those.
struct GmaSizeResult {
  GmaSize size;
  std::vector<AttackSummary> tries;
  std::vector<bool> robust = {};  // of each image: right when clean and under every try
  double accuracy() const;        // the lowest of the tries: Fool(M)acc
  GmaVerdict verdict() const { return gma_verdict(accuracy()); }
  bool flag() const { return verdict() == GmaVerdict::fooled; }  // Algorithm 2's 1 or 0
};

// Passes through a network, forward and backward counted as one, that gma_analyze() takes for an image; an estimate.
double expected_passes(const AttackOptions& options, size_t sizes, int64_t tries, int64_t classes = 10);

struct GmaAnalysis {
  Norm norm = Norm::linf;
  int64_t images = 0;
  double baseline = 0;  // clean accuracy: B_acc
  std::vector<GmaSizeResult> sizes;
  // Two numbers over all sizes, to be read together and never without the rows above: sizes of 1 in L-inf
  // permit any image, so a minimum over sizes says little about miniature perturbations.
  double pooled_accuracy = 0;  // mean of accuracy() over the sizes
  double worst_accuracy = 0;   // share of images right when clean and under every size and try
  int64_t forward_passes = 0, backward_passes = 0;

  // Sizes that fool, and the least of these; absent where none does.
  struct Fooling {
    int64_t sizes = 0;
    double least = 0;
  };
  std::optional<Fooling> fooling() const;
};
// Every number of an analysis over all sizes by its name, for who writes them down and reads them again.
template <typename Analysis, typename Visit>
void for_each_number(Analysis& analysis, const Visit& visit) {
  visit("images", analysis.images);
  visit("clean", analysis.baseline);
  visit("pooled", analysis.pooled_accuracy);
  visit("worst", analysis.worst_accuracy);
  visit("forward_passes", analysis.forward_passes);
  visit("backward_passes", analysis.backward_passes);
}

// Counts results into an analysis: from an attack that runs, or from a stored set.
class GmaTally {
 public:
  GmaTally(std::span<const GmaSize> sizes, Norm norm);
  // The result of image `image` (counted from 0) under size `size` (an index) in try `attempt` (from 0).
  void add(int64_t image, int64_t size, int64_t attempt, const AttackedImage& clean, const AttackRow& row);
  // Sizes that no try has fooled yet: the ones that Algorithm 2 attacks again.
  std::vector<int64_t> unfooled() const;
  GmaAnalysis analysis() const;

 private:
  enum class Fate : uint8_t {
    unseen,
    wrong,
    fell,
    survived
  };  // wrong when clean; right when clean, then ...

  GmaAnalysis result_;
  std::vector<Fate> fates_;  // of the images so far
};

// Algorithm 2 on crafted images. The first try is `options` as given; a deterministic attack repeated gives
// the same answer, so the others use a random start (BIM thereby becomes PGD) and other random streams.
// An attack that seeks the smallest perturbation runs once, and an image falls at the sizes that its perturbation fits.
// `job.sink` is not called; progress counts images over all tries.
GmaAnalysis gma_analyze(const Classifier& classifier, const Images& images, std::span<const GmaSize> sizes,
                        const AttackOptions& options, int64_t tries, const AttackJob& job);
GmaAnalysis gma_analyze(const Model& model, const Images& images, std::span<const GmaSize> sizes,
                        const AttackOptions& options, int64_t tries, const AttackJob& job);

}  // namespace caltrop
