// Derivatives of a loss's gradients along a direction in weight space, by dual numbers (Pearlmutter 1994,
// "Fast exact multiplication by the Hessian"): with theta(h) = theta + h w and L the sum of the cross-entropies
// of a batch,
//   weights   d/dh grad_theta L(theta(h); x) at h = 0: the Hessian-vector product H w
//   images    d/dh grad_x L(theta(h); x) = d/dx <grad_theta L, w>
// Every value of one forward and one backward pass carries its derivative by h. No graph is recorded: what a
// second backward pass would differentiate is written out, and only what the two results need is computed.
#pragma once

#include <vector>

#include "engine/model.h"
#include "engine/tensor.h"

namespace caltrop {

struct GradientDerivatives {
  std::vector<Tensor> weights;  // as Model::parameters()
  Tensor images;                // (n,h,w,c); empty where it was not asked for
};

// theta, w: as Model::parameters(). An Error unless the network is made of convolutions, dense layers, relu, gelu,
// tanh, sigmoid, pooling and flattening.
GradientDerivatives forward_over_reverse(const Model& model, const std::vector<Tensor>& theta,
                                         const std::vector<Tensor>& w, const Tensor& x, const Labels& labels,
                                         bool of_images);

// Whether it is, without the Error.
bool has_forward_over_reverse(const Architecture& architecture);

}  // namespace caltrop
