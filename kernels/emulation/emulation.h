// The emulated device: the kernels of the .cu files, compiled by the host compiler and run as C++ on the CPU.
// For tests and for learning; it says nothing about speed.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace caltrop {

// Lives until the end of the program. One thread at a time may use it.
Backend& emulated_backend();

namespace emu {

// The order in which waiting threads go on and blocks run. A kernel without races gives the same results
// under each.
enum class Order : uint8_t { forward, reverse, shuffled };
struct Schedule {
  Order order = Order::forward;
  bool late_copies = true;  // cp.async copies when it must have; otherwise when it is issued
  uint64_t seed = 1;        // of the shuffle
  // At most so many blocks where a kernel takes any number (grid_for). Few make small tests run the loops
  // that a GPU needs for large arrays alone.
  int64_t most_blocks = 1 << 14;
};
void set_schedule(const Schedule& schedule);
Schedule current_schedule();

}  // namespace emu
}  // namespace caltrop
