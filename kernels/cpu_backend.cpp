// Memory and threads of the CPU backend.

#include "kernels/cpu_backend.h"

#include "kernels/conv_shape.h"

#include <hwy/highway.h>
#include <tbb/info.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <unordered_map>
#include <vector>

#include "kernels/error.h"
#include "kernels/parallel.h"

#if defined(__SANITIZE_ADDRESS__)
#define CALTROP_PLAIN_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CALTROP_PLAIN_MALLOC 1
#endif
#endif

namespace caltrop {
namespace {

constexpr size_t kAlignment = 64;

[[maybe_unused]] size_t rounded(size_t bytes) {  // not under a sanitizer
  // Classes of an eighth of a power of two: few sizes, little waste.
  size_t step = kAlignment;
  while (step * 16 <= bytes) step *= 2;
  return bytes == 0 ? kAlignment : (bytes + step - 1) / step * step;
}

void* fresh(size_t bytes) {
  void* block = std::aligned_alloc(kAlignment, bytes);
  if (!block) fail("[memory] out of memory: {} bytes were asked for", bytes);
  return block;
}

// Freed blocks by size, one cache per thread: a training or attack loop in steady state allocates nothing.
// A thread keeps at most kLimit bytes.
class Cache {
 public:
  Cache() = default;
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;
  ~Cache() {
    closed() = true;
    for (auto& [bytes, blocks] : free_) {
      for (void* block : blocks) std::free(block);
    }
  }

  void* take(size_t bytes) {
    const auto found = free_.find(bytes);
    if (found == free_.end() || found->second.empty()) return fresh(bytes);
    void* block = found->second.back();
    found->second.pop_back();
    kept_ -= bytes;
    return block;
  }

  void give(void* block, size_t bytes) {
    if (kept_ + bytes > kLimit) return std::free(block);
    free_[bytes].push_back(block);
    kept_ += bytes;
  }

  // Blocks may outlive the cache of an ending thread.
  static bool& closed() {
    static thread_local bool closed = false;
    return closed;
  }
  static Cache& here() {
    static thread_local Cache cache;
    return cache;
  }

 private:
  static constexpr size_t kLimit = size_t{2} << 30;
  std::unordered_map<size_t, std::vector<void*>> free_;
  size_t kept_ = 0;
};

int chosen_threads = 0;
const char* target_name = "";

int cores() {
  static const int count = std::max(1, tbb::info::default_concurrency());
  return count;
}

}  // namespace

int cpu_threads() {
  return chosen_threads > 0 ? chosen_threads : cores();
}

tbb::task_arena& cpu_arena() {
  static tbb::task_arena arena(std::min(cpu_threads(), cores()));
  return arena;
}

void set_cpu_threads(int threads) {
  chosen_threads = threads;
  cpu_arena().terminate();
  // More threads than cores would add nothing, and oneTBB warns of them.
  cpu_arena().initialize(std::min(cpu_threads(), cores()));
}

Backend& cpu_backend() {
  static auto* backend = new CpuBackend;  // never destroyed: tensors in statics may outlive main
  return *backend;
}

std::vector<CpuTarget> cpu_targets() {
  std::vector<CpuTarget> targets;
  for (int64_t rest = HWY_TARGETS; rest != 0; rest &= rest - 1) {  // lower bits are better
    targets.push_back({hwy::TargetName(rest & -rest), (hwy::SupportedTargets() & rest & -rest) != 0});
  }
  return targets;
}

void set_cpu_target(const std::string& name) {
  for (int64_t rest = HWY_TARGETS & hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
    if (!name.empty() && name != hwy::TargetName(rest & -rest)) continue;
    target_name = hwy::TargetName(rest & -rest);
    return hwy::GetChosenTarget().Update(rest & -rest);
  }
  fail("[cpu] expected a target that this machine supports, got '{}'", name);
}

CpuBackend::CpuBackend() {
  set_cpu_target("");
}

std::string CpuBackend::description() const {
  return fmt::format("{}, {} thread{}", target_name, cpu_threads(), cpu_threads() == 1 ? "" : "s");
}

void* CpuBackend::allocate(size_t bytes) {
#ifdef CALTROP_PLAIN_MALLOC
  // Exact sizes from malloc itself, so that AddressSanitizer sees every overrun and every use after free.
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes == 0 ? 1 : bytes) != 0)
    fail("[memory] out of memory: {} bytes were asked for", bytes);
  return block;
#else
  const size_t size = rounded(bytes);
  return Cache::closed() ? fresh(size) : Cache::here().take(size);
#endif
}

void CpuBackend::deallocate(void* block, size_t bytes) noexcept {
#ifdef CALTROP_PLAIN_MALLOC
  (void)bytes;
  std::free(block);
#else
  if (Cache::closed()) return std::free(block);
  Cache::here().give(block, rounded(bytes));
#endif
}

void CpuBackend::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void CpuBackend::upload(void* device, const void* host, size_t bytes) {
  copy(device, host, bytes);
}
void CpuBackend::download(void* host, const void* device, size_t bytes) {
  copy(host, device, bytes);
}

void CpuBackend::for_each(int64_t count, const std::function<void(int64_t)>& body) {
  parallel_for(count, body);
}

std::unique_ptr<Replay> CpuBackend::capture(std::function<void()> body) {
  return std::make_unique<RepeatedCalls>(std::move(body));
}

int64_t CpuBackend::chunk(int64_t floats, int64_t weights) const {
  constexpr int64_t kCacheFloats = 512 * 1024 / sizeof(float);  // half of the second-level cache
  constexpr int64_t kWeights = 64 * 1024;                       // that an image pays for
  const int64_t enough = std::clamp<int64_t>(weights / kWeights, 4, 32);
  const int64_t images = std::clamp<int64_t>(kCacheFloats / std::max<int64_t>(1, floats), enough, 64);
  // Whole vectors of any target, along which a dense layer computes few images.
  return images > 16 ? whole_vectors(images) : images;
}

void CpuBackend::fill(float value, float* y, int64_t count) {
  std::fill_n(y, count, value);
}

}  // namespace caltrop
