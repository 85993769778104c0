#include "kernels/emulation/check.h"

#include <algorithm>

#include "kernels/error.h"

namespace caltrop::emu {
namespace {

constexpr unsigned kLanes = 32;
constexpr size_t kMostShown = 8;               // findings in an error's text
constexpr uint32_t kMostIntervals = 1u << 31;  // then the count starts again, with an empty shadow

std::string coordinates(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
}

}  // namespace

void AccessChecker::launch_begins(const KernelCall& call) {
  if (interval_ > kMostIntervals) {
    shadow_ = Shadow();
    interval_ = 1;
  }
  op_ = call.op;
  grid_ = call.grid;
  block_ = call.block;
  launch_first_ = ++interval_;
  block_first_ = interval_;
  blocks_.clear();
  shadow_.next_launch();
}

void AccessChecker::launch_ends(bool failed) {
  settle_unwritten();
  if (failed || mode_ == Mode::collect || reported_ == findings_.size()) return;
  std::string text;
  for (size_t i = reported_; i < std::min(findings_.size(), reported_ + kMostShown); ++i) {
    text += (text.empty() ? "" : "\n") + findings_[i].text;
  }
  const size_t more = findings_.size() - std::min(findings_.size(), reported_ + kMostShown);
  if (more > 0) text += "\nand " + std::to_string(more) + " more";
  reported_ = findings_.size();
  fail("{}", text);
}

void AccessChecker::block_begins() {
  block_first_ = ++interval_;
  blocks_.emplace_back(interval_, blockIdx);
  meetings_.assign(static_cast<size_t>(block_.x) * block_.y * block_.z, 0);
  const size_t bytes = dynamic_shared_bytes();
  shadow_.set_dynamic(bytes > 0 ? dynamic_shared_block() : nullptr, bytes);
}

void AccessChecker::block_synchronized() {
  ++interval_;
}

void AccessChecker::warp_synchronized(int warp, uint32_t lanes) {
  const size_t first = static_cast<size_t>(warp) * kLanes, end = std::min(first + kLanes, meetings_.size());
  uint32_t next = 0;
  for (size_t i = first; i < end; ++i) {
    if (lanes >> (i - first) & 1) next = std::max(next, meetings_[i] + 1);
  }
  for (size_t i = first; i < end; ++i) {
    if (lanes >> (i - first) & 1) meetings_[i] = next;
  }
}

bool AccessChecker::concurrent(uint32_t interval, uint32_t meeting, unsigned thread, const Now& now,
                               Space space) const {
  if (interval < launch_first_) return false;
  if (interval < block_first_) return space == Space::global;
  if (interval < interval_ || thread == now.thread) return false;
  return thread / kLanes != now.thread / kLanes || meeting >= now.meeting;
}

std::string AccessChecker::thread_text(unsigned thread, uint32_t interval) const {
  const auto next = std::upper_bound(blocks_.begin(), blocks_.end(), interval,
                                     [](uint32_t value, const auto& entry) { return value < entry.first; });
  const uint3 at = next == blocks_.begin() ? blockIdx : std::prev(next)->second;
  return "thread " +
         coordinates(thread % block_.x, thread / block_.x % block_.y, thread / block_.x / block_.y) +
         " of block " + coordinates(at.x, at.y, at.z);
}

void AccessChecker::report(Finding::What what, Place first_place, unsigned first_thread,
                           uint32_t first_interval, bool first_writes, const Now& now) {
  if (!known_.emplace(static_cast<uint64_t>(first_place) << 32 | now.place, static_cast<int>(what)).second)
    return;
  Finding finding{what, {}, line_of(now.place), ""};
  const bool shared = shadow_.space_of(now.address) == Space::shared;
  const std::string memory = (shared ? "shared memory " : "global memory ") + shadow_.name_of(now.address);
  const char* does = now.kind == Kind::read    ? "reads"
                     : now.kind == Kind::write ? "writes"
                                               : "atomically changes";
  const std::string second =
      thread_text(now.thread, interval_) + " " + does + " it at " + finding.second.text();
  if (what == Finding::What::uninitialised) {
    finding.text = fmt::format("[{}] {} was not written by this block: {}", op_, memory, second);
  } else {
    finding.first = line_of(first_place);
    const char* between = "no __syncthreads() between";
    if (what == Finding::What::between_blocks) {
      between = "nothing orders blocks";
    } else if (what == Finding::What::in_flight) {
      between = "the copy was not waited for";
    } else if (first_thread / kLanes == now.thread / kLanes) {
      between = "no __syncwarp() or __syncthreads() between";
    }
    finding.text = fmt::format("[{}] race on {}: {} {} it at {}, {}: {}", op_, memory,
                               thread_text(first_thread, first_interval),
                               what == Finding::What::in_flight ? "copies to"
                               : first_writes                   ? "writes"
                                                                : "reads",
                               finding.first.text(), second, between);
  }
  (what == Finding::What::uninitialised ? unwritten_ : findings_).push_back(std::move(finding));
}

// A word that was read before another thread wrote it, without a barrier, is a race and nothing else.
void AccessChecker::settle_unwritten() {
  for (Finding& finding : unwritten_) {
    const bool races = std::any_of(findings_.begin(), findings_.end(), [&](const Finding& race) {
      return race.what == Finding::What::race &&
             (race.first == finding.second || race.second == finding.second);
    });
    if (!races) findings_.push_back(std::move(finding));
  }
  unwritten_.clear();
}

void AccessChecker::check_readers(CellState& cell, const Now& now) {
  const auto conflict = [&](Place place, unsigned thread, uint32_t interval) {
    const bool elsewhere = interval < block_first_;
    report(elsewhere ? Finding::What::between_blocks : Finding::What::race, place, thread, interval, false,
           now);
  };
  if (concurrent(cell.foreign_interval, 0, cell.foreign_thread, now, cell.space) &&
      cell.foreign_interval < block_first_) {
    conflict(cell.foreign_place, cell.foreign_thread, cell.foreign_interval);
  }
  if (cell.read_interval < launch_first_) return;
  if (cell.read_interval < block_first_) {
    if (cell.space == Space::global) conflict(cell.read_place, cell.read_thread, cell.read_interval);
    return;
  }
  if (cell.read_interval < interval_) return;
  const unsigned warp = now.thread / kLanes;
  const bool other_warps = (cell.warps & ~(1u << warp)) != 0;
  const bool other_lanes = cell.read_thread / kLanes == warp && cell.read_meeting >= now.meeting &&
                           (cell.lanes & ~(1u << now.thread % kLanes)) != 0;
  if (!other_warps && !other_lanes) return;
  // Name a reader that is not the writer.
  const bool last =
      cell.read_thread != now.thread && (!other_warps || other_lanes || cell.read_thread / kLanes != warp);
  conflict(last ? cell.read_place : cell.other_place, last ? cell.read_thread : cell.other_thread,
           cell.read_interval);
}

void AccessChecker::note_reader(CellState& cell, const Now& now) {
  if (cell.read_interval != interval_) {
    if (cell.read_interval >= launch_first_ && cell.read_interval < block_first_) {
      cell.foreign_interval = cell.read_interval;
      cell.foreign_place = cell.read_place;
      cell.foreign_thread = cell.read_thread;
    }
    cell.read_interval = interval_;
    cell.warps = cell.lanes = 0;
    cell.read_thread = now.thread;
    cell.other_place = now.place;
    cell.other_thread = now.thread;
  }
  if (cell.read_thread != now.thread) {
    cell.other_place = cell.read_place;
    cell.other_thread = cell.read_thread;
  }
  const unsigned warp = now.thread / kLanes;
  const bool same = cell.read_thread / kLanes == warp && cell.read_meeting == now.meeting && cell.lanes != 0;
  cell.lanes = (same ? cell.lanes : 0) | 1u << now.thread % kLanes;
  cell.warps |= 1u << warp;
  cell.read_meeting = now.meeting;
  cell.read_thread = now.thread;
  cell.read_place = now.place;
}

void AccessChecker::read(CellState& cell, const Now& now) {
  // Most reads find a word that nobody writes now and that this thread was the last to read.
  const bool settled = cell.space == Space::shared
                           ? cell.write_interval < interval_ && cell.write_interval >= block_first_
                           : cell.write_interval < launch_first_;
  if (settled && cell.read_interval == interval_ && cell.read_thread == now.thread &&
      cell.read_meeting == now.meeting && !cell.in_flight) {
    return;
  }
  if (cell.space == Space::shared && cell.write_interval < block_first_) {
    report(Finding::What::uninitialised, 0, 0, 0, true, now);
  } else if (cell.in_flight && cell.write_interval >= block_first_) {
    report(Finding::What::in_flight, cell.write_place, cell.write_thread, cell.write_interval, true, now);
  } else if (concurrent(cell.write_interval, cell.write_meeting, cell.write_thread, now, cell.space)) {
    const bool elsewhere = cell.write_interval < block_first_;
    report(elsewhere ? Finding::What::between_blocks : Finding::What::race, cell.write_place,
           cell.write_thread, cell.write_interval, true, now);
  }
  note_reader(cell, now);
}

void AccessChecker::write(CellState& cell, const Now& now) {
  const bool both_atomic = now.kind == Kind::atomic && cell.atomic;
  if (cell.in_flight && cell.write_interval >= block_first_) {
    report(Finding::What::in_flight, cell.write_place, cell.write_thread, cell.write_interval, true, now);
  } else if (!both_atomic &&
             concurrent(cell.write_interval, cell.write_meeting, cell.write_thread, now, cell.space)) {
    const bool elsewhere = cell.write_interval < block_first_;
    report(elsewhere ? Finding::What::between_blocks : Finding::What::race, cell.write_place,
           cell.write_thread, cell.write_interval, true, now);
  }
  check_readers(cell, now);
  if (now.kind == Kind::atomic && cell.space == Space::shared && cell.write_interval < block_first_) {
    report(Finding::What::uninitialised, 0, 0, 0, true, now);
  }
  cell.write_interval = interval_;
  cell.write_meeting = now.meeting;
  cell.write_place = now.place;
  cell.write_thread = now.thread;
  cell.atomic = now.kind == Kind::atomic;
  cell.in_flight = false;
}

void AccessChecker::access(const Access& access) {
  ++accesses_;
  const auto thread = static_cast<uint16_t>(current_thread());
  const Now now{access.place, thread, meetings_[thread], access.address, access.size, access.kind};
  shadow_.visit(access.address, access.size, [&](CellState& cell) {
    if (access.kind == Kind::read) {
      read(cell, now);
    } else {
      write(cell, now);
    }
  });
}

void AccessChecker::copy_issued(void* to, const void* from, size_t bytes, size_t valid, Site site) {
  const Place place = place_of(site);
  access({place, reinterpret_cast<uintptr_t>(from), static_cast<uint32_t>(valid), Kind::read});
  access({place, reinterpret_cast<uintptr_t>(to), static_cast<uint32_t>(bytes), Kind::write});
  shadow_.visit(reinterpret_cast<uintptr_t>(to), bytes, [](CellState& cell) { cell.in_flight = true; });
}

// The waiting thread sees the copy now; others do after a barrier.
void AccessChecker::copy_arrived(void* to, size_t bytes) {
  const auto thread = static_cast<uint16_t>(current_thread());
  shadow_.visit(reinterpret_cast<uintptr_t>(to), bytes, [&](CellState& cell) {
    if (cell.write_thread != thread) return;  // written over since; reported then
    cell.in_flight = false;
    cell.write_interval = interval_;
    cell.write_meeting = meetings_[thread];
  });
}

void AccessChecker::reads(const void* from, size_t bytes, Site site) {
  access({place_of(site), reinterpret_cast<uintptr_t>(from), static_cast<uint32_t>(bytes), Kind::read});
}

}  // namespace caltrop::emu
