#include "engine/random.h"

#include <numeric>
#include <utility>

#include "kernels/philox.h"

namespace caltrop {

uint32_t Random::bits() {
  const Philox4 four = philox4x32(seed_, stream_, position_ / 4);
  return four.word[position_++ % 4];
}

float Random::uniform() {
  return unit_float(bits());
}

float Random::uniform(float low, float high) {
  return low + (high - low) * uniform();
}

float Random::normal() {
  const uint32_t first = bits();
  return normal_pair(first, bits()).cosine;
}

uint64_t Random::below(uint64_t bound) {
  // Draws from the incomplete last interval are rejected: without it small values would be favoured.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  for (;;) {
    const uint64_t high = bits();
    const uint64_t draw = (high << 32) | bits();
    if (draw < limit) return draw % bound;
  }
}

std::vector<int64_t> Random::permutation(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(order[static_cast<size_t>(i)], order[below(static_cast<uint64_t>(i) + 1)]);
  }
  return order;
}

}  // namespace caltrop
