// Attacked images that a command stored, for export: adversarial.npz of 'caltrop attack' or one part of a GMA
// set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace caltrop {

struct AttackedSet {
  struct Size {
    std::string name;          // "eps-0.0498"; empty where images were attacked with one size
    std::vector<float> delta;  // (n,h,w,c): the attacked images are x / 255 + delta
  };
  ImageSet images;             // the clean ones, with their true labels
  std::vector<int64_t> index;  // of each in the set that it comes from
  std::vector<Size> sizes;
};

// An Error where arrays are missing, do not fit one another, or hold values that no attack stores.
AttackedSet read_attacked(const std::filesystem::path& path);

}  // namespace caltrop
