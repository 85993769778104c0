#include "kernels/emulation/warp.h"

#include <bit>

#include "kernels/error.h"

namespace caltrop::emu {
namespace {

struct VoteRecord {
  int predicate;
  unsigned votes, lanes;
};
struct MatchRecord {
  uint64_t value;
  unsigned lanes;
};

template <typename Record>
Record& record_of(void* const* records, int lane) {
  return *static_cast<Record*>(records[lane]);
}

template <typename Body>
void for_lanes(uint32_t lanes, const Body& body) {
  for (; lanes != 0; lanes &= lanes - 1) body(std::countr_zero(lanes));
}

void shuffle_all(void* const* records, uint32_t lanes) {
  for_lanes(lanes, [&](int lane) {
    ShuffleRecord& mine = record_of<ShuffleRecord>(records, lane);
    if (mine.from < 0 || mine.from >= 32 || !(lanes >> mine.from & 1u)) {
      fail_in_kernel(fmt::format("in a shuffle of the warp of {}, lane {} reads lane {}, which takes no part",
                                 describe_thread(current_thread()), lane, mine.from));
    }
    mine.result = record_of<ShuffleRecord>(records, mine.from).value;
  });
}

void vote_all(void* const* records, uint32_t lanes) {
  unsigned votes = 0;
  for_lanes(lanes, [&](int lane) {
    if (record_of<VoteRecord>(records, lane).predicate) votes |= 1u << lane;
  });
  for_lanes(lanes, [&](int lane) {
    record_of<VoteRecord>(records, lane).votes = votes;
    record_of<VoteRecord>(records, lane).lanes = lanes;
  });
}

void match_all(void* const* records, uint32_t lanes) {
  for_lanes(lanes, [&](int lane) {
    MatchRecord& mine = record_of<MatchRecord>(records, lane);
    mine.lanes = 0;
    for_lanes(lanes, [&](int other) {
      if (record_of<MatchRecord>(records, other).value == mine.value) mine.lanes |= 1u << other;
    });
  });
}

}  // namespace

uint64_t shuffle_bits(const char* name, unsigned mask, uint64_t value, int from, Site site) {
  ShuffleRecord record{value, 0, from};
  warp_meet(name, mask, &record, shuffle_all, site);
  return record.result;
}

unsigned ballot(const char* name, unsigned mask, int predicate, unsigned* taking_part, Site site) {
  VoteRecord record{predicate, 0, 0};
  warp_meet(name, mask, &record, vote_all, site);
  if (taking_part) *taking_part = record.lanes;
  return record.votes;
}

unsigned match_bits(unsigned mask, uint64_t value, Site site) {
  MatchRecord record{value, 0};
  warp_meet("__match_any_sync", mask, &record, match_all, site);
  return record.lanes;
}

}  // namespace caltrop::emu
