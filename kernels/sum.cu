// Sums over any axes, and permutations.
//
// After merging neighbours the axes alternate between kept and summed. If the innermost one is summed, the
// threads of a group (part of a warp, or a block) read a run of terms together; if it is kept, neighbouring
// threads sum neighbouring outputs. Long sums are cut into parts of fixed length whose results are summed in
// turn. The order of an output's terms is a function of how many there are, never of how many outputs: an
// image does not depend on its batch. No atomics.
//
// A permutation that moves the innermost axis goes through tiles in shared memory, so that both reading and
// writing are coalesced (Ruetsch and Micikevicius: "Optimizing Matrix Transpose in CUDA", NVIDIA 2009).

#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int kThreads = 256;

struct Axis {
  int64_t extent, stride;
};

// Some axes of an array, outermost first.
struct Axes {
  int rank = 0;
  Axis axis[kMaxRank] = {};

  // Adds an axis inside the others; one that runs on from its neighbour is merged with it.
  void append(int64_t extent, int64_t stride) {
    if (extent == 1) return;
    if (rank > 0 && axis[rank - 1].stride == stride * extent) {
      axis[rank - 1] = {axis[rank - 1].extent * extent, stride};
    } else {
      axis[rank++] = {extent, stride};
    }
  }
  bool runs_on() const { return rank > 0 && axis[rank - 1].stride == 1; }

  // The offset of position `index` in row-major order.
  __device__ int64_t offset(int64_t index) const {
    int64_t at = 0;
    for (int k = rank - 1; k > 0; --k) {
      const int64_t outer = index / axis[k].extent;
      at += (index - outer * axis[k].extent) * axis[k].stride;
      index = outer;
    }
    return rank > 0 ? at + index * axis[0].stride : at;
  }
};

// What to add: element `output` of y is the sum of x[kept.offset(output) + summed.offset(t)] over its terms.
struct Sum {
  Axes kept, summed;
  int64_t outputs = 1, terms = 1;
};

// Up to kShortRow terms, by a group of 2^k <= 32 lanes per output.
constexpr int64_t kShortRow = 1024;
__global__ void short_rows(Sum sum, int group, const float* x, float* y) {
  const int lane = static_cast<int>(threadIdx.x) % group;
  const int64_t in_warp = threadIdx.x % kWarp;
  // All lanes of a warp stay in the loop together: they exchange values.
  for (int64_t i = first_index(); i - in_warp < sum.outputs * group; i += index_step()) {
    const int64_t output = i / group;
    float value = 0.0f;
    if (output < sum.outputs) {
      const float* from = x + sum.kept.offset(output);
      for (int64_t t = lane; t < sum.terms; t += group) value += from[sum.summed.offset(t)];
    }
    for (int other = group / 2; other > 0; other /= 2) value += __shfl_xor_sync(kFullMask, value, other);
    if (lane == 0 && output < sum.outputs) y[output] = value;
  }
}

// More terms: a block for each part of kRowPart terms; y is (outputs, parts).
constexpr int64_t kRowPart = 4096;
__global__ void __launch_bounds__(kThreads) row_parts(Sum sum, int64_t parts, const float* x, float* y) {
  __shared__ float shared[kThreads / kWarp];
  for (int64_t i = blockIdx.x; i < sum.outputs * parts; i += gridDim.x) {
    const int64_t output = i / parts, begin = (i - output * parts) * kRowPart;
    const int64_t end = begin + kRowPart < sum.terms ? begin + kRowPart : sum.terms;
    const float* from = x + sum.kept.offset(output);
    float value = 0.0f;
    for (int64_t t = begin + threadIdx.x; t < end; t += kThreads) value += from[sum.summed.offset(t)];
    value = block_sum<kThreads>(value, shared);
    if (threadIdx.x == 0) y[i] = value;
  }
}

// Up to kShortColumn terms, one thread per output.
constexpr int64_t kShortColumn = 32;
__global__ void short_columns(Sum sum, const float* x, float* y) {
  for (int64_t i = first_index(); i < sum.outputs; i += index_step()) {
    const float* from = x + sum.kept.offset(i);
    float value = 0.0f;
    for (int64_t t = 0; t < sum.terms; ++t) value += from[sum.summed.offset(t)];
    y[i] = value;
  }
}

