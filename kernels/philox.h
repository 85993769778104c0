// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// A counter-based generator: word w of element group i of stream s under seed k is a pure function of
// (k, s, i, w), so weights, dropout masks, shuffles and random starts are the same bits on every device,
// for any thread count and any batch size. Known answers are in tests/kernels.
#pragma once

#include <array>
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

}  // namespace caltrop
