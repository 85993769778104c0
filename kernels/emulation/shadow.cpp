#include "kernels/emulation/shadow.h"

#include <link.h>

#include "kernels/emulation/memory.h"
#include "kernels/emulation/source_lines.h"

namespace caltrop::emu {
namespace {

struct Range {
  uintptr_t first = 0, end = 0;
  bool holds(uintptr_t address) const { return address >= first && address < end; }
};

// The writable data of the program itself: static shared arrays are there, among other things.
const std::vector<Range>& writable_data() {
  static const std::vector<Range> ranges = [] {
    std::vector<Range> found;
    const auto add = [](dl_phdr_info* info, size_t, void* data) {
      for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& header = info->dlpi_phdr[i];
        if (header.p_type != PT_LOAD || !(header.p_flags & PF_W)) continue;
        const uintptr_t first = info->dlpi_addr + header.p_vaddr;
        static_cast<std::vector<Range>*>(data)->push_back({first, first + header.p_memsz});
      }
      return 1;  // the first object is the program; its libraries hold no kernels
    };
    dl_iterate_phdr(add, &found);
    return found;
  }();
  return ranges;
}

bool in_writable_data(uintptr_t address) {
  for (const Range& range : writable_data()) {
    if (range.holds(address)) return true;
  }
  return false;
}

// A static inside a function of this namespace is a __shared__ array: kernels have no others.
bool is_shared_variable(const Symbol& symbol) {
  return symbol.mangled.starts_with("_ZZN7caltrop3emu");
}

}  // namespace

void Shadow::set_dynamic(const void* block, size_t bytes) {
  dynamic_base_ = reinterpret_cast<uintptr_t>(block);
  dynamic_bytes_ = bytes;
  // What earlier blocks left in the cells is older than any interval of this one.
  const size_t before = dynamic_.size();
  if (before < bytes / 4 + 2) dynamic_.resize(bytes / 4 + 2);  // one more, which visit() may look at
  for (size_t i = before; i < dynamic_.size(); ++i) dynamic_[i].space = Space::shared;
}

Shadow::Page* Shadow::page_of(uintptr_t number) {
  auto& slot = slots_[number % kSlots];
  if (negatives_[number % kSlots] == number) return nullptr;
  auto found = pages_.find(number);
  if (found == pages_.end()) {
    const uintptr_t first = number * 4 * kPageWords;
    bool interesting = in_writable_data(first) || in_writable_data(first + 4 * kPageWords - 1);
    interesting = interesting || device_memory_in(reinterpret_cast<const void*>(first), 4 * kPageWords);
    if (!interesting) {
      negatives_[number % kSlots] = number;
      return nullptr;
    }
    found = pages_.emplace(number, std::make_unique<Page>()).first;
  }
  slot = {number, found->second.get()};
  return slot.second;
}

Space Shadow::resolve(uintptr_t address) const {
  if (in_writable_data(address)) {
    return is_shared_variable(symbol_at(address)) ? Space::shared : Space::other;
  }
  // Other memory of the host may become the device's later.
  const DeviceBlock block = device_block(reinterpret_cast<const void*>(address));
  return address - reinterpret_cast<uintptr_t>(block.begin) < block.bytes ? Space::global : Space::unknown;
}

void Shadow::next_launch() {
  negatives_.fill(0);
  if (pages_.size() < kMostPages) return;
  // Pages of the program's own data stay: finding out which of it is shared takes long.
  std::erase_if(pages_, [](const auto& page) { return !in_writable_data(page.first * 4 * kPageWords); });
  slots_.fill({0, nullptr});
}

Space Shadow::space_of(uintptr_t address) {
  const Cell* cell = find(address & ~uintptr_t{3});
  return cell == nullptr ? Space::other : cell->space;
}

std::string Shadow::name_of(uintptr_t address) const {
  if (address - dynamic_base_ < dynamic_bytes_) {
    return "dynamic shared memory+" + std::to_string(address - dynamic_base_);
  }
  if (in_writable_data(address)) {
    const Symbol symbol = symbol_at(address);
    return variable_name(symbol) + "+" + std::to_string(address - symbol.address);
  }
  const DeviceBlock block = device_block(reinterpret_cast<const void*>(address));
  return "block of " + std::to_string(block.bytes) + " bytes+" +
         std::to_string(address - reinterpret_cast<uintptr_t>(block.begin));
}

}  // namespace caltrop::emu
