// Attacked images kept between runs, found by everything that decides them.
//
//   STEM-XXXXXXXX.npz   XXXXXXXX is the CRC-32 of `about`, a JSON object. Arrays for n images:
//     about uint8: that JSON. position, image (n) int64, label (n) int32, size, linf, l2 (n) float32, fooled
//     (n) uint8, delta (n,h,w,c) float32
// A file that is damaged, or of another model or version than its name says, is told of and made again.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "apps/core/console.h"
#include "defense/augment.h"

namespace caltrop {

class CraftedCache {
 public:
  // The folder is made when the first file is.
  CraftedCache(std::filesystem::path folder, Console& console)
      : folder_(std::move(folder)), console_(console) {}

  // `places` of images of `shape`: those of a file, or of `craft`, which are then stored.
  Crafted get(const std::string& stem, const Json& about, std::span<const PoolPlace> places, ImageShape shape,
              const std::function<Crafted()>& craft);

  std::filesystem::path path_of(const std::string& stem, const Json& about) const;
  int64_t reused() const { return reused_; }
  int64_t crafted() const { return crafted_; }

 private:
  std::filesystem::path folder_;
  Console& console_;
  int64_t reused_ = 0, crafted_ = 0;  // images
};

}  // namespace caltrop