// More terms: a block sums kColumnPart terms of 8 neighbouring outputs, which are one 32-byte sector of
// memory; 32 threads share an output. y is (parts, outputs).
constexpr int64_t kColumnPart = 1024;
constexpr int kColumns = 8, kShare = kThreads / kColumns, kWarps = kThreads / kWarp;
__global__ void __launch_bounds__(kThreads) column_parts(Sum sum, int64_t parts, const float* x, float* y) {
  __shared__ float shared[kWarps * kColumns];
  const int column = static_cast<int>(threadIdx.x) % kColumns,
            share = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t inner = sum.kept.axis[sum.kept.rank - 1].extent;
  const int64_t tiles = (inner + kColumns - 1) / kColumns, outer = sum.outputs / inner;
  for (int64_t i = blockIdx.x; i < parts * outer * tiles; i += gridDim.x) {
    const int64_t row = i / tiles, part = row / outer;
    const int64_t at = (i - row * tiles) * kColumns + column;  // in the innermost axis
    const int64_t output = (row - part * outer) * inner + at, begin = part * kColumnPart;
    const int64_t end = begin + kColumnPart < sum.terms ? begin + kColumnPart : sum.terms;
    float value = 0.0f;
    if (at < inner) {
      const float* from = x + sum.kept.offset(output);
      for (int64_t t = begin + share; t < end; t += kShare) value += from[sum.summed.offset(t)];
    }
    value += __shfl_xor_sync(kFullMask, value, kColumns);
    value += __shfl_xor_sync(kFullMask, value, 2 * kColumns);
    __syncthreads();  // the values of the tile before have been read
    if (threadIdx.x % kWarp < kColumns) shared[threadIdx.x / kWarp * kColumns + column] = value;
    __syncthreads();
    if (threadIdx.x < kColumns && at < inner) {
      float total = shared[column];
      for (int warp = 1; warp < kWarps; ++warp) total += shared[warp * kColumns + column];
      y[part * sum.outputs + output] = total;
    }
  }
}

void sum_rows(Stream& stream, const Sum& sum, const float* x, float* y) {
  if (sum.terms <= kShortRow) {
    int group = 1;
    while (group < kWarp && group < sum.terms) group *= 2;
    const dim3 grid = grid_for(sum.outputs * group, kThreads);
    return launch("sum", short_rows, grid, kThreads, 0, stream, sum, group, x, y);
  }
  const int64_t parts = (sum.terms - 1) / kRowPart + 1;
  const dim3 grid = grid_for(sum.outputs * parts, 1);
  if (parts == 1) return launch("sum", row_parts, grid, kThreads, 0, stream, sum, parts, x, y);
  const Scratch<float> partial(stream, sum.outputs * parts);
  launch("sum", row_parts, grid, kThreads, 0, stream, sum, parts, x, partial.data());
  Sum rest{{}, {}, sum.outputs, parts};
  rest.kept.append(sum.outputs, parts);
  rest.summed.append(parts, 1);
  sum_rows(stream, rest, partial.data(), y);
}

void sum_columns(Stream& stream, const Sum& sum, const float* x, float* y) {
  if (sum.terms <= kShortColumn) {
    const dim3 grid = grid_for(sum.outputs, kThreads);
    return launch("sum", short_columns, grid, kThreads, 0, stream, sum, x, y);
  }
  const int64_t inner = sum.kept.axis[sum.kept.rank - 1].extent, tiles = (inner - 1) / kColumns + 1;
  const int64_t parts = (sum.terms - 1) / kColumnPart + 1;
  const dim3 grid = grid_for(parts * (sum.outputs / inner) * tiles, 1);
  if (parts == 1) return launch("sum", column_parts, grid, kThreads, 0, stream, sum, parts, x, y);
  const Scratch<float> partial(stream, sum.outputs * parts);
  launch("sum", column_parts, grid, kThreads, 0, stream, sum, parts, x, partial.data());
  Sum rest{{}, {}, sum.outputs, parts};
  rest.kept.append(sum.outputs, 1);
  rest.summed.append(parts, sum.outputs);
  sum_columns(stream, rest, partial.data(), y);
}

// Any permutation: one thread per element of the output, which is what is coalesced.
__global__ void permute_kernel(const __grid_constant__ Axes from, int64_t count, const float* x, float* y) {
  for (int64_t i = first_index(); i < count; i += index_step()) y[i] = x[from.offset(i)];
}

