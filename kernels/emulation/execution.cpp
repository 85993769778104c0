// The threads of one block at a time, as fibers. Waiting threads stand in a queue in the order of the
// schedule; a thread that has to wait jumps straight to the next one, and a fiber whose thread has ended
// starts the next thread on the same stack, so a kernel without barriers never switches.
#include "kernels/emulation/execution.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/emulation/fiber.h"
#include "kernels/error.h"

namespace caltrop::emu {

constexpr Fiber::Stack kEverything{0, SIZE_MAX};
Fiber::Stack running_stack = kEverything;

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {

constexpr int kLanes = 32;

struct PendingCopy {
  void* to;
  const void* from;
  size_t bytes, valid;
  int64_t group;
  bool copied = false;
};

struct Thread {
  enum class State : uint8_t { fresh, running, waiting, ended };
  uint3 index = {};
  State state = State::fresh;
  Fiber* fiber = nullptr;
  const char* waits_at = "";
  Site site;
  std::vector<PendingCopy> copies;
  int64_t groups = 0;
};

// Lanes that meet under one mask.
struct Meeting {
  uint32_t mask = 0, arrived = 0;
  const char* name = "";
  Site site;
  Complete complete = nullptr;
  void* records[kLanes] = {};
};

struct Warp {
  std::vector<Meeting> meetings;  // rarely more than one
  uint32_t ended = 0;             // lanes that have ended or never were
};

struct Barrier {
  int arrived = 0, count = 0;
  const char* name = "";
  Site site;
  int first = -1;  // thread that came first
  BarrierResult results[2] = {};
  int phase = 0;
};

// xorshift64*; Vigna: "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016
struct Shuffler {
  uint64_t state = 1;
  uint64_t below(uint64_t bound) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545F4914F6CDD1D >> 32) * bound >> 32;  // bound < 2^32
  }
};

Schedule schedule;
Observer* observer = nullptr;
Site skipped;
Shuffler shuffler;

const KernelCall* call = nullptr;  // null outside kernels
std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<int> order;  // all threads, as the schedule has them
std::vector<int> queue;  // a ring of threads that can go on; each is in it at most once
size_t queue_head = 0, queue_size = 0;
int current = -1;
int ended = 0;
int64_t block_count = 0, blocks_done = 0;
std::vector<int64_t> block_order;
Barrier barrier;
void* shared_block = nullptr;
std::exception_ptr failure;

Fiber host;
std::vector<std::unique_ptr<Fiber>> all_fibers;
std::vector<Fiber*> free_fibers;
Fiber* running_fiber = nullptr;

int threads_per_block() {
  return static_cast<int>(threads.size());
}

void push(int thread) {
  queue[(queue_head + queue_size++) % queue.size()] = thread;
}
int pop() {
  const int thread = queue[queue_head];
  queue_head = (queue_head + 1) % queue.size();
  --queue_size;
  return thread;
}

template <typename List>
void arrange(List& list) {
  if (schedule.order == Order::reverse) std::reverse(list.begin(), list.end());
  if (schedule.order != Order::shuffled) return;
  for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[shuffler.below(i)]);
}

void thread_main();

Fiber* take_fiber() {
  if (free_fibers.empty()) {
    all_fibers.push_back(std::make_unique<Fiber>(thread_main, static_cast<int>(all_fibers.size())));
    return all_fibers.back().get();
  }
  Fiber* fiber = free_fibers.back();
  free_fibers.pop_back();
  return fiber;
}

void jump_to(Fiber* fiber) {
  Fiber* from = running_fiber;
  running_fiber = fiber;
  running_stack = fiber->stack();
  Fiber::jump(*from, *fiber);
}

void become(int thread) {
  current = thread;
  threads[static_cast<size_t>(thread)].state = Thread::State::running;
  threadIdx = threads[static_cast<size_t>(thread)].index;
}

std::string waiting_threads() {
  std::string text;
  int named = 0;
  for (int t = 0; t < threads_per_block(); ++t) {
    const Thread& thread = threads[static_cast<size_t>(t)];
    if (thread.state != Thread::State::waiting) continue;
    if (++named > 4) continue;
    text += fmt::format("{}{} in {} at {}", text.empty() ? "" : ", ", describe_thread(t), thread.waits_at,
                        thread.site.text());
  }
  if (named > 4) text += fmt::format(" and {} more", named - 4);
  return text;
}

// The running thread waits: others go on until it is released.
void wait() {
  Thread& self = threads[static_cast<size_t>(current)];
  const int me = current;
  if (queue_size == 0) fail_in_kernel("deadlock: no thread can go on; waiting are " + waiting_threads());
  const int next = pop();
  Thread& other = threads[static_cast<size_t>(next)];
  const bool fresh = other.state == Thread::State::fresh;
  become(next);
  if (next == me) return;
  self.fiber = running_fiber;
  jump_to(fresh ? take_fiber() : other.fiber);
}

