// What code compiled with -fsanitize=thread calls at each load and store. The compiler's own run-time library
// looks for races between OS threads; ours, linked in its place, between the threads of a CUDA block. The
// names and parameters are the compilers' interface (LLVM: compiler-rt/lib/tsan/rtl/tsan_interface.h and
// tsan_interface_atomic.h).
#include <cstdint>
#include <cstring>

#include "kernels/emulation/access.h"

using caltrop::emu::Kind;
using caltrop::emu::note_access;

namespace {

__attribute__((always_inline)) inline void note(const void* pc, const volatile void* address, size_t size,
                                                Kind kind) {
  if (!caltrop::emu::may_be_shared(reinterpret_cast<uintptr_t>(address))) return;
  note_access(reinterpret_cast<uintptr_t>(pc), reinterpret_cast<uintptr_t>(address),
              static_cast<uint32_t>(size), kind);
}

}  // namespace

#define CALLER __builtin_return_address(0)
#define HOOK extern "C" __attribute__((noinline, visibility("default"))) void

#define HOOKS_OF_SIZE(size)                          \
  HOOK __tsan_read##size(void* address) {            \
    note(CALLER, address, size, Kind::read);         \
  }                                                  \
  HOOK __tsan_write##size(void* address) {           \
    note(CALLER, address, size, Kind::write);        \
  }                                                  \
  HOOK __tsan_unaligned_read##size(void* address) {  \
    note(CALLER, address, size, Kind::read);         \
  }                                                  \
  HOOK __tsan_unaligned_write##size(void* address) { \
    note(CALLER, address, size, Kind::write);        \
  }                                                  \
  HOOK __tsan_volatile_read##size(void* address) {   \
    note(CALLER, address, size, Kind::read);         \
  }                                                  \
  HOOK __tsan_volatile_write##size(void* address) {  \
    note(CALLER, address, size, Kind::write);        \
  }                                                  \
  HOOK __tsan_read_write##size(void* address) {      \
    note(CALLER, address, size, Kind::read);         \
    note(CALLER, address, size, Kind::write);        \
  }
HOOKS_OF_SIZE(1)
HOOKS_OF_SIZE(2)
HOOKS_OF_SIZE(4)
HOOKS_OF_SIZE(8)
HOOKS_OF_SIZE(16)

HOOK __tsan_read_range(void* address, size_t size) {
  note(CALLER, address, size, Kind::read);
}
HOOK __tsan_write_range(void* address, size_t size) {
  note(CALLER, address, size, Kind::write);
}
HOOK __tsan_init() {}
HOOK __tsan_func_entry(void*) {}
HOOK __tsan_func_exit() {}
HOOK __tsan_vptr_update(void**, void*) {}
HOOK __tsan_vptr_read(void**) {}
HOOK __tsan_atomic_thread_fence(int) {}
HOOK __tsan_atomic_signal_fence(int) {}

// Atomics: a plain load is not noted (it conflicts with nothing that the change after it does not meet). One
// OS thread runs all fibers, but tests may run hosts on several: the operation itself stays atomic.
#define ATOMIC_HOOK extern "C" __attribute__((noinline, visibility("default")))
#define ATOMIC_HOOKS(bits)                                                                                \
  ATOMIC_HOOK uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t* a, int) {          \
    return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                                          \
  }                                                                                                       \
  ATOMIC_HOOK void __tsan_atomic##bits##_store(volatile uint##bits##_t* a, uint##bits##_t v, int) {       \
    note(CALLER, a, bits / 8, Kind::atomic);                                                              \
    __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                             \
  }                                                                                                       \
  ATOMIC_HOOK int __tsan_atomic##bits##_compare_exchange_strong(                                          \
      volatile uint##bits##_t* a, uint##bits##_t* expected, uint##bits##_t v, int, int) {                 \
    note(CALLER, a, bits / 8, Kind::atomic);                                                              \
    return __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }                                                                                                       \
  ATOMIC_HOOK int __tsan_atomic##bits##_compare_exchange_weak(                                            \
      volatile uint##bits##_t* a, uint##bits##_t* expected, uint##bits##_t v, int, int) {                 \
    note(CALLER, a, bits / 8, Kind::atomic);                                                              \
    return __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }                                                                                                       \
  ATOMIC_HOOK uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                  \
      volatile uint##bits##_t* a, uint##bits##_t expected, uint##bits##_t v, int, int) {                  \
    note(CALLER, a, bits / 8, Kind::atomic);                                                              \
    __atomic_compare_exchange_n(a, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
    return expected;                                                                                      \
  }                                                                                                       \
  ATOMIC_HOOK uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t* a, uint##bits##_t v, \
                                                            int) {                                        \
    note(CALLER, a, bits / 8, Kind::atomic);                                                              \
    return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                       \
  ATOMIC_CHANGES(bits, add)                                                                               \
  ATOMIC_CHANGES(bits, sub)                                                                               \
  ATOMIC_CHANGES(bits, and)                                                                               \
  ATOMIC_CHANGES(bits, or)                                                                                \
  ATOMIC_CHANGES(bits, xor)
#define ATOMIC_CHANGES(bits, change)                                                          \
  ATOMIC_HOOK uint##bits##_t __tsan_atomic##bits##_fetch_##change(volatile uint##bits##_t* a, \
                                                                  uint##bits##_t v, int) {    \
    note(CALLER, a, bits / 8, Kind::atomic);                                                  \
    return __atomic_fetch_##change(a, v, __ATOMIC_SEQ_CST);                                   \
  }
ATOMIC_HOOKS(8)
ATOMIC_HOOKS(16)
ATOMIC_HOOKS(32)
ATOMIC_HOOKS(64)

// Copies of structures that the compiler leaves to the library: clang 14 calls memcpy, later ones
// __tsan_memcpy. The linker sends all calls of memcpy here (--wrap=memcpy, on the checked programs alone).
extern "C" {
void* __real_memcpy(void* to, const void* from, size_t size);

void* __wrap_memcpy(void* to, const void* from, size_t size) {
  note(CALLER, from, size, Kind::read);
  note(CALLER, to, size, Kind::write);
  return __real_memcpy(to, from, size);
}
void* __tsan_memcpy(void* to, const void* from, size_t size) {
  note(CALLER, from, size, Kind::read);
  note(CALLER, to, size, Kind::write);
  return __real_memcpy(to, from, size);
}
void* __tsan_memmove(void* to, const void* from, size_t size) {
  note(CALLER, from, size, Kind::read);
  note(CALLER, to, size, Kind::write);
  return std::memmove(to, from, size);
}
void* __tsan_memset(void* to, int value, size_t size) {
  note(CALLER, to, size, Kind::write);
  return std::memset(to, value, size);
}
}
