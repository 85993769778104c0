// The memory of the emulated device: blocks of exact size on the host's heap, which AddressSanitizer lets
// nobody touch while no queued work runs.
#pragma once

#include <cstddef>

namespace caltrop::emu {

// Null when the device is full. Filled with bytes of 0xFF: NaN in every float.
void* allocate_device(size_t bytes);
void free_device(void* block) noexcept;

// The block that holds `address`, or ends there; null when there is none.
struct DeviceBlock {
  const void* begin = nullptr;
  size_t bytes = 0;
};
DeviceBlock device_block(const void* address);
// Whether any block has a byte in [first, first + bytes).
bool device_memory_in(const void* first, size_t bytes);

size_t device_bytes_used();
size_t device_bytes_limit();
void set_device_bytes_limit(size_t bytes);  // for tests of running out of memory

// While one lives, device memory may be touched.
class DeviceWork {
 public:
  DeviceWork();
  ~DeviceWork();
  DeviceWork(const DeviceWork&) = delete;
  DeviceWork& operator=(const DeviceWork&) = delete;
};

}  // namespace caltrop::emu
