// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), and
// the distributions drawn from it.
//
// A counter-based generator: word w of element group i of stream s under seed k is a pure function of
// (k, s, i, w), so weights, dropout masks, shuffles and random starts are the same bits on every device,
// for any thread count and any batch size. Known answers are in tests/kernels.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define CALTROP_HOST_DEVICE __host__ __device__
#else
#define CALTROP_HOST_DEVICE
#endif

namespace caltrop {

struct Philox4 {
  uint32_t word[4];
};

// Four random words for counter (index, stream) under `seed`.
CALTROP_HOST_DEVICE inline Philox4 philox4x32(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// 24 random bits as a float in [0, 1); exact on every device.
CALTROP_HOST_DEVICE inline float unit_float(uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

// Box and Muller's two independent normal numbers: sqrt(-2 log(1 - u)) times the cosine and the sine of 2 pi
// v, u and v the unit floats of two words.
//
// The logarithm, cosine and sine are series here, not calls: mathematical libraries differ in their last bits
// from device to device, while sums, products, quotients and roots are rounded the same everywhere (and no
// compiler contracts them here). The series err by about 1e-15, far below the rounding to float.
struct NormalPair {
  float cosine, sine;
};

template <int kCount>
CALTROP_HOST_DEVICE inline double power_series(const double (&coefficients)[kCount], double x) {
  double sum = coefficients[kCount - 1];
  for (int k = kCount - 2; k >= 0; --k) sum = sum * x + coefficients[k];
  return sum;
}

// -log(1 - u) for the unit float u of a word: 1 - u = m 2^-e with m in (sqrt 1/2, sqrt 2], and
// log m = 2 artanh((m - 1) / (m + 1)).
CALTROP_HOST_DEVICE inline double exponential(uint32_t word) {
  constexpr double kOdd[] = {1.0,        1.0 / 3.0,  1.0 / 5.0,  1.0 / 7.0,  1.0 / 9.0,  1.0 / 11.0,
                             1.0 / 13.0, 1.0 / 15.0, 1.0 / 17.0, 1.0 / 19.0, 1.0 / 21.0, 1.0 / 23.0};
  double m = static_cast<double>(16777216 - (word >> 8)) / 16777216.0, e = 0.0;
  for (int step = 16; step > 0; step /= 2) {
    const double scaled = m * static_cast<double>(1 << step);
    if (scaled > 1.4142135623730951) continue;
    m = scaled;
    e += static_cast<double>(step);
  }
  const double s = (m - 1.0) / (m + 1.0);
  return e * 0.69314718055994531 - 2.0 * s * power_series(kOdd, s * s);
}

CALTROP_HOST_DEVICE inline NormalPair normal_pair(uint32_t first, uint32_t second) {
  constexpr double kSine[] = {1.0,
                              -1.0 / 6.0,
                              1.0 / 120.0,
                              -1.0 / 5040.0,
                              1.0 / 362880.0,
                              -1.0 / 39916800.0,
                              1.0 / 6227020800.0,
                              -1.0 / 1307674368000.0,
                              1.0 / 355687428096000.0};
  constexpr double kCosine[] = {1.0,
                                -1.0 / 2.0,
                                1.0 / 24.0,
                                -1.0 / 720.0,
                                1.0 / 40320.0,
                                -1.0 / 3628800.0,
                                1.0 / 479001600.0,
                                -1.0 / 87178291200.0,
                                1.0 / 20922789888000.0};
  const double radius = std::sqrt(2.0 * exponential(first));
  // v is a number of quarters of a turn and an angle of at most an eighth, exactly.
  const auto v = static_cast<int32_t>(second >> 8);
  const int32_t quarter = (v + (1 << 21)) >> 22;
  const double angle = static_cast<double>(v - quarter * (1 << 22)) * (6.283185307179586 / 16777216.0);
  const double sine = radius * (angle * power_series(kSine, angle * angle));
  const double cosine = radius * power_series(kCosine, angle * angle);
  // A quarter turn exchanges the two and negates one.
  const bool odd = quarter & 1;
  const double x = odd ? -sine : cosine, y = odd ? cosine : sine;
  const bool opposite = quarter & 2;
  return {static_cast<float>(opposite ? -x : x), static_cast<float>(opposite ? -y : y)};
}

}  // namespace caltrop
