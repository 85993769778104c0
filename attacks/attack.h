// The attacks: one call, craft(), for all of them. Each family is a file that reads like its paper.
//
// What each attack is, where it comes from and what it takes is one row of attack_table.cpp.
//
// bim, pgd and mim default to the step eps / 4, and 4 eps / steps from 16 steps on (fgsm: eps): of the rules measured in
// docs/attacks.md the one that leaves the least to APGD. Madry et al. took eps / 30 for 40 steps on MNIST. Their direction and projection are those of
// Backend::attack_step. cw, deepfool and fab look for the nearest adversarial image: they need no eps
// (infinity), and with one they succeed only where the norm fits it. The loss is that of each image by
// itself, climbed away from its label or, when targeted, descended towards a target.
//
// Several eps are crafted together: rows = image x eps. A row depends on its image, its eps and the seed
// alone: neither batch, order, threads nor the other eps change a bit of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attacks/classifier.h"
#include "engine/error.h"
#include "engine/model.h"
#include "engine/ops.h"
#include "engine/tensor.h"

namespace caltrop {

enum class AttackKind : uint8_t {
  fgsm,
  bim,
  pgd,
  mim,
  cw,
  deepfool,
  apgd_ce,
  apgd_dlr,
  apgd_t,
  fab,
  fab_t,
  square,
  autoattack,
};
AttackKind parse_attack(std::string_view name);
std::string to_string(AttackKind kind);
std::vector<std::string> attack_names();  // all, in the order of their table
Norm parse_norm(std::string_view name);   // "linf", "l2", "l1"
std::string to_string(Norm norm);
std::string norm_title(Norm norm);  // "L-inf", "L2", "L1": for people

// fgsm, bim, pgd, mim: steps along the gradient of cross-entropy. See AttackInfo.
bool is_ascent(AttackKind kind);
// cw, deepfool, fab, fab-t: the smallest perturbation, with or without an eps.
bool is_minimum_norm(AttackKind kind);

// Minimises |x' - x|^2 + c max(z_y - max_{k != y} z_k + confidence, 0) over w, x' = (tanh w + 1) / 2.
struct CwOptions {
  int64_t rounds = 9;  // of the binary search for c
  float first_constant = 1e-3f;
  float confidence = 0;
  float learning_rate = 0.01f;
  bool abort_early = true;  // ends a round of an image whose loss stands still; checked ten times a round
};
struct DeepFoolOptions {
  int64_t candidates = 10;  // classes considered: the likeliest on the clean image
  float overshoot = 0.02f;
};
struct ApgdOptions {
  float rho = 0.75f;  // the share of steps that must climb between two checkpoints, else the step is halved
  // Two quirks of the authors' code: the first window counts its first step against a loss of 0, and the step
  // after a restart at the best point keeps its old momentum.
  bool authors_quirks = false;
};
struct FabOptions {
  float alpha_max = 0.1f, eta = 1.05f, beta = 0.9f;
};
// The paper's schedule of window sizes is for 10,000 queries. Rescaled it is stretched to the queries there are, otherwise
// (as in AutoAttack) it is followed as far as they go. automatic: rescaled below AutoAttack's 5,000 queries, where the
// paper's would end before its windows are small.
enum class SquareSchedule : uint8_t { automatic, paper, rescaled };
SquareSchedule parse_schedule(std::string_view name);
std::string to_string(SquareSchedule schedule);
struct SquareOptions {
  float share = 0.8f;  // of the pixels that the first squares cover
  SquareSchedule schedule = SquareSchedule::automatic;
};
// standard: apgd-ce, apgd-t, fab-t, square. plus: also apgd-dlr and fab, five restarts. rand: apgd-ce and
// apgd-dlr, for classifiers that draw random numbers, whose gradients are to be averaged (Averaged,
// attacks/adaptive.h).
enum class AutoAttackVersion : uint8_t { standard, plus, rand };
AutoAttackVersion parse_version(std::string_view name);
std::string to_string(AutoAttackVersion version);

struct AttackOptions {
  AttackKind kind = AttackKind::pgd;
  Norm norm = Norm::linf;
  int64_t steps = 10;
  float step_size = 0;            // fgsm to mim; 0: the rule above, for each size its own
  float step_share = 0;           // the same as a share of the size, where step_size is 0; 0: the rule
  bool random_start = true;       // uniform in the ball (L-inf: cube), clipped to the box
  int64_t restarts = 1;           // tries with other random starts; of each row the best is kept
  int64_t first_try = 0;          // the number of the first try: other numbers draw other random starts
  bool targeted = false;          // descend towards AttackBatch::targets
  bool predicted_labels = false;  // attack what the model says of the clean image instead of the true label
  float decay = 1.0f;             // of mim's momentum
  CrossEntropyGrad cross_entropy = CrossEntropyGrad::stable;
  int64_t target_classes = 9;  // of apgd-t and fab-t
  CwOptions cw = {};
  DeepFoolOptions deepfool = {};
  ApgdOptions apgd = {};
  FabOptions fab = {};
  SquareOptions square = {};
  AutoAttackVersion version = AutoAttackVersion::standard;
  uint64_t seed = 0;
  float low = 0.0f, high = 1.0f;  // the box: what a pixel may be
};

// Those of its row.
AttackOptions attack_defaults(AttackKind kind);
// Every option by its name, "kind=pgd norm=linf steps=10 ...": texts are equal where options are. Who keeps
// attacked images finds them again by it.
std::string to_text(const AttackOptions& options);
// The bound used where none is given: 0.3 (linf), 2 (l2), 10 (l1), on pixels in [0,1]; none for minimum-norm
// attacks.
float default_eps(Norm norm);
float default_eps(AttackKind kind, Norm norm);
// Whether it draws random numbers: another seed, other images.
bool draws(const AttackOptions& options);
// Passes through a network of so many classes for one image and size, one of a forward and a backward each: an estimate of
// the most, for who plans; images that are fooled leave most attacks early.
double most_passes(const AttackOptions& options, int64_t classes = 10);
// The length of a step under `eps` and these options.
float step_size_of(const AttackOptions& options, float eps);

// An option that makes no attack: its name in AttackOptions (attacks/option_fields.h; "eps" for a bound) and what is
// wrong with it, in words that follow the name.
class BadOption : public Error {
 public:
  BadOption(std::string option, std::string problem)
      : Error("[attack] " + option + " " + problem),
        option_(std::move(option)),
        problem_(std::move(problem)) {}
  const std::string& option() const { return option_; }
  const std::string& problem() const { return problem_; }

