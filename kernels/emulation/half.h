// 16-bit floats: storage and conversions, round to nearest even. Arithmetic is the float's.
#pragma once

#include <cstdint>

#include "kernels/emulation/builtins.h"

namespace caltrop::emu {

uint16_t half_bits(float value);
float half_value(uint16_t bits);
uint16_t bfloat16_bits(float value);
inline float bfloat16_value(uint16_t bits) {
  return same_bytes<float>(static_cast<uint32_t>(bits) << 16);
}

struct __half {
  uint16_t bits;
};
struct __nv_bfloat16 {
  uint16_t bits;
};
using half = __half;
struct alignas(4) __half2 {
  __half x, y;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
using half2 = __half2;

inline __half __float2half_rn(float value) {
  return {half_bits(value)};
}
inline __half __float2half(float value) {
  return {half_bits(value)};
}
inline float __half2float(__half value) {
  return half_value(value.bits);
}
inline __half2 __floats2half2_rn(float x, float y) {
  return {__float2half_rn(x), __float2half_rn(y)};
}
inline unsigned short __half_as_ushort(__half value) {
  return value.bits;
}
inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  return {bfloat16_bits(value)};
}
inline __nv_bfloat16 __float2bfloat16(float value) {
  return {bfloat16_bits(value)};
}
inline float __bfloat162float(__nv_bfloat16 value) {
  return bfloat16_value(value.bits);
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) {
  return value.bits;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return {bits};
}

}  // namespace caltrop::emu
