// The attacked images of a plan, crafted on the undefended network attack by attack, in parts that can be kept.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "defense/pool/plan.h"
#include "engine/images.h"
#include "engine/inference.h"

namespace caltrop {

// Attacked images of some of a plan, in the order of `planned`.
struct Crafted {
  std::vector<PlannedImage> planned;
  std::vector<float> linf, l2;  // measured
  std::vector<uint8_t> fooled;  // whether the undefended network was
  std::vector<float> delta;     // (n,h,w,c): the attacked image is clip(image + delta) in fp32
  int64_t count() const { return static_cast<int64_t>(planned.size()); }
};
// `planned` are all of `attack`. What becomes of an image depends on it, its size and the seed alone. An attack
// that looks for the nearest adversarial image and finds none has made no image: its delta is zero.
Crafted craft_planned(const Classifier& classifier, const Images& images, const PoolAttack& attack,
                      std::span<const PlannedImage> planned, const Progress& progress = {});

}  // namespace caltrop
