// Algorithms of the host over device arrays, on Thrust: what attacks and training need beside the ops. All
// arrays are in device memory. Not while a graph is captured.
#pragma once

#include <cstdint>

#include "kernels/gpu_runtime.h"

namespace caltrop::CALTROP_WORLD {

// The positions i with keep[i] != 0, in order, and how many there are: images still to be fooled. `index` has
// room for `count`.
void compact(Stream& stream, const uint8_t* keep, int64_t count, int64_t* index, int64_t* kept);

// A random order of 0 ... count - 1, a function of the Philox stream (seed, number). It is not the order that
// Random::permutation draws from the same stream: that one is made of swaps, one after the other.
void permutation(Stream& stream, uint64_t seed, uint64_t number, int64_t count, int64_t* order);

// The positions of the k largest of `count` values, largest first, the first of equals first. NaN counts as
// larger than any number, so that it is seen. 0 <= k <= count.
void top_k(Stream& stream, const float* x, int64_t count, int64_t k, int64_t* index);

}  // namespace caltrop::CALTROP_WORLD
