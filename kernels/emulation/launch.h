// What gpu.cuh's launch() does in the emulation: it notes the kernel and copies of its arguments in the
// stream's queue.
#pragma once

#include <tuple>
#include <type_traits>

#include "kernels/emulation/execution.h"

namespace caltrop::emu {

class Stream;

void enqueue_kernel(Stream& stream, KernelCall call);
// A pointer argument must be null or point into memory of the device.
void check_argument(const char* op, int position, const void* pointer);

template <typename... P>
void enqueue_launch(const char* op, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                    Stream& stream, std::type_identity_t<P>... arguments) {
  int position = 0;
  const auto check = [&](const auto& argument) {
    ++position;
    if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(argument)>>)
      check_argument(op, position, argument);
  };
  (check(arguments), ...);
  enqueue_kernel(stream, {op, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes,
                          [kernel, values = std::tuple<P...>(arguments...)] {
                            std::apply(kernel, values);
                          }});
}

}  // namespace caltrop::emu
