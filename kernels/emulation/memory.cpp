#include "kernels/emulation/memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "kernels/emulation/sanitizer.h"

namespace caltrop::emu {
namespace {

constexpr size_t kAlignment = 256;  // of CUDA's allocations

struct Memory {
  std::map<uintptr_t, size_t> blocks;
  size_t used = 0, limit = size_t{16} << 30;
  int working = 0;
};
Memory& memory() {
  static auto* memory = new Memory;  // never destroyed: tensors in statics may outlive main
  return *memory;
}

template <typename Body>
void for_blocks(const Body& body) {
  for (const auto& [begin, bytes] : memory().blocks) body(reinterpret_cast<void*>(begin), bytes);
}

}  // namespace

void* allocate_device(size_t bytes) {
  Memory& m = memory();
  if (bytes > m.limit - m.used) return nullptr;
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes == 0 ? 1 : bytes) != 0) return nullptr;
  std::memset(block, 0xFF, bytes);
  m.used += bytes;
  m.blocks[reinterpret_cast<uintptr_t>(block)] = bytes;
  if (m.working == 0) poison(block, bytes);
  return block;
}

void free_device(void* block) noexcept {
  Memory& m = memory();
  const auto found = m.blocks.find(reinterpret_cast<uintptr_t>(block));
  if (found == m.blocks.end()) std::abort();  // freed twice, or never allocated
  m.used -= found->second;
  unpoison(block, found->second);
  m.blocks.erase(found);
  std::free(block);
}

DeviceBlock device_block(const void* address) {
  const std::map<uintptr_t, size_t>& blocks = memory().blocks;
  const auto at = reinterpret_cast<uintptr_t>(address);
  auto next = blocks.upper_bound(at);
  if (next == blocks.begin()) return {};
  --next;
  if (at > next->first + next->second) return {};
  return {reinterpret_cast<const void*>(next->first), next->second};
}

bool device_memory_in(const void* first, size_t bytes) {
  const std::map<uintptr_t, size_t>& blocks = memory().blocks;
  const auto at = reinterpret_cast<uintptr_t>(first);
  auto next = blocks.lower_bound(at + bytes);
  if (next == blocks.begin()) return false;
  --next;
  return next->first + next->second > at;
}

size_t device_bytes_used() {
  return memory().used;
}
size_t device_bytes_limit() {
  return memory().limit;
}
void set_device_bytes_limit(size_t bytes) {
  memory().limit = bytes < memory().used ? memory().used : bytes;
}

DeviceWork::DeviceWork() {
  if (memory().working++ == 0) for_blocks(unpoison);
}
DeviceWork::~DeviceWork() {
  if (--memory().working == 0) for_blocks(poison);
}

}  // namespace caltrop::emu
