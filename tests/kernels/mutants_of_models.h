// Kernels that are wrong on purpose, in the ways kernels go wrong: the fused block, losses, random numbers,
// attack steps and optimisers.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/cpu_backend.h"
#include "tests/kernels/checks.h"

namespace caltrop::test::mutants {

using Base = CpuBackend;

// ---- The fused block.
struct BlockForgetsBias : Base {
  void conv_block(const ConvBlock& b, const float* x, const float* w, const float*, float* y, uint8_t* winner,
                  float* slope) override {
    Base::conv_block(b, x, w, nullptr, y, winner, slope);
  }
};
struct BlockForgetsThatDeadIsDead : Base {
  void conv_block(const ConvBlock& b, const float* x, const float* w, const float* bias, float* y,
                  uint8_t* winner, float* slope) override {
    Base::conv_block(b, x, w, bias, y, winner, slope);
    for (int64_t i = 0; winner && i < b.pooled(); ++i) winner[i] = winner[i] == kDead ? 0 : winner[i];
  }
};
struct BlockGivesTheSlopeOfTheOutput : Base {
  void conv_block(const ConvBlock& b, const float* x, const float* w, const float* bias, float* y,
                  uint8_t* winner, float* slope) override {
    Base::conv_block(b, x, w, bias, y, winner, slope);
    for (int64_t i = 0; slope && i < b.pooled(); ++i)
      slope[i] = static_cast<float>(reference::gelu_grad(y[i]));
  }
};
// The maximum of gelu taken at the largest input alone: wrong where all inputs of a window are far below
// zero.
struct BlockTakesGeluForMonotone : Base {
  void conv_block(const ConvBlock& b, const float* x, const float* w, const float* bias, float* y,
                  uint8_t* winner, float* slope) override {
    ConvBlock linear = b;
    linear.activation = Activation::none;
    if (b.activation != Activation::gelu) return Base::conv_block(b, x, w, bias, y, winner, slope);
    Base::conv_block(linear, x, w, bias, y, winner, nullptr);
    for (int64_t i = 0; slope && i < b.pooled(); ++i)
      slope[i] = static_cast<float>(reference::gelu_grad(y[i]));
    for (int64_t i = 0; i < b.pooled(); ++i) y[i] = static_cast<float>(reference::gelu(y[i]));
  }
};
struct BlocksTakeTheFirstBias : Base {
  void conv_blocks(const ConvBlock& block, const float* x, std::span<const BlockFilters> networks) override {
    std::vector<BlockFilters> wrong(networks.begin(), networks.end());
    for (BlockFilters& network : wrong) {
      if (network.cout == wrong[0].cout) network.bias = wrong[0].bias;
    }
    Base::conv_blocks(block, x, wrong);
  }
};
struct BlockGradientTransposesTheWindow : Base {
  void conv_block_dinput(const ConvBlock& b, const float* g, const uint8_t* winner, const float* slope,
                         const float* w, float* dx) override {
    std::vector<uint8_t> turned(winner, winner + b.pooled());
    for (uint8_t& at : turned) {
      if (at != kDead && b.pool_h == b.pool_w)
        at = static_cast<uint8_t>(at % b.pool_w * b.pool_w + at / b.pool_w);
    }
    Base::conv_block_dinput(b, g, turned.data(), slope, w, dx);
  }
};
struct BlockWeightGradientIgnoresSlope : Base {
  void conv_block_dweight(const ConvBlock& b, const float* x, const float* g, const uint8_t* winner,
                          const float*, float* dw, float* dbias) override {
    Base::conv_block_dweight(b, x, g, winner, nullptr, dw, dbias);
  }
};
struct BlockBiasGradientCountsTheDead : Base {
  void conv_block_dweight(const ConvBlock& b, const float* x, const float* g, const uint8_t* winner,
                          const float* slope, float* dw, float* dbias) override {
    Base::conv_block_dweight(b, x, g, winner, slope, dw, dbias);
    for (int64_t i = 0; dbias && i < b.pooled(); ++i)
      dbias[i % b.conv.cout] += winner[i] == kDead ? g[i] : 0.0f;
  }
};

// ---- Rows of logits.
struct SoftmaxWithoutMaximum : Base {
  void softmax(int64_t rows, int64_t cols, const float* x, float* y) override {
    for (int64_t r = 0; r < rows; ++r) {
      float sum = 0.0f;
      for (int64_t k = 0; k < cols; ++k) sum += std::exp(x[r * cols + k]);
      for (int64_t k = 0; k < cols; ++k) y[r * cols + k] = std::exp(x[r * cols + k]) / sum;
    }
  }
};
struct LogOfSoftmax : Base {
  void log_softmax(int64_t rows, int64_t cols, const float* x, float* y) override {
    Base::softmax(rows, cols, x, y);
    for (int64_t i = 0; i < rows * cols; ++i) y[i] = std::log(y[i]);
  }
};
struct LossOfTheFirstClass : Base {
  void cross_entropy(int64_t rows, int64_t cols, const float* z, const int32_t*, float* loss) override {
    const std::vector<int32_t> first(static_cast<size_t>(rows));
    Base::cross_entropy(rows, cols, z, first.data(), loss);
  }
};
struct BackwardAlwaysAsTorch : Base {
  void cross_entropy_backward(int64_t rows, int64_t cols, const float* z, const int32_t* label, bool,
                              float* dz) override {
    Base::cross_entropy_backward(rows, cols, z, label, false, dz);
  }
};
struct ArgmaxTakesTheLast : Base {
  void argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) override {
    Base::argmax(rows, cols, x, index);
    for (int64_t r = 0; r < rows; ++r) {
      const float best = x[r * cols + index[r]];
      for (int64_t k = index[r]; k < cols; ++k)
        index[r] = x[r * cols + k] == best ? static_cast<int32_t>(k) : index[r];
    }
  }
};
// By comparisons alone a NaN is the maximum in front and nowhere else.
struct ArgmaxPassesOverNan : Base {
  void argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) override {
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = x + r * cols;
      index[r] = static_cast<int32_t>(std::max_element(row, row + cols) - row);
    }
  }
};
struct SoftmaxDropsNan : Base {
  void softmax(int64_t rows, int64_t cols, const float* x, float* y) override {
    std::vector<float> numbers(x, x + rows * cols);
    for (float& z : numbers) z = std::isnan(z) ? 0.0f : z;
    Base::softmax(rows, cols, numbers.data(), y);
  }
};
struct TiesGoToTheFirstNetwork : Base {
  void vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) override {
    Base::vote(rows, cols, logits, answer);
    if (logits.size() == 2) Base::argmax(rows, cols, logits[0], answer);
  }
};
struct SoftmaxDecidesAlone : Base {
  void vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) override {
    std::vector<float> sum(static_cast<size_t>(rows * cols)), one(sum.size());
    for (const float* z : logits) {
      Base::softmax(rows, cols, z, one.data());
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
    }
    Base::argmax(rows, cols, sum.data(), answer);
  }
};
struct OneHotForgetsZeros : Base {
  void one_hot(int64_t rows, int64_t cols, const int32_t* index, float* y) override {
    for (int64_t r = 0; r < rows; ++r) y[r * cols + index[r]] = 1.0f;
  }
};

