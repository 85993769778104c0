// Philox streams (kernels/philox.h) written to memory, and the gather of a mini-batch.

#include <algorithm>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"
#include "kernels/philox.h"

namespace caltrop {
namespace {

constexpr int64_t kGroups = 1 << 12;  // Philox groups that are worth a thread

void fill_group(Distribution kind, const Philox4& four, float* y, int64_t count) {
  float values[4];
  for (int pair = 0; pair < 4; pair += 2) {
    const NormalPair drawn = kind == Distribution::uniform
                                 ? NormalPair{unit_float(four.word[pair]), unit_float(four.word[pair + 1])}
                                 : normal_pair(four.word[pair], four.word[pair + 1]);
    values[pair] = drawn.cosine;
    values[pair + 1] = drawn.sine;
  }
  std::copy_n(values, std::min<int64_t>(4, count), y);
}

}  // namespace

void CpuBackend::random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
                        float* y) {
  const int64_t groups = (cols + 3) / 4;
  parallel_ranges(static_cast<int64_t>(streams.size()) * groups, kGroups, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / groups, group = i % groups;
      fill_group(kind, philox4x32(seed, streams[static_cast<size_t>(row)], static_cast<uint64_t>(group)),
                 y + row * cols + group * 4, cols - group * 4);
    }
  });
}

void CpuBackend::gather_images(const uint8_t* set, std::span<const int64_t> rows, int64_t cols, float* y) {
  parallel_ranges(static_cast<int64_t>(rows.size()), 32, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const uint8_t* from = set + rows[static_cast<size_t>(r)] * cols;
      float* to = y + r * cols;
      for (int64_t i = 0; i < cols; ++i) to[i] = static_cast<float>(from[i]) / 255.0f;
    }
  });
}

}  // namespace caltrop
