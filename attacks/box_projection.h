// The step of FAB (Croce & Hein, "Minimally distorted adversarial examples with a fast adaptive boundary
// attack", ICML 2020, section 3): from points x to hyperplanes w.x = b, as short as the box allows.
#pragma once

#include <span>

#include "engine/tensor.h"
#include "kernels/backend.h"

namespace caltrop {

// d (r,h,w,c), the smallest in `norm` (linf or l2) with w.(x + d) = b and x + d in the box; where the box
// ends before the hyperplane, the d that comes nearest. `value` holds w.x - b of each row.
//
// Along d(s) = clip(x + s v) - x with v = -sign(value) sign(w) (linf) or -sign(value) w (l2) the distance to
// the hyperplane shrinks monotonically and ever more slowly, as pixels reach the box. So Newton's steps in s
// never go too far, and end after at most as many steps as there are slopes; in practice a handful. It needs
// no sorted pixels, as the authors' closed form does, and runs on any device.
Tensor project_to_hyperplane(Norm norm, const Tensor& x, const Tensor& w, std::span<const float> value,
                             float low, float high);

}  // namespace caltrop
