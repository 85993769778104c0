// Sums over any axes, and permutations.
//
// After merging neighbours the axes alternate between kept and summed. Each output element is summed by one
// thread: a run of adjacent elements in eight interleaved partial sums that are then added in order, other
// axes in row-major order. The columns of a tall matrix, a bias gradient, are too few to be shared out so: blocks of
// its rows are summed apart and added in their order. Nothing depends on the number of threads.

#include <algorithm>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

namespace caltrop {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread

struct Axis {
  int64_t extent, stride;
};

float run_sum(const float* x, int64_t count) {
  float part[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int k = 0; k < 8; ++k) part[k] += x[i + k];
  }
  for (int k = 0; i < count; ++i, ++k) part[k] += x[i];
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

// The columns of a (rows, columns) matrix, by blocks of kGrain elements. So many rows as fill a few vectors are added as
// one line, and the parts of a line at the end of their block.
constexpr int64_t kLeastLine = 64, kMostColumns = 512;
static_assert(2 * kLeastLine <= kMostColumns);
void sum_columns(CpuBackend& backend, int64_t rows, int64_t columns, const float* x, float* y) {
  int64_t repeat = 1;
  while (repeat * columns < kLeastLine) repeat *= 2;
  const int64_t line = repeat * columns, block = std::max<int64_t>(1, kGrain / line) * line;
  const int64_t count = rows * columns, blocks = (count + block - 1) / block;
  const Scratch parts(backend, blocks * columns);
  parallel_for(blocks, [&](int64_t b) {
    const int64_t end = std::min(count, (b + 1) * block);
    float sums[kMostColumns] = {};
    for (int64_t from = b * block; from < end; from += line) {
      const int64_t here = std::min(line, end - from);
      for (int64_t i = 0; i < here; ++i) sums[i] += x[from + i];
    }
    for (int64_t r = 1; r < repeat; ++r) {
      for (int64_t c = 0; c < columns; ++c) sums[c] += sums[r * columns + c];
    }
    std::copy_n(sums, columns, parts.data() + b * columns);
  });
  std::fill_n(y, columns, 0.0f);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t c = 0; c < columns; ++c) y[c] += parts.data()[b * columns + c];
  }
}

// Moves `at` to the next position of `axes` in row-major order; returns the offset of that position.
int64_t advance(const Axis* axes, int rank, int64_t* at, int64_t offset) {
  for (int k = rank - 1; k >= 0; --k) {
    offset += axes[k].stride;
    if (++at[k] < axes[k].extent) return offset;
    offset -= axes[k].extent * axes[k].stride;
    at[k] = 0;
  }
  return offset;
}

int64_t offset_of(const Axis* axes, int rank, int64_t index, int64_t* at) {
  int64_t offset = 0;
  for (int k = rank - 1; k >= 0; --k) {
    at[k] = index % axes[k].extent;
    index /= axes[k].extent;
    offset += at[k] * axes[k].stride;
  }
  return offset;
}

}  // namespace

void CpuBackend::sum(const Dims& dims, uint32_t axes, const float* x, float* y) {
  Axis kept[kMaxRank], summed[kMaxRank];
  int kept_rank = 0, summed_rank = 0;
  int64_t stride = dims.count(), outputs = 1, terms = 1;
  for (int k = 0; k < dims.rank; ++k) {
    const int64_t extent = dims.size[k];
    stride = extent == 0 ? 0 : stride / extent;
    const bool reduce = (axes >> k) & 1u;
    (reduce ? terms : outputs) *= extent;
    if (extent == 1) continue;
    Axis* list = reduce ? summed : kept;
    int& rank = reduce ? summed_rank : kept_rank;
    if (rank > 0 && list[rank - 1].stride == stride * extent) {
      list[rank - 1] = {list[rank - 1].extent * extent, stride};
    } else {
      list[rank++] = {extent, stride};
    }
  }
  if (terms == 0) return fill(0.0f, y, outputs);

  if (kept_rank > 0 && kept[kept_rank - 1].stride == 1) {
    // The last axis stays: add whole rows to a row of outputs.
    const Axis inner = kept[--kept_rank];
    if (kept_rank == 0 && summed_rank == 1 && summed[0].stride == inner.extent &&
        inner.extent <= kMostColumns && terms * inner.extent > kGrain)
      return sum_columns(*this, terms, inner.extent, x, y);
    const int64_t columns = std::clamp<int64_t>(kGrain / terms, 16, inner.extent);
    const int64_t pieces = (inner.extent + columns - 1) / columns;
    parallel_for(outputs / inner.extent * pieces, [&](int64_t piece) {
      const int64_t row = piece / pieces, begin = piece % pieces * columns;
      const int64_t count = std::min(columns, inner.extent - begin);
      int64_t at[kMaxRank] = {};
      const float* from = x + offset_of(kept, kept_rank, row, at) + begin;
      float* to = y + row * inner.extent + begin;
      std::fill_n(to, count, 0.0f);
      int64_t term_at[kMaxRank] = {}, offset = 0;
      for (int64_t t = 0; t < terms; ++t) {
        for (int64_t i = 0; i < count; ++i) to[i] += from[offset + i];
        offset = advance(summed, summed_rank, term_at, offset);
      }
    });
    return;
  }
  const bool runs = summed_rank > 0 && summed[summed_rank - 1].stride == 1;
  const int64_t run = runs ? summed[--summed_rank].extent : 1;
  parallel_ranges(outputs, std::max<int64_t>(1, kGrain / terms), [&](int64_t begin, int64_t end) {
    int64_t at[kMaxRank] = {};
    int64_t base = offset_of(kept, kept_rank, begin, at);
    for (int64_t i = begin; i < end; ++i) {
      int64_t term_at[kMaxRank] = {}, offset = base;
      float total = 0.0f;
      for (int64_t t = 0; t < terms / run; ++t) {
        total += run_sum(x + offset, run);
        offset = advance(summed, summed_rank, term_at, offset);
      }
      y[i] = total;
      base = advance(kept, kept_rank, at, base);
    }
  });
}

void CpuBackend::permute(const Dims& dims, const int* perm, const float* x, float* y) {
  Axis axes[kMaxRank];
  int64_t strides[kMaxRank], stride = 1;
  for (int k = dims.rank - 1; k >= 0; --k) {
    strides[k] = stride;
    stride *= dims.size[k];
  }
  for (int k = 0; k < dims.rank; ++k) axes[k] = {dims.size[perm[k]], strides[perm[k]]};
  parallel_ranges(dims.count(), kGrain, [&](int64_t begin, int64_t end) {
    int64_t at[kMaxRank] = {};
    int64_t from = offset_of(axes, dims.rank, begin, at);
    for (int64_t i = begin; i < end; ++i) {
      y[i] = x[from];
      from = advance(axes, dims.rank, at, from);
    }
  });
}

}  // namespace caltrop
