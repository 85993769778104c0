// Batch norm over the rows of a (rows, channels) array, and its gradient.
//
// Bound by memory, so what counts is how often x passes: forward twice (moments, then y), backward twice (sums, then
// dx). A residual sum and relu ride along: the pass for y reads and applies them, that for the sums leaves the gradient
// that relu lets through for the one for dx. Channels are neighbours in memory and vectors go along them. Few channels make short vectors, so as many whole
// rows as fill 64 floats are one line; column j of a line belongs to channel j % channels. A block of 128 lines is
// one task: it stays in the cache while its mean is taken and then the deviations from it, which costs no second
// pass and loses no digits, however far the mean is from zero. Blocks are merged in double, in their order (Chan,
// Golub and LeVeque 1983). How an array is cut follows from its sizes alone.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/batch_norm.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

// body(V, first column) over groups of V vectors of columns, the last perhaps shorter than a vector.
template <int V, typename Body>
HWY_INLINE void for_groups(int64_t first, int64_t columns, const Body& body) {
  if constexpr (V == 1) {
    for (; first < columns; first += kLanes) body(std::integral_constant<int, 1>(), first);
  } else {
    for (; first + V * kLanes <= columns; first += V * kLanes) body(std::integral_constant<int, V>(), first);
    for_groups<V / 2>(first, columns, body);
  }
}

// Sums down the columns of `lines` lines and of a last one that has `rest` of them.
void column_sums(const float* x, int64_t line, int64_t lines, int64_t rest, int64_t columns, float* sum) {
  for_groups<8>(0, columns, [&](auto vectors, int64_t j) HWY_ATTR {
    constexpr int V = decltype(vectors)::value;
    const int64_t n = V > 1 ? V * kLanes : columns - j;
    Sums<1, V> total;
    tile_set(total, 0.0f);
    for (int64_t l = 0; l < lines; ++l) {
      Sums<1, V> here;
      tile_load(here, x + l * line + j, 0, n);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) total.at[0][v] = hn::Add(total.at[0][v], here.at[0][v]);
    }
    tile_store(total, sum + j, 0, n);
  });
  for (int64_t j = 0; j < rest; ++j) sum[j] += x[lines * line + j];
}

// The gradient that arrives at a sum under an activation: g, where y is given only where that is above 0. `kept`, where
// it is not null, gets it.
struct Gated {
  const float* g;
  const float* y;
  float* kept;
  HWY_INLINE Gated at(int64_t i) const { return {g + i, y ? y + i : nullptr, kept ? kept + i : nullptr}; }
  HWY_INLINE Vec load(int64_t count) const {
    const Vec all = load_some(g, count);
    const Vec passed = y ? hn::IfThenElseZero(hn::Gt(load_some(y, count), hn::Zero(Floats())), all) : all;
    if (kept) store_some(passed, kept, count);
    return passed;
  }
  HWY_INLINE float load_one() const {
    const float passed = y && !(*y > 0.0f) ? 0.0f : *g;
    if (kept) *kept = passed;
    return passed;
  }
};

// The same of a factor and of its product with d = x - center. The factor is g, or where kOwn is set d itself.
template <bool kOwn>
HWY_INLINE void column_pairs(const float* x, const float* center, const Gated& g, int64_t line, int64_t lines,
                             int64_t rest, int64_t columns, float* sum, float* products) {
  for_groups<4>(0, columns, [&](auto vectors, int64_t j) HWY_ATTR {
    constexpr int V = decltype(vectors)::value;
    const int64_t n = V > 1 ? V * kLanes : columns - j;
    Sums<1, V> total, product, middle;
    tile_set(total, 0.0f);
    tile_set(product, 0.0f);
    tile_load(middle, center + j, 0, n);
    for (int64_t l = 0; l < lines; ++l) {
      Sums<1, V> here;
      tile_load(here, x + l * line + j, 0, n);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Vec d = hn::Sub(here.at[0][v], middle.at[0][v]);
        const Vec f = kOwn ? d : g.at(l * line + j + v * kLanes).load(n - v * kLanes);
        total.at[0][v] = hn::Add(total.at[0][v], f);
        product.at[0][v] = hn::MulAdd(f, d, product.at[0][v]);
      }
    }
    tile_store(total, sum + j, 0, n);
    tile_store(product, products + j, 0, n);
  });
  for (int64_t j = 0; j < rest; ++j) {
    const float d = x[lines * line + j] - center[j], f = kOwn ? d : g.at(lines * line + j).load_one();
    sum[j] += f;
    products[j] += f * d;
  }
}

