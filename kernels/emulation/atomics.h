// Atomics, as real ones: an access checker tells them from plain accesses.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/emulation/builtins.h"

namespace caltrop::emu {

// Inlined, so that an access checker sees them stand in the kernel's line.
template <typename T, typename Change>
__forceinline__ T atomic_change(T* address, const Change& change) {
  T before, after;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  do {
    after = change(before);
  } while (!__atomic_compare_exchange(address, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}

#define CALTROP_ATOMIC(name, expression)                                       \
  template <typename T>                                                        \
  __forceinline__ T name(T* address, std::type_identity_t<T> value) {          \
    return atomic_change(address, [value](T old) -> T { return expression; }); \
  }
CALTROP_ATOMIC(atomicAdd, old + value)
CALTROP_ATOMIC(atomicSub, old - value)
CALTROP_ATOMIC(atomicMax, old < value ? value : old)
CALTROP_ATOMIC(atomicMin, value < old ? value : old)
CALTROP_ATOMIC(atomicAnd, old& value)
CALTROP_ATOMIC(atomicOr, old | value)
CALTROP_ATOMIC(atomicXor, old ^ value)
CALTROP_ATOMIC(atomicExch, (static_cast<void>(old), value))
CALTROP_ATOMIC(atomicInc, old >= value ? T{0} : old + 1)
#undef CALTROP_ATOMIC

template <typename T>
__forceinline__ T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange(address, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

}  // namespace caltrop::emu
