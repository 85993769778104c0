#include "kernels/block_cache.h"

#include <utility>

namespace caltrop {

size_t BlockCache::rounded(size_t bytes) {
  // Classes of an eighth of a power of two: few sizes, little waste.
  size_t step = 256;
  while (step * 16 <= bytes) step *= 2;
  return bytes == 0 ? step : (bytes + step - 1) / step * step;
}

BlockCache::BlockCache(Source source) : source_(std::move(source)) {}
BlockCache::~BlockCache() {
  open_.reset();
  release();
}

void* BlockCache::pop(Blocks& blocks, size_t bytes) {
  const auto found = blocks.find(bytes);
  if (found == blocks.end() || found->second.empty()) return nullptr;
  void* block = found->second.back();
  found->second.pop_back();
  return block;
}

void* BlockCache::take(size_t bytes) {
  const size_t size = rounded(bytes);
  void* block = open_ ? pop(open_->free_, size) : nullptr;
  if (block) return block;
  block = pop(free_, size);
  if (block) {
    cached_ -= size;
  } else {
    block = source_.allocate(size);
    if (!block) {
      release();
      block = source_.allocate(size);
    }
  }
  if (block && open_) owner_[block] = open_.get();
  return block;
}

void BlockCache::give(void* block, size_t bytes) {
  const size_t size = rounded(bytes);
  if (open_) owner_.try_emplace(block, open_.get());
  const auto owned = owner_.find(block);
  if (owned != owner_.end()) {
    owned->second->free_[size].push_back(block);
  } else {
    free_[size].push_back(block);
    cached_ += size;
  }
}

void BlockCache::release() {
  for (const auto& [bytes, blocks] : free_) {
    for (void* block : blocks) source_.release(block);
  }
  free_.clear();
  cached_ = 0;
}

void BlockCache::begin_reserve() {
  open_ = std::make_shared<Reserve>(*this);
}
std::shared_ptr<BlockCache::Reserve> BlockCache::end_reserve() {
  return std::exchange(open_, nullptr);
}

void BlockCache::retire(Reserve& reserve) {
  for (auto& [bytes, blocks] : reserve.free_) {
    for (void* block : blocks) {
      free_[bytes].push_back(block);
      cached_ += bytes;
    }
  }
  std::erase_if(owner_, [&](const auto& entry) { return entry.second == &reserve; });
}

}  // namespace caltrop
