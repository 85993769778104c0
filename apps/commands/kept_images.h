// What 'attack' keeps of the attacked images: arrays, a table, and the first for the picture.
#pragma once

#include <cstdint>

#include "apps/core/run_folder.h"
#include "apps/report/table.h"
#include "attacks/attack_images.h"
#include "data/attacked_set.h"

namespace caltrop {

class KeptImages {
 public:
  // Arrays of the first `stored` images alone. `images` must outlive it.
  KeptImages(const Images& images, int64_t stored);

  void add(const AttackResult& chunk);  // in the order of the images
  const FooledImages& fooled() const { return fooled_; }
  // adversarial.npz, grid.png, images.csv.
  void write(const RunFolder& folder) const;

 private:
  const Images& images_;
  int64_t stored_;
  AttackedSet set_, shown_;
  FooledImages fooled_;
  Table table_;
};

}  // namespace caltrop
