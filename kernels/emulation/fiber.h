// Stacks of their own for the threads of a block, and the switch between them: twelve instructions on
// x86-64 with ELF, ucontext elsewhere or with CALTROP_UCONTEXT defined.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && defined(__linux__) && !defined(CALTROP_UCONTEXT)
#define CALTROP_OWN_SWITCH 1
#else
#include <ucontext.h>
#endif

namespace caltrop::emu {

class Fiber {
 public:
  // The host's own stack, on which launches begin and end.
  Fiber() = default;
  // A stack whose first use runs `entry`, which never returns. `stagger` spreads stack tops over cache sets.
  Fiber(void (*entry)(), int stagger);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Forgets what the fiber was doing: its next use begins at the entry again.
  void reset();
  struct Stack {
    uintptr_t first;
    size_t size;
  };
  Stack stack() const;                              // empty for the host's
  void* stack_pointer() const { return pointer_; }  // where a switched-out fiber stands

  // Leaves `from`, which must be running, and goes on in `to`.
  static void jump(Fiber& from, Fiber& to);
  // To be called first by an entry.
  static void arrived();

 private:
  void* pointer_ = nullptr;
  void (*entry_)() = nullptr;
  char* stack_ = nullptr;         // above a guard page
  size_t top_ = 0;                // bytes of it in use
  const void* bottom_ = nullptr;  // as AddressSanitizer knows it
  size_t size_ = 0;
  void* fake_stack_ = nullptr;
#ifndef CALTROP_OWN_SWITCH
  ucontext_t context_;
#endif
};

}  // namespace caltrop::emu
