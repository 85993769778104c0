// Freed device blocks by size class, so that a loop in steady state asks the driver for nothing, and the
// blocks that graphs keep. Plain C++: where blocks come from is a parameter, and tests run it without a GPU.
// Order of use is the caller's: one cache serves one stream.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

namespace caltrop {

class BlockCache {
 public:
  struct Source {
    std::function<void*(size_t)> allocate;  // null when out of memory
    std::function<void(void*)> release;
  };
  explicit BlockCache(Source source);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  // Null when the source has none left, even after every cached block went back to it.
  void* take(size_t bytes);
  void give(void* block, size_t bytes);
  void release();  // cached blocks go back to the source

  // From begin to end all blocks that are taken or given belong to the reserve that end returns: they may
  // be used again inside, and return to the cache when the reserve dies and they were given back.
  class Reserve;
  void begin_reserve();
  std::shared_ptr<Reserve> end_reserve();

  size_t cached_bytes() const { return cached_; }
  static size_t rounded(size_t bytes);  // to the size of its class

 private:
  using Blocks = std::unordered_map<size_t, std::vector<void*>>;
  static void* pop(Blocks& blocks, size_t bytes);
  void retire(Reserve& reserve);

  Source source_;
  Blocks free_;
  size_t cached_ = 0;
  std::shared_ptr<Reserve> open_;
  std::unordered_map<void*, Reserve*> owner_;  // of blocks that belong to a reserve
};

class BlockCache::Reserve {
 public:
  explicit Reserve(BlockCache& cache) : cache_(cache) {}
  ~Reserve() { cache_.retire(*this); }
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;

 private:
  friend class BlockCache;
  BlockCache& cache_;
  Blocks free_;
};

}  // namespace caltrop
