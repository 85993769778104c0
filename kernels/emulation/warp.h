// Barriers, shuffles, votes and fences.
#pragma once

#include <type_traits>

#include "kernels/emulation/execution.h"

namespace caltrop::emu {

inline void __syncthreads(CALTROP_HERE) {
  block_barrier("__syncthreads", site);
}
inline int __syncthreads_count(int predicate, CALTROP_HERE) {
  return block_barrier("__syncthreads_count", site, predicate).count;
}
inline int __syncthreads_and(int predicate, CALTROP_HERE) {
  return block_barrier("__syncthreads_and", site, predicate).all;
}
inline int __syncthreads_or(int predicate, CALTROP_HERE) {
  return block_barrier("__syncthreads_or", site, predicate).any;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, CALTROP_HERE) {
  warp_meet(
      "__syncwarp", mask, nullptr, [](void* const*, uint32_t) {}, site);
}

// One switch of fibers at a time orders all memory, so fences have nothing to do.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

// A lane's part in a shuffle: it reads `from`'s value.
struct ShuffleRecord {
  uint64_t value, result;
  int from;
};
uint64_t shuffle_bits(const char* name, unsigned mask, uint64_t value, int from, Site site);

template <typename T>
T shuffle(const char* name, unsigned mask, T value, int from, Site site) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = shuffle_bits(name, mask, bits, from, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Lanes outside the segment of `width` lanes keep their own value.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CALTROP_HERE) {
  const int lane = current_lane(), first = lane / width * width;
  return shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CALTROP_HERE) {
  const int lane = current_lane(), from = lane - static_cast<int>(delta);
  return shuffle("__shfl_up_sync", mask, value, from < lane / width * width ? lane : from, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CALTROP_HERE) {
  const int lane = current_lane(), from = lane + static_cast<int>(delta);
  return shuffle("__shfl_down_sync", mask, value, from >= (lane / width + 1) * width ? lane : from, site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CALTROP_HERE) {
  const int lane = current_lane(), from = lane ^ lanes;
  return shuffle("__shfl_xor_sync", mask, value, from >= (lane / width + 1) * width ? lane : from, site);
}

unsigned ballot(const char* name, unsigned mask, int predicate, unsigned* taking_part, Site site);
inline unsigned __ballot_sync(unsigned mask, int predicate, CALTROP_HERE) {
  return ballot("__ballot_sync", mask, predicate, nullptr, site);
}
inline int __any_sync(unsigned mask, int predicate, CALTROP_HERE) {
  return ballot("__any_sync", mask, predicate, nullptr, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CALTROP_HERE) {
  unsigned lanes = 0;
  return ballot("__all_sync", mask, predicate, &lanes, site) == lanes;
}
// Legal, and hostile: no other lane is ever seen to be active.
inline unsigned __activemask() {
  return 1u << current_lane();
}

unsigned match_bits(unsigned mask, uint64_t value, Site site);
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, CALTROP_HERE) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return match_bits(mask, bits, site);
}

[[noreturn]] inline void __trap() {
  fail_in_kernel("__trap()");
}

}  // namespace caltrop::emu
