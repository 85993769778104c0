// Gradient attacks: FGSM, BIM, PGD and MIM, one family with one loop.
//
//   x_0     = x, or a random point of the ball around x
//   x_{k+1} = clip( project( x_k + a * direction(g_k) ) ),   g_k = the gradient of the loss w.r.t. pixels at
//   x_k
//
//   kind  default steps  default step a   random start  source
//   fgsm  1              eps              no            Goodfellow, Shlens, Szegedy 2015
//   bim   10             see below        never         Kurakin, Goodfellow, Bengio 2017
//   pgd   10             see below        yes           Madry et al. 2018
//   mim   10             see below        no            Dong et al. 2018; m = decay m + g / |g|_1, steps
//   along m
//
// The default step is eps / 4 for up to 10 steps, and 4/3 eps / steps above: eps / 30 for 40 steps, as Madry
// et al. attack MNIST. direction() and project() are those of Backend::attack_step: L-inf takes the sign, L2
// the unit gradient, L1 (fgsm alone) the coordinates of the largest gradient. The loss is the cross-entropy
// of each image by itself, climbed away from its label or, when targeted, descended towards a target.
//
// All sizes of a set are crafted together: rows = image x size. Without a random start the first gradient is
// taken once for each image and shared by its sizes. A row depends on its image, its size and the seed alone:
// neither batch, order, threads nor the other sizes change a bit of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "engine/ops.h"
#include "engine/tensor.h"

namespace caltrop {

enum class AttackKind : uint8_t { fgsm, bim, pgd, mim };
AttackKind parse_attack(std::string_view name);
std::string to_string(AttackKind kind);
Norm parse_norm(std::string_view name);  // "linf", "l2", "l1"
std::string to_string(Norm norm);

struct AttackOptions {
  AttackKind kind = AttackKind::pgd;
  Norm norm = Norm::linf;
  int64_t steps = 10;
  float step_size = 0;            // 0: the rule above, for each size its own
  bool random_start = true;       // uniform in the ball (L-inf: cube), clipped to the box
  int64_t restarts = 1;           // tries with other random starts; of each row the best is kept
  int64_t first_try = 0;          // the number of the first try: other numbers draw other random starts
  bool targeted = false;          // descend towards AttackBatch::targets
  bool predicted_labels = false;  // attack what the model says of the clean image instead of the true label
  float decay = 1.0f;             // of mim's momentum
  CrossEntropyGrad cross_entropy = CrossEntropyGrad::stable;
  uint64_t seed = 0;
  float low = 0.0f, high = 1.0f;  // the box: what a pixel may be
};

// The table above.
AttackOptions attack_defaults(AttackKind kind);
// The bound used where none is given: 0.3 (linf), 2 (l2), 10 (l1), on pixels in [0,1].
float default_eps(Norm norm);
// The step of size `eps` under these options.
float step_size_of(const AttackOptions& options, float eps);

// An Error that names the flag unless the options make an attack on images of `image_size` values. A size is
// absurd beyond twice the diameter of the box in its norm (1, sqrt(image_size) or image_size for [0,1]): the
// usual reason is a size meant for pixels up to 255.
void check_attack(const AttackOptions& options, std::span<const float> sizes, int64_t image_size);

// Rounding that the measured size of a perturbation may add to its bound: pixels near 1 are multiples of
// 2^-24.
float ball_tolerance(Norm norm, int64_t image_size);

struct AttackBatch {
  Tensor x;  // (n,h,w,c), inside the box
  std::vector<int64_t>
      indices;  // of each image in its set, below 2^32: with the seed it decides the random start
  std::vector<int32_t> labels;   // true classes
  std::vector<int32_t> targets;  // wanted classes, when targeted; else empty
};

// One image under one size.
struct AttackRow {
  int32_t prediction = 0;          // of the stored adversarial image
  bool success = false;            // prediction != the attacked label; targeted: == the target
  float loss = 0;                  // cross-entropy of the attacked label or target
  float linf = 0, l2 = 0, l1 = 0;  // budget used: norms of the stored perturbation
  int32_t zero_gradients = 0;      // gradients, of those its last try met, that were zero everywhere
  int32_t nan_gradients = 0;       // ... that held a NaN
  int32_t box_violations = 0;      // pixels outside the box
  bool outside_ball = false;       // larger than its size plus ball_tolerance
};

struct AttackedImage {
  int64_t index = 0;
  int32_t label = 0;
  int32_t target = -1;  // -1: not targeted
  int32_t clean_prediction = 0;
};

struct AttackResult {
  std::vector<AttackedImage> images;  // n
  std::vector<AttackRow> rows;        // n x sizes: row i * sizes + s
  int64_t sizes = 0;
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

// Attacks the images of `batch` with each of `sizes`. Checks its arguments with check_attack.
AttackResult craft(const Model& model, const AttackBatch& batch, std::span<const float> sizes,
                   const AttackOptions& options);

}  // namespace caltrop