void column_deviations(const float* x, const float* center, int64_t line, int64_t lines, int64_t rest,
                       int64_t columns, float* sum, float* squares) {
  column_pairs<true>(x, center, {}, line, lines, rest, columns, sum, squares);
}

void column_products(const float* x, const float* center, const float* g, const float* y, float* kept,
                     int64_t line, int64_t lines, int64_t rest, int64_t columns, float* sum,
                     float* products) {
  column_pairs<false>(x, center, {g, y, kept}, line, lines, rest, columns, sum, products);
}

// body(position, column, count) for the vectors of `count` floats, line by line.
template <typename Body>
HWY_INLINE void for_lines(int64_t line, int64_t count, const Body& body) {
  for (int64_t from = 0; from < count; from += line) {
    const int64_t n = std::min(line, count - from);
    int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) body(from + j, j, kLanes);
    if (j < n) body(from + j, j, n - j);
  }
}

// y = (x - mean) scale + bias, each of them a line long, then plus residual and relu where asked for.
void normalize_lines(const float* x, int64_t line, int64_t count, const float* mean, const float* scale,
                     const float* bias, const float* residual, bool relu, float* y) {
  for_lines(line, count, [&](int64_t i, int64_t j, int64_t n) HWY_ATTR {
    const Vec d = hn::Sub(load_some(x + i, n), load_some(mean + j, n));
    Vec v = hn::MulAdd(d, load_some(scale + j, n), load_some(bias + j, n));
    if (residual) v = hn::Add(v, load_some(residual + i, n));
    store_some(relu ? relu_of(v) : v, y + i, n);
  });
}

