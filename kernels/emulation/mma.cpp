// Emulated bodies of mma.cuh: the last lane to arrive reads all fragments and writes all results.
#include "kernels/mma.cuh"

#include "kernels/half.cuh"

#include "kernels/error.h"

namespace caltrop::emu {
namespace {

struct MmaRecord {
  MmaKind kind;
  float* d;
  const uint32_t *a, *b;
};
struct LoadRecord {
  uint32_t* r;
  const void* row;
};

void whole_warp(uint32_t lanes, const char* name) {
  if (lanes != 0xFFFFFFFFu) fail_in_kernel(fmt::format("{} needs all 32 lanes, got {:#010x}", name, lanes));
}

// Element `k % 2` of a pair, or a tf32 value, of which the unit reads the upper 19 bits.
float value_of(MmaKind kind, uint32_t bits, int k) {
  if (kind == MmaKind::tf32) return __uint_as_float(bits & ~0x1FFFu);
  const auto half = static_cast<uint16_t>(k % 2 == 0 ? bits & 0xFFFFu : bits >> 16);
  return kind == MmaKind::half ? half_value(half) : bfloat16_value(half);
}

void mma_all(void* const* records, uint32_t lanes) {
  whole_warp(lanes, "mma.sync");
  const auto record = [&](int lane) -> const MmaRecord& {
    return *static_cast<const MmaRecord*>(records[lane]);
  };
  const MmaKind kind = record(0).kind;
  const int depth = kind == MmaKind::tf32 ? 8 : 16, pair = kind == MmaKind::tf32 ? 1 : 2;
  double a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    if (record(lane).kind != kind) fail_in_kernel("lanes of one mma.sync have operands of different types");
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < pair; ++j) {
        a[g + 8 * (i % 2)][pair * (t + 4 * (i / 2)) + j] =
            static_cast<double>(value_of(kind, record(lane).a[i], j));
        if (i < 2) b[pair * (t + 4 * i) + j][g] = static_cast<double>(value_of(kind, record(lane).b[i], j));
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), col = 2 * (lane % 4) + i % 2;
      double sum = static_cast<double>(record(lane).d[i]);
      for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][col];
      record(lane).d[i] = static_cast<float>(sum);
    }
  }
}

void load_all(void* const* records, uint32_t lanes) {
  whole_warp(lanes, "ldmatrix");
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const void* row = static_cast<const LoadRecord*>(records[8 * i + lane / 4])->row;
      if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
        fail_in_kernel("ldmatrix reads a row that is not aligned to 16");
      std::memcpy(&static_cast<LoadRecord*>(records[lane])->r[i],
                  static_cast<const unsigned char*>(row) + 4 * (lane % 4), 4);
    }
  }
}

}  // namespace

void mma_meet(MmaKind kind, float* d, const uint32_t* a, const uint32_t* b, Site site) {
  MmaRecord record{kind, d, a, b};
  warp_meet("mma.sync", 0xFFFFFFFFu, &record, mma_all, site);
}

void ldmatrix_meet(uint32_t* r, const void* row, Site site) {
  if (Observer* observer = current_observer()) observer->reads(row, 16, site);
  LoadRecord record{r, row};
  warp_meet("ldmatrix", 0xFFFFFFFFu, &record, load_all, site);
}

}  // namespace caltrop::emu