 private:
  std::string option_, problem_;
};

// A BadOption unless the options make an attack on images of `image_size` values. An eps is absurd beyond twice
// the diameter of the box in its norm (1, sqrt(image_size) or image_size for [0,1]): the usual reason is one
// meant for pixels up to 255.
void check_attack(const AttackOptions& options, std::span<const float> epsilons, int64_t image_size);
// Its rule for one length in `norm`, called `option`; for pixels from `low` to `high`.
void check_length(const char* option, float length, Norm norm, int64_t image_size, float low = 0.0f,
                  float high = 1.0f);
// The part of it that needs neither eps nor images.
void check_attack(const AttackOptions& options);

// Rounding that the measured size of a perturbation may add to its bound: pixels near 1 are multiples of
// 2^-24.
float ball_tolerance(Norm norm, int64_t image_size);

struct AttackBatch {
  Tensor x;  // (n,h,w,c), inside the box
  // Of each image in its set, below 2^32: with the seed it decides what is drawn for it.
  std::vector<int64_t> indices;
  std::vector<int32_t> labels;   // true classes
  std::vector<int32_t> targets;  // wanted classes, when targeted; else empty
  Tensor clean = {};             // (n,outputs) the logits of x where they are known; else empty
  Tensor start = {};             // (n,h,w,c) where the first try begins, drawn into the ball; else empty
};

// One image under one eps.
struct AttackRow {
  int32_t prediction = 0;           // of the stored adversarial image: a verdict, see attacks/classifier.h
  bool success = false;             // prediction != the attacked label (targeted: == the target), within eps
  bool alarm = false;               // its answer is no class, but a detector's alarm (AttackJob::alarm)
  bool within = true;               // false: no perturbation within eps was found (minimum-norm attacks)
  float loss = 0;                   // cross-entropy of the attacked label or target
  float confidence = 0;             // the probability of `prediction`
  AttackKind by = AttackKind::pgd;  // the attack that made it (autoattack has several)
  float linf = 0, l2 = 0, l1 = 0;   // budget used: norms of the stored perturbation
  int32_t l0 = 0;                   // pixels changed
  int32_t zero_gradients = 0;       // gradients, of those its last try met, that were zero everywhere
  int32_t nan_gradients = 0;        // ... that held a NaN
  int32_t box_violations = 0;       // pixels outside the box
  bool outside_ball = false;        // larger than eps plus ball_tolerance
};

struct AttackedImage {
  int64_t index = 0;
  int32_t label = 0;
  int32_t target = -1;  // -1: not targeted
  int32_t clean_prediction = 0;
  float clean_confidence = 0;                       // its probability
  int64_t forward_passes = 0, backward_passes = 0;  // of all its sizes; forward ones are a search's queries
};

struct AttackResult {
  std::vector<AttackedImage> images;  // n
  std::vector<AttackRow> rows;        // n x sizes: row i * sizes + s, s counts the eps
  int64_t sizes = 0;                  // how many eps
  // The adversarial images as they are stored: adversarial = clip(x + delta) in fp32, so that whoever keeps
  // the clean image and delta has them exactly. Success was judged on these. (n * sizes,h,w,c);
  // no tensors where there are no images.
  Tensor delta, adversarial;
  // Images sent through the network, and gradients taken, for all rows together.
  int64_t forward_passes = 0, backward_passes = 0;

  const AttackRow& row(int64_t image, int64_t size) const {
    return rows[static_cast<size_t>(image * sizes + size)];
  }
};

// Attacks the images of `batch` with each of `epsilons`. Checks its arguments with check_attack.
AttackResult craft(const Classifier& classifier, const AttackBatch& batch, std::span<const float> epsilons,
                   const AttackOptions& options);
AttackResult craft(const Model& model, const AttackBatch& batch, std::span<const float> epsilons,
                   const AttackOptions& options);

}  // namespace caltrop
