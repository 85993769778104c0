// CRC-32 as in gzip and PNG: it tells contents apart that nobody forged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace caltrop {

// `before`: of the bytes that precede these.
uint32_t checksum(std::span<const std::byte> bytes, uint32_t before = 0);
template <typename T>
uint32_t checksum(std::span<T> values, uint32_t before = 0) {
  return checksum(std::as_bytes(values), before);
}

}  // namespace caltrop
