// Attacked images made inside a training step, on the device, as Objective::loss() needs them: ops alone, so that the
// step is captured with them. The step itself is the attacks' own (Backend::attack_step); no gradient of a weight is
// taken on the way.
//
//   x_0     = x, or x + eps U[-1,1)^d, or x + sd N(0,1)^d
//   x_{k+1} = clip_box( clip_ball( x_k + a sign(dL/dx_k) ) )                                (L-inf)
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "engine/training.h"

namespace caltrop {

enum class CraftStart : uint8_t {
  image,
  uniform,  // boxed, as PGD's (Madry et al. 2018)
  unboxed,  // the same, outside the box at the first gradient (Wong et al. 2020)
  normal,   // sd, outside the box at the first gradient (Zhang et al. 2019)
};

struct CraftOptions {
  float eps = 0.3f;
  int64_t steps = 1;
  float step_size = 0.3f;
  CraftStart start = CraftStart::image;
  float sd = 0.001f;  // of CraftStart::normal
  // The network as it trains, by the moments of the mini-batch, which then also move batch norm's running ones;
  // else as it answers.
  bool training_mode = false;
};

// L(logits) -> (n), the loss of each image that is climbed.
using CraftLoss = std::function<Tensor(const Tensor& logits)>;

class StepCraft {
 public:
  explicit StepCraft(const CraftOptions& options) : options_(options) {}

  // For Objective::prepare(): draws where the first `count` images begin, from the seed, the step and each image's
  // number alone.
  void prepare(const MiniBatch& batch, int64_t count);
  // Of the first x.dim(0) images of the mini-batch, which `x` holds.
  Tensor attack(const Model& model, const Tensor& x, const CraftLoss& loss,
                const ForwardOptions& forward) const;

 private:
  Tensor first(const Tensor& x) const;

  CraftOptions options_;
  std::map<int64_t, Tensor> noise_;  // for each size of mini-batch
};

// What the network says of the mini-batch as it stands, values alone; with `training` as it trains.
Tensor current_answers(const Model& model, const MiniBatch& batch, bool training);

// One L-inf step: clip_box(clip(x + step_size sign(g), origin +- eps)).
Tensor linf_step(const Tensor& x, const Tensor& origin, const Tensor& g, float eps, float step_size);

// Rows [begin, end) of x; and the rows of one after those of the other. Values alone.
Tensor rows_of(const Tensor& x, int64_t begin, int64_t end);
Labels rows_of(const Labels& labels, int64_t begin, int64_t end);
Tensor rows_joined(const Tensor& first, const Tensor& second);

}  // namespace caltrop
