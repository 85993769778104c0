// Poisoning by meta-gradients ("GMA/MIA 2025", section 3.1, Eq. 3-5): images of the training set are changed
// so that the network trained on them does worse on target data.
//
//   max over x_g of  L_t(theta_T),   theta_s = step(theta_{s-1}, grad L(theta_{s-1}; clean_s and (x_g, y_g)))
//
// Eq. 3's inner argmin is replaced by T steps of training from a theta_0 that was trained on clean data, as
// in Munoz-Gonzalez et al. 2017 and Huang et al. 2020 (MetaPoison). Where the paper is at odds with itself
// (its constraint trains on the target data, Eq. 5 differentiates a discrete label) the common reading is
// taken: train on clean and poisoned images, labels stay fixed, x_g <- P(x_g + eta d(gradient)) with P and d
// as in kernels/backend.h, attack_step.
//
// The gradient of L_t(theta_T) with respect to x_g comes in three ways:
//   unrolled     exact: the T steps are recorded with create_graph and differentiated as a whole. Memory: the
//                graphs of T steps. `checkpoint` C keeps theta at the start of each C steps and records C
//                steps at a time: the graphs of C steps and ceil(T / C) + 1 states, for one more pass
//                through the steps.
//   stepwise     exact: the reverse pass written out. At step s, with w the gradient that reaches grad L, x_g
//                gets d/dx <grad L, w> and theta gets the Hessian-vector product H w, both by one more
//                backward pass through that step's gradient. Memory: the graph of one step and T + 1 states.
//                The default.
//   forward-over-reverse  the same products by dual numbers (forward_over_reverse.h): no graph at all, and less
//                work. For networks of convolutions, dense layers, relu, gelu, tanh, sigmoid
//                and pooling.
//   differences  the same with both products as the derivative along w of first-order gradients, by
//                (grad L(theta + h w) - grad L(theta - h w)) / 2h, h = `reach` / |w|. First-order passes
//                alone run (fused kernels), but between theta - h w and theta + h w ReLU and max-pool change
//                their minds: good for smooth networks, only a rough direction for others
//                (docs/gma_study.md has numbers).
// and a witness: D(h) = (L_t(x_g + h d) - L_t(x_g - h d)) / 2h along one direction d, extrapolated from h and
// h / 2 (Richardson): (4 D(h/2) - D(h)) / 3.
//
// Where a network has ReLU or max-pool the gradient of training jumps as a unit changes its mind, and
// L_t(theta_T) with it. The exact ways give the slope between the jumps; differences, however small h, count
// jumps too (on Target they are off by 28 %), so the witness speaks about smooth networks alone: is_smooth().
//
// SGD: theta - a g. Adam: Kingma & Ba 2015 with their bias corrections and sqrt(v + 1e-8) for sqrt(v), the
// `eps_root` of optax: the square root has no derivative at 0, where the gradients of dead units are.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/images.h"
#include "engine/inference.h"
#include "engine/model.h"
#include "engine/optimizer.h"

namespace caltrop {

enum class MetaGradient : uint8_t { unrolled, stepwise, forward_over_reverse, differences };
MetaGradient parse_meta_gradient(std::string_view name);
std::string to_string(MetaGradient method);

struct InnerOptions {
  Rule rule = Rule::sgd;  // or adam
  float rate = 0.1f;
  MetaGradient method = MetaGradient::stepwise;
  int64_t checkpoint = 0;  // of `unrolled`: steps recorded together; 0: all
  float reach = 0.003f;    // of `differences`: how far along w the gradients are compared
};

// Whether gradients of this network are continuous: neither relu, leakyrelu nor max-pool.
bool is_smooth(const Architecture& architecture);

// The inner training of one group of poisoned images, as a function of their pixels.
class InnerTraining {
 public:
  struct Batch {
    Tensor x;  // (n,h,w,c)
    Labels labels;
  };
  static Batch batch(const Images& images, std::span<const int64_t> rows);
  // theta_0 is the model's present weights. steps[s] are the clean images of step s + 1. The model may have
  // no batch norm and no dropout: an Error, since its training is then no function of the weights alone.
  InnerTraining(const Model& model, std::vector<Batch> steps, Batch target, Labels poison_labels,
                const InnerOptions& options);

