// How a launch runs on the CPU: every thread of a block is a fiber of one OS thread; a fiber gives way only
// where a CUDA thread may wait. Barriers and warp operations count who arrived, so that a kernel that a GPU
// would leave hanging ends in an Error that names the threads and the lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "kernels/emulation/builtins.h"
#include "kernels/emulation/emulation.h"
#include "kernels/emulation/fiber.h"

namespace caltrop::emu {

// A line of a kernel. As a default argument: Site site = Site::at(__builtin_FILE(), __builtin_LINE()).
// (std::source_location is missing from clang 14.)
struct Site {
  const char* file = "";
  int line = 0;
  static constexpr Site at(const char* file, int line) { return {file, line}; }
  std::string text() const;  // "softmax.cu:41"
};
#define CALTROP_HERE Site site = Site::at(__builtin_FILE(), __builtin_LINE())

struct KernelCall {
  const char* op;
  const void* kernel;  // its address, which names it
  dim3 grid, block;
  size_t shared_bytes;
  std::function<void()> thread;  // runs the kernel once, as the thread that threadIdx and blockIdx say
};
void run_kernel(const KernelCall& call);
bool inside_kernel();

// The calling thread of the block waits for all others. `predicate` feeds the counting forms.
struct BarrierResult {
  int count, all, any;
};
BarrierResult block_barrier(const char* name, Site site, int predicate = 0);

// The lanes of `mask` meet. Each brings a record; the last to arrive runs complete(records, lanes), where
// `lanes` are those that take part: the mask without lanes that have ended.
using Complete = void (*)(void* const* records, uint32_t lanes);
void warp_meet(const char* name, uint32_t mask, void* record, Complete complete, Site site);

// Asynchronous copies to shared memory, of `bytes` of which the first `valid` are read and the rest are zero.
void async_copy(void* to, const void* from, size_t bytes, size_t valid, Site site);
void async_commit();
void async_wait(int groups_in_flight, Site site);

void* dynamic_shared_block();
size_t dynamic_shared_bytes();

int current_thread();  // linear index in its block; -1 outside kernels
int current_lane();
std::string describe_thread(int linear);  // "thread (3,2,0) of block (1,0,0)"
[[noreturn]] void fail_in_kernel(const std::string& what);

// What an access checker needs to know. All calls come from the OS thread that runs the launch.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void launch_begins(const KernelCall&) {}
  virtual void launch_ends(bool /*failed*/) {}  // may throw where the kernel has not
  virtual void block_begins() {}                // blockIdx is set; shared memory is fresh
  // The current thread is at a barrier, at a warp operation or at a wait for its copies.
  virtual void arrives(const char* /*name*/, Site) {}
  virtual void block_synchronized() {}  // all threads have met at a barrier
  virtual void warp_synchronized(int /*warp*/, uint32_t /*lanes*/) {
  }  // at __syncwarp: shuffles order nothing
  virtual void copy_issued(void* /*to*/, const void* /*from*/, size_t /*bytes*/, size_t /*valid*/, Site) {}
  virtual void copy_arrived(void* /*to*/, size_t /*bytes*/) {}  // its thread has waited for it
  // A load by an instruction whose body is the runtime's.
  virtual void reads(const void* /*from*/, size_t /*bytes*/, Site) {}
};
void set_observer(Observer* observer);
Observer* current_observer();
// Makes a mutant: __syncthreads, __syncwarp and waits for copies at this line do nothing.
void skip_at(Site site);
// The stack of the thread that runs, all of memory where none does. Asked at each load and store.
extern Fiber::Stack running_stack;
// Whether a thread runs that may share this address with others: what lies on its own stack it has alone.
inline bool may_be_shared(uintptr_t address) {
  return address - running_stack.first >= running_stack.size;
}

}  // namespace caltrop::emu
