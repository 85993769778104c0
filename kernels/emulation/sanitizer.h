// AddressSanitizer's interface for stacks and memory of our own; without it, nothing.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define CALTROP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CALTROP_ASAN 1
#endif
#endif

#ifdef CALTROP_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace caltrop::emu {

#ifdef CALTROP_ASAN
inline void poison(const void* block, size_t bytes) {
  __asan_poison_memory_region(block, bytes);
}
inline void unpoison(const void* block, size_t bytes) {
  __asan_unpoison_memory_region(block, bytes);
}
inline void start_switch(void** fake_stack, const void* bottom, size_t size) {
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
}
inline void finish_switch(void* fake_stack, const void** bottom, size_t* size) {
  __sanitizer_finish_switch_fiber(fake_stack, bottom, size);
}
#else
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
inline void start_switch(void**, const void*, size_t) {}
inline void finish_switch(void*, const void**, size_t*) {}
#endif

}  // namespace caltrop::emu
