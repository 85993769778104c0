// The cache of device blocks, over a source that counts.
#include "kernels/block_cache.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <set>

namespace caltrop::test {
namespace {

struct Counting {
  std::set<void*> blocks;
  int asked = 0;
  size_t room = 1 << 20;
  BlockCache::Source source() {
    return {[this](size_t bytes) -> void* {
              ++asked;
              if (bytes > room) return nullptr;
              room -= bytes;
              void* block = std::malloc(bytes + sizeof(size_t));
              *static_cast<size_t*>(block) = bytes;
              return *blocks.insert(block).first;
            },
            [this](void* block) {
              room += *static_cast<size_t*>(block);
              blocks.erase(block);
              std::free(block);
            }};
  }
};

TEST_SUITE("kernels") {
  TEST_CASE("device blocks in steady state come from the cache") {
    Counting counting;
    {
      BlockCache cache(counting.source());
      for (int round = 0; round < 10; ++round) {
        void* a = cache.take(1000);
        void* b = cache.take(1001);  // of the same class
        CHECK(a != b);
        cache.give(a, 1000);
        void* c = cache.take(1010);
        CHECK(c == a);
        cache.give(b, 1001);
        cache.give(c, 1010);
      }
      CHECK(counting.asked == 2);
      CHECK(cache.cached_bytes() == 2 * BlockCache::rounded(1000));
      for (const size_t bytes : {size_t{0}, size_t{1}, size_t{256}, size_t{257}, size_t{100000}}) {
        CHECK(BlockCache::rounded(bytes) >= bytes);
        CHECK(BlockCache::rounded(bytes) <= bytes + bytes / 8 + 256);
      }
    }
    CHECK(counting.blocks.empty());
  }

  TEST_CASE("a full device gives back its cache before it refuses") {
    Counting counting;
    BlockCache cache(counting.source());
    void* half = cache.take(size_t{1} << 19);
    cache.give(half, size_t{1} << 19);
    void* most = cache.take(size_t{3} << 18);
    CHECK(most != nullptr);
    CHECK(cache.cached_bytes() == 0);
    CHECK(cache.take(size_t{1} << 19) == nullptr);
    cache.give(most, size_t{3} << 18);
  }

  TEST_CASE("blocks of a graph stay its own while it lives") {
    Counting counting;
    BlockCache cache(counting.source());
    void* before = cache.take(512);
    cache.begin_reserve();
    void* inside = cache.take(512);
    cache.give(inside, 512);
    CHECK(cache.take(512) == inside);  // used again within the capture
    void* kept = cache.take(2048);     // a result: given back after the capture
    cache.give(inside, 512);
    cache.give(before, 512);
    auto graph = cache.end_reserve();
    void* other = cache.take(512);
    CHECK(other != inside);
    CHECK(other != before);
    cache.give(kept, 2048);
    void* large = cache.take(2048);
    CHECK(large != kept);
    CHECK(cache.cached_bytes() == 0);
    graph.reset();
    CHECK(cache.cached_bytes() == 2 * 512 + 2048);
    cache.give(other, 512);
    cache.give(large, 2048);
  }
}

}  // namespace
}  // namespace caltrop::test
