#include "kernels/emulation/traffic.h"

#include <algorithm>

namespace caltrop::emu {
namespace {

constexpr size_t kLanes = 32;
constexpr uintptr_t kBanks = 32, kWord = 4, kSector = 32;

// One wavefront after another until every word of these lanes was served.
Cost phase_cost(const LaneAccess* first, const LaneAccess* end) {
  std::vector<uintptr_t> words;
  for (const LaneAccess* lane = first; lane != end; ++lane) {
    for (uintptr_t word = lane->address / kWord; word * kWord < lane->address + lane->size; ++word) {
      words.push_back(word);
    }
  }
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  std::array<int64_t, kBanks> in_bank{};
  for (const uintptr_t word : words) ++in_bank[word % kBanks];
  return {*std::max_element(in_bank.begin(), in_bank.end()),
          static_cast<int64_t>((words.size() + kBanks - 1) / kBanks)};
}

}  // namespace

Cost shared_cost(const std::vector<LaneAccess>& lanes) {
  uint32_t widest = 0;
  for (const LaneAccess& lane : lanes) widest = std::max(widest, lane.size);
  const size_t together = widest <= 4 ? kLanes : widest <= 8 ? kLanes / 2 : kLanes / 4;
  Cost cost;
  for (size_t i = 0; i < lanes.size(); i += together) {
    const Cost phase = phase_cost(&lanes[i], &lanes[0] + std::min(i + together, lanes.size()));
    cost.moved += phase.moved;
    cost.ideal += phase.ideal;
  }
  return cost;
}

Cost global_cost(const std::vector<LaneAccess>& lanes) {
  std::vector<LaneAccess> sorted = lanes;
  std::sort(sorted.begin(), sorted.end(),
            [](const LaneAccess& a, const LaneAccess& b) { return a.address < b.address; });
  Cost cost;
  uintptr_t bytes = 0, covered = 0, next_sector = 0;  // distinct bytes; the end of those seen; of sectors
  for (const LaneAccess& lane : sorted) {
    const uintptr_t end = lane.address + lane.size;
    bytes += end > covered ? end - std::max(covered, lane.address) : 0;
    covered = std::max(covered, end);
    const uintptr_t first = std::max(next_sector, lane.address / kSector), last = (end - 1) / kSector;
    if (last >= first) cost.moved += static_cast<int64_t>(last - first + 1);
    next_sector = std::max(next_sector, last + 1);
  }
  cost.ideal = static_cast<int64_t>((bytes + kSector - 1) / kSector);
  return cost;
}

void Traffic::launch_begins(const KernelCall& call) {
  threads_.assign(static_cast<size_t>(call.block.x) * call.block.y * call.block.z, {});
}
void Traffic::launch_ends(bool) {
  close_all();
}
void Traffic::block_begins() {
  close_all();
}
void Traffic::block_synchronized() {
  close_all();
}
void Traffic::warp_synchronized(int warp, uint32_t) {
  close_warp(static_cast<size_t>(warp));
}

void Traffic::access(const Access& access) {
  const Space space = shadow_.space_of(access.address);
  if (space != Space::shared && space != Space::global) return;
  threads_[static_cast<size_t>(current_thread())].push_back(
      {access.place, access.kind, space, {access.address, access.size}});
}

void Traffic::copy_issued(void* to, const void* from, size_t bytes, size_t valid, Site site) {
  if (valid > 0) reads(from, valid, site);
  access({place_of(site), reinterpret_cast<uintptr_t>(to), static_cast<uint32_t>(bytes), Kind::write});
}

void Traffic::reads(const void* from, size_t bytes, Site site) {
  access({place_of(site), reinterpret_cast<uintptr_t>(from), static_cast<uint32_t>(bytes), Kind::read});
}

void Traffic::close_all() {
  for (size_t warp = 0; warp * kLanes < threads_.size(); ++warp) close_warp(warp);
}

void Traffic::close_warp(size_t warp) {
  const size_t first = warp * kLanes, end = std::min(first + kLanes, threads_.size());
  std::map<Key, std::vector<std::vector<LaneAccess>>> requests;  // the n-th of each place
  for (size_t thread = first; thread < end; ++thread) {
    std::map<Key, size_t> times;
    for (const Event& event : threads_[thread]) {
      const Key key{event.place, event.kind, event.space};
      auto& of_place = requests[key];
      const size_t time = times[key]++;
      if (time == of_place.size()) of_place.emplace_back();
      of_place[time].push_back(event.access);
    }
    threads_[thread].clear();
  }
  for (const auto& [key, of_place] : requests) {
    const Space space = std::get<Space>(key);
    LineTraffic& line = places_[key];
    for (const std::vector<LaneAccess>& lanes : of_place) {
      const Cost cost = space == Space::shared ? shared_cost(lanes) : global_cost(lanes);
      ++line.requests;
      line.moved += cost.moved;
      line.ideal += cost.ideal;
      for (const LaneAccess& lane : lanes) line.bytes = std::max(line.bytes, lane.size);
    }
  }
}

std::vector<LineTraffic> Traffic::lines() const {
  std::map<std::tuple<SourceLine, Space, Kind>, LineTraffic> by_line;
  for (const auto& [key, traffic] : places_) {
    const SourceLine at = line_of(std::get<Place>(key));
    const SourceLine line{at.file, at.line, ""};
    LineTraffic& sum = by_line[{line, std::get<Space>(key), std::get<Kind>(key)}];
    sum.line = line;
    sum.space = std::get<Space>(key);
    sum.kind = std::get<Kind>(key);
    sum.bytes = std::max(sum.bytes, traffic.bytes);
    sum.requests += traffic.requests;
    sum.moved += traffic.moved;
    sum.ideal += traffic.ideal;
  }
  std::vector<LineTraffic> lines;
  for (const auto& [key, traffic] : by_line) lines.push_back(traffic);
  return lines;
}

}  // namespace caltrop::emu