bool is_skipped(Site site) {
  return skipped.line == site.line && std::strcmp(skipped.file, site.file) == 0;
}

void copy_now(PendingCopy& copy) {
  if (std::exchange(copy.copied, true)) return;
  std::memmove(copy.to, copy.from, copy.valid);  // no overlap; not memcpy, which an access checker replaces
  std::memset(static_cast<char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
}

void finish_meeting(Warp& warp, size_t at) {
  const Meeting meeting = warp.meetings[at];
  warp.meetings.erase(warp.meetings.begin() + static_cast<std::ptrdiff_t>(at));
  meeting.complete(meeting.records, meeting.arrived);
  const int first = static_cast<int>(&warp - warps.data()) * kLanes;
  if (observer && std::strcmp(meeting.name, "__syncwarp") == 0)
    observer->warp_synchronized(first / kLanes, meeting.arrived);
  int released[kLanes], count = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (meeting.arrived >> lane & 1u) released[count++] = first + lane;
  }
  if (schedule.order == Order::reverse) std::reverse(released, released + count);
  if (schedule.order == Order::shuffled) {
    for (int i = count; i > 1; --i)
      std::swap(released[i - 1], released[shuffler.below(static_cast<uint64_t>(i))]);
  }
  for (int i = 0; i < count; ++i) push(released[i]);
}

void end_thread() {
  Thread& self = threads[static_cast<size_t>(current)];
  for (PendingCopy& copy : self.copies) copy_now(copy);  // they land sooner or later
  self.copies.clear();
  self.state = Thread::State::ended;
  ++ended;
  if (barrier.arrived > 0) {
    fail_in_kernel(fmt::format("{} ends while {} waits in {} at {}", describe_thread(current),
                               describe_thread(barrier.first), barrier.name, barrier.site.text()));
  }
  Warp& warp = warps[static_cast<size_t>(current / kLanes)];
  warp.ended |= 1u << current % kLanes;
  for (size_t i = warp.meetings.size(); i-- > 0;) {
    if (warp.meetings[i].arrived == (warp.meetings[i].mask & ~warp.ended)) finish_meeting(warp, i);
  }
}

void begin_block() {
  const int64_t index = block_order.empty() ? blocks_done : block_order[static_cast<size_t>(blocks_done)];
  blockIdx.x = static_cast<unsigned>(index % gridDim.x);
  blockIdx.y = static_cast<unsigned>(index / gridDim.x % gridDim.y);
  blockIdx.z = static_cast<unsigned>(index / gridDim.x / gridDim.y);
  // NaN in every float that the kernel does not write before it reads.
  if (shared_block) std::memset(shared_block, 0xFF, call->shared_bytes);
  for (Thread& thread : threads) {
    thread.state = Thread::State::fresh;
    thread.groups = 0;
  }
  for (size_t w = 0; w < warps.size(); ++w) {
    const size_t lanes = std::min<size_t>(kLanes, threads.size() - w * kLanes);
    warps[w].ended = lanes == kLanes ? 0 : ~0u << lanes;
    warps[w].meetings.clear();
  }
  barrier = {};
  ended = 0;
  queue_head = queue_size = 0;
  if (schedule.order == Order::shuffled) arrange(order);
  for (const int thread : order) push(thread);
  if (observer) observer->block_begins();
}

// What the running fiber does after its thread has ended: returns with a fresh thread to run, or lets
// another fiber go on and returns when this one is needed again.
void next_thread() {
  if (queue_size == 0 && ended == threads_per_block()) {
    if (++blocks_done < block_count) {
      begin_block();
    } else {
      free_fibers.push_back(running_fiber);
      return jump_to(&host);
    }
  }
  if (queue_size == 0) fail_in_kernel("deadlock: no thread can go on; waiting are " + waiting_threads());
  const int next = pop();
  Thread& other = threads[static_cast<size_t>(next)];
  const bool fresh = other.state == Thread::State::fresh;
  become(next);
  if (fresh) return;
  free_fibers.push_back(running_fiber);
  jump_to(other.fiber);
}

void thread_main() {
  Fiber::arrived();
  for (;;) {
    try {
      call->thread();
      end_thread();
      next_thread();
      continue;
    } catch (...) {
      failure = std::current_exception();
    }
    jump_to(&host);  // outside the handler: the C++ runtime keeps caught exceptions by OS thread
  }
}

