#include "kernels/emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "kernels/emulation/sanitizer.h"
#include "kernels/error.h"

#ifdef CALTROP_OWN_SWITCH
// void caltrop_switch_stack(void** save, void* load): keeps the registers that a call must preserve (System V
// ABI) on the old stack and takes them from the new. It ends with a jump instead of a return, whose target no
// return predictor could know. The floating-point control words are left as they are: no kernel changes them.
asm(R"(
.text
.globl caltrop_switch_stack
.hidden caltrop_switch_stack
.type caltrop_switch_stack, @function
caltrop_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
.size caltrop_switch_stack, .-caltrop_switch_stack
)");
extern "C" void caltrop_switch_stack(void** save, void* load);
#endif

namespace caltrop::emu {
namespace {

constexpr size_t kStack = size_t{1} << 18;  // pages that no kernel touches cost nothing
Fiber* left = nullptr;                      // the fiber of the last jump

}  // namespace

Fiber::Fiber(void (*entry)(), int stagger) : entry_(entry) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* block = mmap(nullptr, kStack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) fail("[emulation] no memory for the stack of a thread");
  mprotect(block, page, PROT_NONE);  // an overflow stops here
  stack_ = static_cast<char*>(block) + page;
  // Stacks that all began on a page boundary would compete for the same cache sets.
  top_ = kStack - static_cast<size_t>(stagger % 61) * 64;
  bottom_ = stack_;
  size_ = kStack;
  reset();
}

Fiber::~Fiber() {
  if (!stack_) return;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  unpoison(stack_, kStack);
  munmap(stack_ - page, kStack + page);
}

void Fiber::reset() {
  unpoison(stack_, kStack);  // frames that were abandoned leave their red zones behind
  fake_stack_ = nullptr;
#ifdef CALTROP_OWN_SWITCH
  // Six registers, the entry, and a null return address, at which debuggers end a backtrace; the ABI wants
  // rsp % 16 == 8 on entry.
  constexpr int kWords = 8;
  auto* words = reinterpret_cast<uint64_t*>(stack_ + top_) - kWords;
  std::memset(words, 0, kWords * sizeof(uint64_t));
  words[6] = reinterpret_cast<uint64_t>(entry_);
  pointer_ = words;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = top_;
  context_.uc_link = nullptr;
  makecontext(&context_, entry_, 0);
#endif
}

Fiber::Stack Fiber::stack() const {
  return {reinterpret_cast<uintptr_t>(stack_), stack_ ? kStack : 0};
}

void Fiber::arrived() {
  finish_switch(nullptr, &left->bottom_, &left->size_);
}

void Fiber::jump(Fiber& from, Fiber& to) {
  left = &from;
  start_switch(&from.fake_stack_, to.bottom_, to.size_);
#ifdef CALTROP_OWN_SWITCH
  caltrop_switch_stack(&from.pointer_, to.pointer_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
  finish_switch(from.fake_stack_, &left->bottom_, &left->size_);
}

}  // namespace caltrop::emu