  // L_t(theta_T): mean cross-entropy of the target images after T steps on clean images and `poison`.
  double target_loss(const Tensor& poison) const;
  // Its gradient, by options.method; of the shape of `poison`.
  Tensor meta_gradient(const Tensor& poison) const;
  // The slope of target_loss along `direction`, by differences.
  double difference(const Tensor& poison, const Tensor& direction, float h) const;

 private:
  using State = std::vector<Tensor>;  // theta; for adam then m and v

  State first_state() const;
  Tensor training_loss(const State& theta, const Tensor& poison, int64_t s) const;
  Tensor target_losses(const State& theta) const;
  std::vector<Tensor> training_gradient(const State& state, const Tensor& poison, int64_t s,
                                        bool create_graph) const;
  State updated(const State& state, const std::vector<Tensor>& g, int64_t s) const;
  State theta_of(const State& state) const;
  Tensor unrolled(const Tensor& poison) const;
  Tensor stepwise(const Tensor& poison) const;
  // <grad L at step s, w> differentiated with respect to theta and, last, to x_g.
  std::vector<Tensor> products(const State& theta, const Tensor& poison, int64_t s,
                               const std::vector<Tensor>& w) const;

  const Model& model_;
  std::vector<Batch> steps_;
  Batch target_;
  Labels poison_labels_;
  InnerOptions options_;
  size_t parameters_;
};

struct PoisonOptions {
  InnerOptions inner;
  Norm norm = Norm::linf;
  float eps = 0.1f;            // the budget, on pixels in [0,1]
  int64_t ascents = 5;         // updates of x_g (Eq. 5)
  float step_size = 0;         // eta; 0: 2.5 eps / ascents
  int64_t unrolled_steps = 5;  // T
  int64_t group = 64;          // poisoned images crafted together, in each inner step
  int64_t batch = 64;          // clean images in each inner step
  int64_t targets = 128;       // target images of each ascent
  uint64_t seed = 0;
};

// Which images of a training set do what.
struct PoisonRoles {
  std::vector<int64_t> poisoned;            // to be changed
  std::vector<int64_t> targets;             // whose loss is to rise; held out: nothing is trained on them
  std::vector<int64_t> clean;               // the rest
  std::vector<int64_t> trained_on() const;  // poisoned and clean, ascending
};
// A share of the images is poisoned, a tenth are targets, drawn with the seed.
PoisonRoles draw_poison_roles(int64_t images, double share, uint64_t seed);

// An Error that names the flag unless the options make a poisoning of images of `image_size` values.
void check_poison(const PoisonOptions& options, int64_t image_size);

// The perturbations of roles.poisoned, (n,h,w,c), crafted on the weights of `model`. A group depends on its
// place and the seed alone, neither on the other groups nor on threads. labels: what the poisoned images are
// called.
std::vector<float> craft_poison(const Model& model, const Images& images, const PoisonRoles& roles,
                                std::span<const int32_t> labels, const PoisonOptions& options,
                                const Progress& progress = {});

// Labels for the poisoned images: of each another one than its own, drawn with the seed; its own where there is but
// one class.
std::vector<int32_t> flipped_labels(const Images& images, const PoisonRoles& roles, int64_t classes,
                                    uint64_t seed);

// Perturbed images as data sets store them, in 8 bits: rounded towards the clean image, so that the budget holds.
std::vector<uint8_t> stored_poison(std::span<const uint8_t> clean, std::span<const float> delta);

// The control: of the same number of images and the same budget, all of it used, in random directions.
std::vector<float> random_poison(const Images& images, const PoisonRoles& roles,
                                 const PoisonOptions& options);

}  // namespace caltrop