void check_call(const KernelCall& kernel) {
  const auto bad = [&](const std::string& what) {
    fail("[{}] {}", kernel.op, what);
  };
  const int64_t size = int64_t{kernel.block.x} * kernel.block.y * kernel.block.z;
  if (size < 1 || size > 1024 || kernel.block.z > 64)
    bad(fmt::format("expected a block of 1 to 1024 threads, got {} x {} x {}", kernel.block.x, kernel.block.y,
                    kernel.block.z));
  if (kernel.grid.x > 0x7FFFFFFFu || kernel.grid.y > 65535 || kernel.grid.z > 65535)
    bad(fmt::format("expected a grid of at most 2147483647 x 65535 x 65535 blocks, got {} x {} x {}",
                    kernel.grid.x, kernel.grid.y, kernel.grid.z));
  // The most that a block has on compute capability 8.6, 8.9 and 12.0.
  if (kernel.shared_bytes > 99 * 1024)
    bad(fmt::format("expected at most 101376 bytes of dynamic shared memory, got {}", kernel.shared_bytes));
  if (call) bad("expected a launch from the host, got one from inside a kernel");
}

void begin_call(const KernelCall& kernel) {
  check_call(kernel);
  call = &kernel;
  gridDim = kernel.grid;
  blockDim = kernel.block;
  const size_t count = size_t{blockDim.x} * blockDim.y * blockDim.z;
  threads.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const auto linear = static_cast<unsigned>(i);
    threads[i].index = {linear % blockDim.x, linear / blockDim.x % blockDim.y,
                        linear / blockDim.x / blockDim.y};
    threads[i].copies.clear();
  }
  warps.resize((count + kLanes - 1) / kLanes);
  order.resize(count);
  std::iota(order.begin(), order.end(), 0);
  arrange(order);
  queue.resize(count);
  shuffler.state = schedule.seed * 2 + 1;
  block_count = int64_t{gridDim.x} * gridDim.y * gridDim.z;
  blocks_done = 0;
  block_order.clear();
  if (schedule.order != Order::forward) {
    block_order.resize(static_cast<size_t>(block_count));
    std::iota(block_order.begin(), block_order.end(), 0);
    arrange(block_order);
  }
  // Of exactly the size that was asked for, so that AddressSanitizer sees an overrun.
  if (kernel.shared_bytes > 0 && posix_memalign(&shared_block, 128, kernel.shared_bytes) != 0)
    fail("[{}] no memory for {} bytes of shared memory", kernel.op, kernel.shared_bytes);
}

void end_call() {
  std::free(shared_block);
  shared_block = nullptr;
  call = nullptr;
  current = -1;
}

}  // namespace

std::string Site::text() const {
  const char* name = std::strrchr(file, '/');
  return fmt::format("{}:{}", name ? name + 1 : file, line);
}

void set_schedule(const Schedule& chosen) {
  schedule = chosen;
}
Schedule current_schedule() {
  return schedule;
}
void set_observer(Observer* chosen) {
  observer = chosen;
}
Observer* current_observer() {
  return observer;
}
void skip_at(Site site) {
  skipped = site;
}
bool inside_kernel() {
  return call != nullptr;
}
int current_thread() {
  return current;
}
int current_lane() {
  return current % kLanes;
}
void* dynamic_shared_block() {
  if (!shared_block) fail_in_kernel("dynamic_shared() in a launch that asked for none");
  return shared_block;
}
size_t dynamic_shared_bytes() {
  return call ? call->shared_bytes : 0;
}
std::string describe_thread(int linear) {
  const uint3 t = threads[static_cast<size_t>(linear)].index;
  return fmt::format("thread ({},{},{}) of block ({},{},{})", t.x, t.y, t.z, blockIdx.x, blockIdx.y,
                     blockIdx.z);
}

void fail_in_kernel(const std::string& what) {
  fail("[{}] {}", call->op, what);
}

void run_kernel(const KernelCall& kernel) {
  begin_call(kernel);
  if (observer) observer->launch_begins(kernel);
  begin_block();
  become(pop());
  failure = nullptr;
  running_fiber = &host;
  jump_to(take_fiber());
  running_fiber = nullptr;
  running_stack = kEverything;
  if (failure) {
    // Threads that still wait are abandoned where they stand.
    free_fibers.clear();
    for (const std::unique_ptr<Fiber>& fiber : all_fibers) {
      fiber->reset();
      free_fibers.push_back(fiber.get());
    }
    end_call();
    if (observer) observer->launch_ends(true);
    std::rethrow_exception(std::exchange(failure, nullptr));
  }
  end_call();
  if (observer) observer->launch_ends(false);
}