// dx = scale ((g - mean_g) - (x - mean) slope), each of them a line long; g counts where y is above 0, if y is given.
void pull_lines(const float* x, const float* g, const float* y, int64_t line, int64_t count,
                const float* mean, const float* scale, const float* mean_g, const float* slope, float* dx) {
  const Gated gated{g, y, nullptr};
  for_lines(line, count, [&](int64_t i, int64_t j, int64_t n) HWY_ATTR {
    const Vec d = hn::Sub(load_some(x + i, n), load_some(mean + j, n));
    const Vec centered = hn::Sub(gated.at(i).load(n), load_some(mean_g + j, n));
    store_some(hn::Mul(load_some(scale + j, n), hn::NegMulAdd(d, load_some(slope + j, n), centered)), dx + i,
               n);
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

HWY_EXPORT(column_sums);
HWY_EXPORT(column_deviations);
HWY_EXPORT(column_products);
HWY_EXPORT(normalize_lines);
HWY_EXPORT(pull_lines);

namespace {

constexpr int64_t kLeastLine = 64, kLines = 128, kColumns = 128;
constexpr int64_t kGrain = 1 << 15;  // elements of a pass without sums that are worth a thread
static_assert(2 * kLeastLine <= kColumns, "several rows to a line are one tile");

// Part of a block: `columns` columns of `lines` lines, and `rest` of a last, shorter one.
struct Tile {
  int64_t block, rows, from, channel, lines, rest, columns;
};

struct Cut {
  int64_t rows, channels, repeat = 1, line, block_rows, blocks;
  explicit Cut(const BatchNorm& shape) : rows(shape.rows), channels(shape.channels) {
    while (repeat * channels < kLeastLine && channels > 0) repeat *= 2;
    line = repeat * channels;
    block_rows = kLines * repeat;
    blocks = (rows + block_rows - 1) / block_rows;
  }
  int64_t rows_of(int64_t block) const { return std::min(block_rows, rows - block * block_rows); }

  template <typename Body>
  void for_tiles(const Body& body) const {
    const int64_t tiles = (line + kColumns - 1) / kColumns;
    parallel_for(blocks * tiles, [&](int64_t i) {
      const int64_t block = i / tiles, first = i % tiles * kColumns, here = rows_of(block);
      body(Tile{block, here, block * kLines * line + first, first, here / repeat, here % repeat * channels,
                std::min(kColumns, line - first)});
    });
  }
  // body(position, count) over ranges of whole lines.
  template <typename Body>
  void for_lines(const Body& body) const {
    const int64_t count = rows * channels;
    if (count == 0) return;
    parallel_ranges(count, std::max<int64_t>(1, kGrain / line) * line,
                    [&](int64_t begin, int64_t end) { body(begin, end - begin); });
  }
};

// Two sums for each block and channel, and memory for `lines` lines of floats.
class Room {
 public:
  Room(CpuBackend& backend, const Cut& cut, int64_t lines)
      : cut_(cut), sums_(backend, 2 * 2 * cut.blocks * cut.channels), lines_(backend, lines * cut.line) {}
  // Of the first or second kind, by channels.
  double* sums(int64_t block, int64_t kind) const {
    return reinterpret_cast<double*>(sums_.data()) + (2 * block + kind) * cut_.channels;
  }
  float* line(int64_t k) const { return lines_.data() + k * cut_.line; }
  // Line k of the `channels` values in front of it, repeated.
  const float* repeated(int64_t k) const {
    for (int64_t j = cut_.channels; j < cut_.line; ++j) line(k)[j] = line(k)[j - cut_.channels];
    return line(k);
  }
  const float* repeated(int64_t k, const float* values) const {
    std::copy_n(values, cut_.channels, line(k));
    return repeated(k);
  }

 private:
  const Cut& cut_;
  Scratch sums_, lines_;
};

// The sum of a tile's columns of one channel.
double fold(const float* columns, int64_t repeat, int64_t channels, int64_t channel) {
  double sum = 0.0;
  for (int64_t r = 0; r < repeat; ++r) sum += static_cast<double>(columns[r * channels + channel]);
  return sum;
}

// body(first channel, channels) over groups of channels that are merged together.
constexpr int64_t kGroup = 64;
template <typename Body>
void for_channels(int64_t channels, const Body& body) {
  parallel_ranges(channels, kGroup, [&](int64_t begin, int64_t end) { body(begin, end - begin); });
}

double inverse_deviation(float variance, float epsilon) {
  return 1.0 / std::sqrt(static_cast<double>(variance) + static_cast<double>(epsilon));
}

}  // namespace

void CpuBackend::batch_norm(const BatchNorm& shape, const float* x, const float* weight, const float* bias,
                            const float* residual, float* y, float* mean, float* variance) {
  const Cut cut(shape);
  const Room room(*this, cut, 3);
  cut.for_tiles([&](const Tile& t) {
    float sum[kColumns], squares[kColumns], shift[kColumns];
    const int64_t channels = t.columns / cut.repeat;
    const auto rows = static_cast<double>(t.rows);
    HWY_DYNAMIC_DISPATCH(column_sums)(x + t.from, cut.line, t.lines, t.rest, t.columns, sum);
    for (int64_t c = 0; c < channels; ++c)
      shift[c] = static_cast<float>(fold(sum, cut.repeat, channels, c) / rows);
    for (int64_t j = channels; j < t.columns; ++j) shift[j] = shift[j - channels];
    HWY_DYNAMIC_DISPATCH(column_deviations)
    (x + t.from, shift, cut.line, t.lines, t.rest, t.columns, sum, squares);
    double *means = room.sums(t.block, 0) + t.channel, *about = room.sums(t.block, 1) + t.channel;
    for (int64_t c = 0; c < channels; ++c) {
      // The shift is the mean but for its rounding, which is taken off here.
      const double off = fold(sum, cut.repeat, channels, c), square = fold(squares, cut.repeat, channels, c);
      const double least = square - off * off / rows;
      means[c] = static_cast<double>(shift[c]) + off / rows;
      about[c] = least < 0.0 ? 0.0 : least;  // NaN stays
    }
  });
  for_channels(cut.channels, [&](int64_t first, int64_t channels) {
    double total[kGroup] = {}, squares[kGroup] = {};
    for (int64_t b = 0; b < cut.blocks; ++b) {
      for (int64_t c = 0; c < channels; ++c)
        total[c] += static_cast<double>(cut.rows_of(b)) * room.sums(b, 0)[first + c];
    }
    for (int64_t c = 0; c < channels; ++c) total[c] /= static_cast<double>(cut.rows);
    for (int64_t b = 0; b < cut.blocks; ++b) {
      for (int64_t c = 0; c < channels; ++c) {
        const double off = room.sums(b, 0)[first + c] - total[c];
        squares[c] += room.sums(b, 1)[first + c] + static_cast<double>(cut.rows_of(b)) * off * off;
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t channel = first + c;
      mean[channel] = static_cast<float>(total[c]);
      variance[channel] = static_cast<float>(squares[c] / static_cast<double>(cut.rows));
      room.line(1)[channel] = static_cast<float>(static_cast<double>(weight[channel]) *
                                                 inverse_deviation(variance[channel], shape.epsilon));
    }
  });
  const float *center = room.repeated(0, mean), *scale = room.repeated(1), *offset = room.repeated(2, bias);
  cut.for_lines([&](int64_t from, int64_t count) {
    HWY_DYNAMIC_DISPATCH(normalize_lines)
    (x + from, cut.line, count, center, scale, offset, residual ? residual + from : nullptr,
     shape.activation == Activation::relu, y + from);
  });
}

void CpuBackend::batch_norm_backward(const BatchNorm& shape, const float* x, const float* mean,
                                     const float* variance, const float* weight, const float* y,
                                     const float* g, float* dx, float* dweight, float* dbias,
                                     float* dresidual) {
  const Cut cut(shape);
  const Room room(*this, cut, 4);
  const float* passes = shape.activation == Activation::relu ? y : nullptr;
  const float* center = room.repeated(0, mean);
  cut.for_tiles([&](const Tile& t) {
    float sum[kColumns], products[kColumns];
    const int64_t channels = t.columns / cut.repeat;
    HWY_DYNAMIC_DISPATCH(column_products)
    (x + t.from, center + t.channel, g + t.from, passes ? passes + t.from : nullptr,
     dresidual ? dresidual + t.from : nullptr, cut.line, t.lines, t.rest, t.columns, sum, products);
    for (int64_t c = 0; c < channels; ++c) {
      room.sums(t.block, 0)[t.channel + c] = fold(sum, cut.repeat, channels, c);
      room.sums(t.block, 1)[t.channel + c] = fold(products, cut.repeat, channels, c);
    }
  });
  for_channels(cut.channels, [&](int64_t first, int64_t channels) {
    double total[kGroup] = {}, products[kGroup] = {};
    for (int64_t b = 0; b < cut.blocks; ++b) {
      for (int64_t c = 0; c < channels; ++c) {
        total[c] += room.sums(b, 0)[first + c];
        products[c] += room.sums(b, 1)[first + c];
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t channel = first + c;
      const double inverse = inverse_deviation(variance[channel], shape.epsilon);
      const auto rows = static_cast<double>(cut.rows);
      if (dbias) dbias[channel] = static_cast<float>(total[c]);
      if (dweight) dweight[channel] = static_cast<float>(products[c] * inverse);
      room.line(1)[channel] = static_cast<float>(static_cast<double>(weight[channel]) * inverse);
      room.line(2)[channel] = static_cast<float>(total[c] / rows);
      room.line(3)[channel] = static_cast<float>(products[c] * inverse * inverse / rows);
    }
  });
  if (!dx) return;
  if (dresidual) {  // it holds what relu lets through
    g = dresidual;
    passes = nullptr;
  }
  const float *scale = room.repeated(1), *mean_g = room.repeated(2), *slope = room.repeated(3);
  cut.for_lines([&](int64_t from, int64_t count) {
    HWY_DYNAMIC_DISPATCH(pull_lines)
    (x + from, g + from, passes ? passes + from : nullptr, cut.line, count, center, scale, mean_g, slope,
     dx + from);
  });
}

}  // namespace caltrop
#endif
