// Attacked images of whole plans, crafted on one network and kept between runs.
//
// In the folder: STEM-SUBSET-ATTACK-NORM-XXXXXXXX.safetensors for every 500 images of one attack, XXXXXXXX being
// the CRC-32 of everything that decides them, which the metadata hold as "about". Tensors for n images: linf,
// l2, fooled (n), delta (n,h,w,c). A file that is damaged, or of another network or version than its name says,
// is told of and made again.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "defense/pool/images.h"
#include "defense/watch.h"
#include "engine/model.h"

namespace caltrop {

struct CraftedPlan {
  std::vector<PoolAttack> attacks;
  std::vector<PlannedImage> plan;
  std::vector<Crafted> parts;

  AttackedPool pool(const Images& images, const AttackedPoolOptions& options) const {
    return make_pool(images, attacks, plan, parts, options);
  }
};

// Everything but the attacks that decides crafted images: the network, the data, the device.
struct CraftOrigin {
  std::string name;                  // of the data set, for the names of files
  std::array<std::string, 2> about;  // of each Subset
};

class Crafter {
 public:
  // `folder`: made when the first file is; "" keeps nothing. The network and the watch must outlive it.
  Crafter(const Model& target, std::filesystem::path folder, CraftOrigin origin, Watch& watch);

  CraftedPlan craft(const Images& images, std::vector<PoolAttack> attacks, int64_t count, Subset subset,
                    uint64_t seed);
  int64_t reused() const { return reused_; }  // images that were there
  int64_t crafted() const { return crafted_; }

 private:
  Crafted craft_part(const Images& images, const PoolAttack& attack, std::span<const PlannedImage> planned,
                     Subset subset, const Progress& progress);

  const Model& target_;
  std::filesystem::path folder_;
  CraftOrigin origin_;
  Watch& watch_;
  int64_t reused_ = 0, crafted_ = 0;
};

}  // namespace caltrop
