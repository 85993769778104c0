// Random numbers on the host, from the same Philox streams as the kernels.
//
// A Random is a (seed, stream) pair with a position; two of the same pair draw the same numbers.
// Streams separate purposes: see `Stream` for the ones in use.
#pragma once

#include <cstdint>
#include <vector>

namespace caltrop {

// What a stream of random numbers is for. The low 48 bits are free for an index (layer, image, epoch, ...).
enum class Purpose : uint16_t {
  weights = 1,
  shuffle = 2,
  dropout = 3,
  random_start = 4,
  split = 5,
  digits = 6,
  test = 7,
  square = 8,
  defence = 9,
  poison = 16,        // which images, and the batches of the inner steps
  poison_noise = 17,  // the control
  poison_label = 18,
  augment = 19,         // which images are attacked for a defence's training
  bootstrap = 20,       // of a training set, with replacement
  member = 21,          // the seed of each model of an ensemble
  refill = 22,          // which images of a set are taken again to fill a larger one
  craft = 23,           // where attacks begin that are made inside a training step
  gradient_noise = 24,  // added to the gradients of weights in training
  image_noise = 25,     // added to images in training
  svm = 26,             // the order of its examples
};

constexpr uint64_t stream_of(Purpose purpose, uint64_t index = 0) {
  return (static_cast<uint64_t>(purpose) << 48) | (index & 0xFFFFFFFFFFFFull);
}

class Random {
 public:
  Random(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  Random(uint64_t seed, Purpose purpose, uint64_t index = 0) : Random(seed, stream_of(purpose, index)) {}

  uint32_t bits();  // 32 random bits
  float uniform();  // [0, 1), 24 bits
  float uniform(float low, float high);
  float normal();                  // mean 0, variance 1 (Box-Muller in double)
  uint64_t below(uint64_t bound);  // [0, bound), without bias; bound > 0

  // Fisher-Yates permutation of 0..n-1.
  std::vector<int64_t> permutation(int64_t n);

 private:
  uint64_t seed_, stream_, position_ = 0;  // position in words
};

}  // namespace caltrop