// The output's innermost axis i has stride step_i in x; its axis j is innermost in x. Tiles of kTile x kTile
// elements are read along j and written along i. `outer` are the other axes: first in x, then in y.
constexpr int kTile = 32, kTileRows = kThreads / kTile;
struct Transpose {
  Axes outer_x, outer_y;
  int64_t extent_i, extent_j, step_i, step_j;  // step_i of x, step_j of y
};
__global__ void __launch_bounds__(kThreads)
    transpose_kernel(Transpose t, int64_t batches, const float* x, float* y) {
  __shared__ float tile[kTile][kTile + 1];  // the odd row length spreads a column over all banks
  const int64_t tiles_i = (t.extent_i + kTile - 1) / kTile, tiles_j = (t.extent_j + kTile - 1) / kTile;
  const int lane = static_cast<int>(threadIdx.x) % kTile, row = static_cast<int>(threadIdx.x) / kTile;
  for (int64_t b = blockIdx.x; b < batches * tiles_i * tiles_j; b += gridDim.x) {
    const int64_t line = b / tiles_i, batch = line / tiles_j;
    const int64_t i0 = (b - line * tiles_i) * kTile, j0 = (line - batch * tiles_j) * kTile;
    const float* from = x + t.outer_x.offset(batch) + i0 * t.step_i + j0;
    float* to = y + t.outer_y.offset(batch) + i0 + j0 * t.step_j;
    __syncthreads();  // the tile before has been written out
    for (int r = row; r < kTile; r += kTileRows) {
      if (i0 + r < t.extent_i && j0 + lane < t.extent_j) tile[r][lane] = from[r * t.step_i + lane];
    }
    __syncthreads();
    for (int r = row; r < kTile; r += kTileRows) {
      if (j0 + r < t.extent_j && i0 + lane < t.extent_i) to[r * t.step_j + lane] = tile[lane][r];
    }
  }
}

// Whether tiles pay: both axes fill them well enough. `from` are the output's axes with their strides in x.
bool tiles_pay(const Axes& from, int* j) {
  if (from.rank < 2 || from.runs_on()) return false;
  for (*j = 0; *j < from.rank - 1 && from.axis[*j].stride != 1;) ++*j;
  constexpr int64_t kLeast = kTile / 2;
  return from.axis[*j].stride == 1 && from.axis[*j].extent >= kLeast &&
         from.axis[from.rank - 1].extent >= kLeast;
}

void transpose(Stream& stream, const Axes& from, int j, const float* x, float* y) {
  const int last = from.rank - 1;
  Transpose t{{}, {}, from.axis[last].extent, from.axis[j].extent, from.axis[last].stride, 1};
  int64_t stride[kMaxRank], step = 1, batches = 1;
  for (int k = last; k >= 0; --k) {
    stride[k] = step;
    step *= from.axis[k].extent;
  }
  t.step_j = stride[j];
  for (int k = 0; k < last; ++k) {
    if (k == j) continue;
    batches *= from.axis[k].extent;
    // Not merged: the two lists must stay in step.
    t.outer_x.axis[t.outer_x.rank++] = from.axis[k];
    t.outer_y.axis[t.outer_y.rank++] = {from.axis[k].extent, stride[k]};
  }
  const int64_t tiles = ((t.extent_i - 1) / kTile + 1) * ((t.extent_j - 1) / kTile + 1);
  launch("permute", transpose_kernel, grid_for(batches * tiles, 1), kThreads, 0, stream, t, batches, x, y);
}

}  // namespace

void GpuBackend::sum(const Dims& dims, uint32_t axes, const float* x, float* y) {
  const Stream::Op range(stream_, "sum");
  Sum all;
  int64_t stride = dims.count();
  for (int k = 0; k < dims.rank; ++k) {
    const int64_t extent = dims.size[k];
    stride = extent == 0 ? 0 : stride / extent;
    const bool reduce = (axes >> k) & 1u;
    (reduce ? all.terms : all.outputs) *= extent;
    (reduce ? all.summed : all.kept).append(extent, stride);
  }
  if (all.outputs == 0) return;
  if (all.terms == 0) return fill(0.0f, y, all.outputs);
  if (all.kept.runs_on()) {
    sum_columns(stream_, all, x, y);
  } else {
    sum_rows(stream_, all, x, y);
  }
}

void GpuBackend::permute(const Dims& dims, const int* perm, const float* x, float* y) {
  const Stream::Op range(stream_, "permute");
  if (dims.count() == 0) return;
  int64_t stride[kMaxRank], step = 1;
  for (int k = dims.rank - 1; k >= 0; --k) {
    stride[k] = step;
    step *= dims.size[k];
  }
  Axes from;
  for (int k = 0; k < dims.rank; ++k) from.append(dims.size[perm[k]], stride[perm[k]]);
  int j = 0;
  if (tiles_pay(from, &j)) return transpose(stream_, from, j, x, y);
  launch("permute", permute_kernel, grid_for(dims.count(), kThreads), kThreads, 0, stream_, from,
         dims.count(), x, y);
}

}  // namespace caltrop::CALTROP_WORLD
