#include "kernels/emulation/trace.h"

namespace caltrop::emu {
namespace {

bool same(const uint3& a, const uint3& b) {
  return a.x == b.x && a.y == b.y && a.z == b.z;
}

}  // namespace

void ThreadTrace::launch_begins(const KernelCall& call) {
  kernel_ = kernel_name(call.kernel);
  ran_ = ran_ || (thread_.x < call.block.x && thread_.y < call.block.y && thread_.z < call.block.z &&
                  block_.x < call.grid.x && block_.y < call.grid.y && block_.z < call.grid.z);
}

bool ThreadTrace::is_it() {
  return same(threadIdx, thread_) && same(blockIdx, block_);
}

void ThreadTrace::add(const std::string& what, Place place, uintptr_t address, uint32_t bytes) {
  const Space space = shadow_.space_of(address);
  if (space != Space::shared && space != Space::global) return;
  steps_.push_back({line_of(place), kernel_, what, space, bytes, shadow_.name_of(address), address});
}

void ThreadTrace::access(const Access& access) {
  if (!is_it()) return;
  const char* what = access.kind == Kind::read ? "read" : access.kind == Kind::write ? "write" : "atomic";
  add(what, access.place, access.address, access.size);
}

void ThreadTrace::arrives(const char* name, Site site) {
  if (is_it()) steps_.push_back({{site.file, site.line, ""}, kernel_, name, Space::other, 0, "", 0});
}

void ThreadTrace::copy_issued(void* to, const void* from, size_t bytes, size_t valid, Site site) {
  if (!is_it()) return;
  if (valid > 0) {
    add("copy from", place_of(site), reinterpret_cast<uintptr_t>(from), static_cast<uint32_t>(valid));
  }
  add("copy to", place_of(site), reinterpret_cast<uintptr_t>(to), static_cast<uint32_t>(bytes));
}

void ThreadTrace::reads(const void* from, size_t bytes, Site site) {
  if (is_it()) {
    add("read", place_of(site), reinterpret_cast<uintptr_t>(from), static_cast<uint32_t>(bytes));
  }
}

}  // namespace caltrop::emu
