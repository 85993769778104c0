#include "kernels/emulation/half.h"

#include <cmath>

namespace caltrop::emu {

uint16_t half_bits(float value) {
  const uint32_t bits = same_bytes<uint32_t>(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7FFFFFFFu;
  if (rest > 0x7F800000u)
    return static_cast<uint16_t>(0x7FFF);  // NaN, as the conversion instruction writes it
  if (rest >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // rounds past 65504
  if (rest < 0x38800000u) {
    // Subnormal: the value in units of 2^-24, rounded by the addition's own rule.
    const float units = same_bytes<float>(rest) * 0x1p24f;
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(units)));
  }
  const uint32_t rounded = rest + 0xFFFu + (rest >> 13 & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float half_value(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, rest = bits & 0x7FFFu;
  if (rest >= 0x7C00u) return same_bytes<float>(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
  if (rest < 0x400u)
    return same_bytes<float>(sign | same_bytes<uint32_t>(static_cast<float>(rest) * 0x1p-24f));
  return same_bytes<float>(sign | ((rest << 13) + 0x38000000u));
}

uint16_t bfloat16_bits(float value) {
  const uint32_t bits = same_bytes<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace caltrop::emu
