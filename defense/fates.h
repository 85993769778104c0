// What becomes of images in front of a defence.
#pragma once

#include <cstdint>

namespace caltrop {

// Called attacked, given their own class, or given another one.
struct Fates {
  int64_t images = 0, flagged = 0, right = 0, wrong = 0;
  void add(int32_t answer, int32_t truth, int32_t attacked) {
    ++images;
    ++(answer == attacked ? flagged : answer == truth ? right : wrong);
  }
  double share(int64_t part) const {
    return images > 0 ? static_cast<double>(part) / static_cast<double>(images) : 0.0;
  }
};

}  // namespace caltrop