BarrierResult block_barrier(const char* name, Site site, int predicate) {
  if (observer) observer->arrives(name, site);
  if (is_skipped(site)) return {predicate != 0, predicate != 0, predicate != 0};
  if (barrier.arrived == 0) {
    barrier.name = name;
    barrier.site = site;
    barrier.first = current;
    barrier.count = 0;
  } else if (barrier.site.line != site.line || std::strcmp(barrier.site.file, site.file) != 0) {
    fail_in_kernel(fmt::format("divergent barrier: {} waits in {} at {}, {} in {} at {}",
                               describe_thread(barrier.first), barrier.name, barrier.site.text(),
                               describe_thread(current), name, site.text()));
  }
  if (ended > 0) {
    fail_in_kernel(fmt::format("{} waits in {} at {}, where {} that ended will never come",
                               describe_thread(current), name, site.text(),
                               ended == 1 ? "a thread" : "threads"));
  }
  ++barrier.arrived;
  barrier.count += predicate != 0;
  Thread& self = threads[static_cast<size_t>(current)];
  self.state = Thread::State::waiting;
  self.waits_at = name;
  self.site = site;
  // A thread that is released may arrive at the next barrier before others have read this one's result.
  const int phase = barrier.phase;
  if (barrier.arrived == threads_per_block()) {
    barrier.results[phase] = {barrier.count, barrier.count == barrier.arrived, barrier.count > 0};
    barrier.arrived = 0;
    barrier.phase ^= 1;
    if (observer) observer->block_synchronized();
    if (schedule.order == Order::shuffled) arrange(order);
    for (const int thread : order) push(thread);
  }
  wait();
  return barrier.results[phase];
}

void warp_meet(const char* name, uint32_t mask, void* record, Complete complete, Site site) {
  if (observer) observer->arrives(name, site);
  if (is_skipped(site) && std::strcmp(name, "__syncwarp") == 0) return;
  const int lane = current_lane();
  Warp& warp = warps[static_cast<size_t>(current / kLanes)];
  if (!(mask >> lane & 1u)) {
    fail_in_kernel(fmt::format("{} calls {} at {} with the mask {:#010x}, which lacks its own lane {}",
                               describe_thread(current), name, site.text(), mask, lane));
  }
  size_t at = 0;
  while (at < warp.meetings.size() && warp.meetings[at].mask != mask) ++at;
  if (at == warp.meetings.size()) {
    warp.meetings.push_back({mask, 0, name, site, complete, {}});
  } else if (warp.meetings[at].complete != complete && std::strcmp(warp.meetings[at].name, name) != 0) {
    fail_in_kernel(fmt::format("lanes of one mask meet in different operations: {} at {}, and {} in {} at {}",
                               warp.meetings[at].name, warp.meetings[at].site.text(),
                               describe_thread(current), name, site.text()));
  }
  Meeting& meeting = warp.meetings[at];
  meeting.records[lane] = record;
  meeting.arrived |= 1u << lane;
  Thread& self = threads[static_cast<size_t>(current)];
  self.state = Thread::State::waiting;
  self.waits_at = name;
  self.site = site;
  if (meeting.arrived == (mask & ~warp.ended)) finish_meeting(warp, at);
  wait();
}

void async_copy(void* to, const void* from, size_t bytes, size_t valid, Site site) {
  Thread& self = threads[static_cast<size_t>(current)];
  const auto misaligned = [bytes](const void* address) {
    return reinterpret_cast<uintptr_t>(address) % bytes != 0;
  };
  if (misaligned(to) || (valid > 0 && misaligned(from))) {
    fail_in_kernel(fmt::format("{} copies {} bytes at {} between addresses that are not aligned to as many",
                               describe_thread(current), bytes, site.text()));
  }
  if (observer) observer->copy_issued(to, from, bytes, valid, site);
  PendingCopy copy{to, from, bytes, valid, self.groups};
  if (!schedule.late_copies) copy_now(copy);
  self.copies.push_back(copy);
}

void async_commit() {
  ++threads[static_cast<size_t>(current)].groups;
}

void async_wait(int groups_in_flight, Site site) {
  if (observer) observer->arrives("cp_async_wait", site);
  if (is_skipped(site)) return;
  Thread& self = threads[static_cast<size_t>(current)];
  const int64_t finished = self.groups - groups_in_flight;  // groups before this one are done
  size_t kept = 0;
  for (PendingCopy& copy : self.copies) {
    if (copy.group < finished) {
      copy_now(copy);
      if (observer) observer->copy_arrived(copy.to, copy.bytes);
    } else {
      self.copies[kept++] = copy;
    }
  }
  self.copies.resize(kept);
}

}  // namespace caltrop::emu
