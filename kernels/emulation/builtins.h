// Qualifiers, vector types and the indices of the running thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// The names are CUDA's, and the types below are macros' arguments.
// NOLINTBEGIN(bugprone-reserved-identifier,bugprone-macro-parentheses)

// Shared memory is a plain static: one block runs at a time, and the compiler's red zones guard it.
#define __shared__ static
#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

namespace caltrop::emu {

struct uint3 {
  unsigned x, y, z;
};
struct int3 {
  int x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Aligned as on the device, so that UBSan sees a misaligned access; may_alias as CUDA's are used on floats.
#define CALTROP_VECTOR2(name, type)                          \
  struct [[gnu::may_alias]] alignas(2 * sizeof(type)) name { \
    type x, y;                                               \
  };                                                         \
  inline name make_##name(type x, type y) {                  \
    return {x, y};                                           \
  }
#define CALTROP_VECTOR4(name, type, alignment)              \
  struct [[gnu::may_alias]] alignas(alignment) name {       \
    type x, y, z, w;                                        \
  };                                                        \
  inline name make_##name(type x, type y, type z, type w) { \
    return {x, y, z, w};                                    \
  }
CALTROP_VECTOR2(float2, float)
CALTROP_VECTOR2(int2, int)
CALTROP_VECTOR2(uint2, unsigned)
CALTROP_VECTOR2(double2, double)
CALTROP_VECTOR2(uchar2, unsigned char)
CALTROP_VECTOR4(float4, float, 16)
CALTROP_VECTOR4(int4, int, 16)
CALTROP_VECTOR4(uint4, unsigned, 16)
CALTROP_VECTOR4(uchar4, unsigned char, 4)
#undef CALTROP_VECTOR2
#undef CALTROP_VECTOR4
// NOLINTEND(bugprone-reserved-identifier,bugprone-macro-parentheses)

inline constexpr int warpSize = 32;
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

template <typename To, typename From>
inline To same_bytes(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace caltrop::emu
