// What is known of each word of shared and global memory: who wrote it last, who has read it since. One cell
// stands for four bytes; where bytes are accessed singly, a cell holds one cell for each of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/emulation/access.h"

namespace caltrop::emu {

// Time is counted in intervals: a number that grows with each block and each block-wide barrier, so that one
// number tells the launch, the block and the interval between two barriers; and, for each thread, in the
// meetings of its warp at __syncwarp within the block.
struct CellState {
  // The last write, and whether it was an atomic, or a cp.async that no one has waited for yet.
  uint32_t write_interval = 0, write_meeting = 0, write_place = 0;
  // The reads of one interval: the warps that read, the lanes of the last of them at its latest meeting, and
  // the lines of the last reader and of the last one that is another thread. Enough to decide for any writer
  // whether someone else may be reading.
  uint32_t read_interval = 0, read_meeting = 0, read_place = 0, other_place = 0, warps = 0, lanes = 0;
  // The last read by another block than the one of read_interval.
  uint32_t foreign_interval = 0, foreign_place = 0;
  uint16_t write_thread = 0, read_thread = 0, other_thread = 0, foreign_thread = 0;
  bool atomic = false, in_flight = false;
  Space space = Space::unknown;
};
struct Cell : CellState {
  std::unique_ptr<std::array<CellState, 4>> bytes;
};

class Shadow {
 public:
  // `block` of dynamic shared memory serves until the next call.
  void set_dynamic(const void* block, size_t bytes);
  // Memory may have changed hands since the last launch; what is known of global memory does not matter to
  // the next, and is dropped when it has become much.
  void next_launch();

  // The cell of the word at `address`, a multiple of 4; null where it is neither shared nor global memory.
  Cell* find(uintptr_t address);
  // Calls visit(cell) for every cell that the access touches, a word or a byte of it.
  template <typename Visit>
  void visit(uintptr_t address, size_t size, const Visit& visit);

  Space space_of(uintptr_t address);
  // "tile+12", "dynamic shared memory+512", "block of 4096 bytes+8".
  std::string name_of(uintptr_t address) const;

 private:
  static constexpr size_t kPageWords = 1024, kSlots = 4096, kMostPages = 2048;
  using Page = std::array<Cell, kPageWords>;

  Page* page_of(uintptr_t number);
  Space resolve(uintptr_t address) const;

  std::vector<Cell> dynamic_;
  uintptr_t dynamic_base_ = 0;
  size_t dynamic_bytes_ = 0;
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  std::array<std::pair<uintptr_t, Page*>, kSlots> slots_{};
  std::array<uintptr_t, kSlots> negatives_{};  // pages that hold nothing of interest
};

inline Cell* Shadow::find(uintptr_t address) {
  if (address - dynamic_base_ < dynamic_bytes_) return &dynamic_[(address - dynamic_base_) / 4];
  const uintptr_t number = address / (4 * kPageWords);
  const auto& slot = slots_[number % kSlots];
  Page* page = slot.first == number ? slot.second : page_of(number);
  if (page == nullptr) return nullptr;
  Cell& cell = (*page)[address / 4 % kPageWords];
  if (cell.space == Space::unknown) cell.space = resolve(address);
  return cell.space == Space::shared || cell.space == Space::global ? &cell : nullptr;
}

template <typename Visit>
void Shadow::visit(uintptr_t address, size_t size, const Visit& visit) {
  const uintptr_t end = address + size;
  Cell* cell = nullptr;
  while (address < end) {
    const uintptr_t word = address & ~uintptr_t{3};
    // Cells of a page, and of one array, follow one another.
    const bool follows = cell != nullptr && word % (4 * kPageWords) != 0 && cell[1].space == cell->space;
    cell = follows ? cell + 1 : find(word);
    const uintptr_t last = end < word + 4 ? end : word + 4;
    if (cell == nullptr) {
      address = last;
      continue;
    }
    const bool whole = address == word && last == word + 4;
    if (whole && cell->bytes == nullptr) {
      visit(static_cast<CellState&>(*cell));
    } else {
      if (cell->bytes == nullptr) {
        cell->bytes = std::make_unique<std::array<CellState, 4>>();
        cell->bytes->fill(*cell);
      }
      for (; address < last; ++address) visit((*cell->bytes)[address - word]);
    }
    address = last;
  }
}

}  // namespace caltrop::emu
