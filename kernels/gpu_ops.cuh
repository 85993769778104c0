// The host entry point of every op, with the meaning of its namesake in backend.h. All arrays are in device
// memory except where a line says otherwise; arguments were checked by the caller. Each is defined in the .cu
// that stands beside the CPU's .cpp.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/gpu.cuh"
#include "kernels/gpu_runtime.h"

namespace caltrop::CALTROP_WORLD {

// elementwise.cu
void fill(Stream& stream, float value, float* y, int64_t count);
void unary(Stream& stream, Unary op, const float* x, float* y, int64_t count);
void binary(Stream& stream, Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y);

// sum.cu
void sum(Stream& stream, const Dims& dims, uint32_t axes, const float* x, float* y);
void permute(Stream& stream, const Dims& dims, const int* perm, const float* x, float* y);  // perm: host

// matmul.cu
void matmul(Stream& stream, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a,
            const float* b, float* c, const Epilogue& epilogue);

// conv2d.cu
void conv2d(Stream& stream, const Conv2d& shape, const float* x, const float* w, float* y);
void conv2d_dinput(Stream& stream, const Conv2d& shape, const float* g, const float* w, float* dx);
void conv2d_dweight(Stream& stream, const Conv2d& shape, const float* x, const float* g, float* dw);

// pool.cu
void maxpool(Stream& stream, const Pool2d& shape, const float* x, float* y, int32_t* index);
void maxpool_scatter(Stream& stream, const Pool2d& shape, const float* g, const int32_t* index, float* dx);
void maxpool_gather(Stream& stream, const Pool2d& shape, const float* x, const int32_t* index, float* y);
void avgpool(Stream& stream, const Pool2d& shape, const float* x, float* y);
void avgpool_adjoint(Stream& stream, const Pool2d& shape, const float* g, float* dx);

// conv_block.cu
void conv_block(Stream& stream, const ConvBlock& block, const float* x, const float* w, const float* bias,
                float* y, uint8_t* winner, float* slope);
// conv_blocks.cu; networks: host
void conv_blocks(Stream& stream, const ConvBlock& block, const float* x,
                 std::span<const BlockFilters> networks);
// conv_block_dinput.cu, conv_block_dweight.cu
void conv_block_dinput(Stream& stream, const ConvBlock& block, const float* g, const uint8_t* winner,
                       const float* slope, const float* w, float* dx);
void conv_block_dweight(Stream& stream, const ConvBlock& block, const float* x, const float* g,
                        const uint8_t* winner, const float* slope, float* dw, float* dbias);

// softmax.cu
void softmax(Stream& stream, int64_t rows, int64_t cols, const float* x, float* y);
void log_softmax(Stream& stream, int64_t rows, int64_t cols, const float* x, float* y);
void cross_entropy(Stream& stream, int64_t rows, int64_t cols, const float* z, const int32_t* label,
                   float* loss);
void cross_entropy_seed(Stream& stream, int64_t rows, int64_t cols, const float* z, const int32_t* label,
                        bool stable, float* dz);
void argmax(Stream& stream, int64_t rows, int64_t cols, const float* x, int32_t* index);
void one_hot(Stream& stream, int64_t rows, int64_t cols, const int32_t* index, float* y);

// vote.cu; logits: a host array of device arrays
void vote(Stream& stream, int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer);

// random.cu; streams and rows are device arrays of `rows` and `count` entries
void random(Stream& stream, Distribution kind, uint64_t seed, const uint64_t* streams, int64_t rows,
            int64_t cols, float* y);
void gather_images(Stream& stream, const uint8_t* set, const int64_t* rows, int64_t count, int64_t cols,
                   float* y);

// attack_step.cu; eps and size are device arrays of one entry per row, stats likewise
void attack_step(Stream& stream, const AttackStep& step, const float* x, const float* origin, const float* g,
                 const float* eps, const float* size, float* y);
void row_stats(Stream& stream, int64_t rows, int64_t cols, const float* x, RowStats* stats);

// optimizer.cu; the list of updates is a host array, what it points to is not
void sgd(Stream& stream, std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace);
void adam(Stream& stream, std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace);
void rmsprop(Stream& stream, std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace);
void adagrad(Stream& stream, std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace);

}  // namespace caltrop::CALTROP_WORLD