// ---- Random numbers and images.
struct RowsShareAStream : Base {
  void random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
              float* y) override {
    const std::vector<uint64_t> same(streams.size(), streams.empty() ? 0 : streams[0]);
    Base::random(kind, seed, same, cols, y);
  }
};
struct UniformReachesOne : Base {
  void random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
              float* y) override {
    Base::random(kind, seed, streams, cols, y);
    if (kind == Distribution::uniform && cols > 10000 && !streams.empty()) y[cols - 1] = 1.0f;
  }
};
struct DividesBy256 : Base {
  void gather_images(const uint8_t* set, std::span<const int64_t> rows, int64_t cols, float* y) override {
    Base::gather_images(set, rows, cols, y);
    for (int64_t i = 0; i < static_cast<int64_t>(rows.size()) * cols; ++i) y[i] *= 255.0f / 256.0f;
  }
};

// ---- Attacks.
struct ProjectsAfterTheBox : Base {
  void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                   const float* eps, const float* step_size, float* y) override {
    AttackStep open = step;
    open.low = -10.0f;
    open.high = 10.0f;
    Base::attack_step(open, x, origin, g, eps, step_size, y);
  }
};
struct FloorsTheGradientNorm : Base {
  void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                   const float* eps, const float* step_size, float* y) override {
    std::vector<float> small(g, g + step.rows * step.cols);
    for (float& v : small) v = std::fabs(v) < 1e-12f ? 0.0f : v;
    Base::attack_step(step, x, origin, small.data(), eps, step_size, y);
  }
};
struct MovesWithoutGradient : Base {
  void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                   const float* eps, const float* step_size, float* y) override {
    std::vector<float> nudged(g, g + step.rows * step.cols);
    for (float& v : nudged) v = v == 0.0f ? 1e-30f : v;
    Base::attack_step(step, x, origin, nudged.data(), eps, step_size, y);
  }
};
struct IgnoresDirection : Base {
  void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                   const float* eps, const float* step_size, float* y) override {
    AttackStep up = step;
    up.direction = 1.0f;
    Base::attack_step(up, x, origin, g, eps, step_size, y);
  }
};
struct UsesTheFirstRowsBudget : Base {
  void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                   const float* eps, const float* step_size, float* y) override {
    const std::vector<float> same(static_cast<size_t>(step.rows), step.rows > 0 ? eps[0] : 0.0f);
    Base::attack_step(step, x, origin, g, same.data(), step_size, y);
  }
};
struct NormsInFloat : Base {
  void row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) override {
    Base::row_stats(rows, cols, x, stats);
    for (int64_t r = 0; r < rows; ++r) {
      float square = 0.0f;
      for (int64_t i = 0; i < cols; ++i)
        square += std::isnan(x[r * cols + i]) ? 0.0f : x[r * cols + i] * x[r * cols + i];
      stats[r].l2 = std::sqrt(square);
    }
  }
};
struct CountsNoNan : Base {
  void row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) override {
    Base::row_stats(rows, cols, x, stats);
    for (int64_t r = 0; r < rows; ++r) stats[r].nans = 0.0f;
  }
};

// ---- Optimisers.
struct SgdWithoutNesterov : Base {
  void sgd(std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace) override {
    Sgd plain = rule;
    plain.nesterov = false;
    Base::sgd(updates, plain, pace);
  }
};
struct AdamWithoutCorrection : Base {
  void adam(std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace) override {
    const Pace late{pace->rate, 1.0f};
    Base::adam(updates, rule, &late);
  }
};
struct RmsPropForgetsDecay : Base {
  void rmsprop(std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace) override {
    RmsProp plain = rule;
    plain.weight_decay = 0.0f;
    Base::rmsprop(updates, plain, pace);
  }
};
struct AdagradSkipsTheLastParameter : Base {
  void adagrad(std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace) override {
    Base::adagrad(updates.subspan(0, updates.size() - 1), rule, pace);
  }
};

}  // namespace caltrop::test::mutants
