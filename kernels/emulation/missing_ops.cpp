// Temporary: ops whose .cu has not landed run on the CPU backend.
#include "kernels/emulation/memory.h"
#include "kernels/gpu_ops.cuh"

namespace caltrop::emu {

#ifndef CALTROP_HAS_ELEMENTWISE
void fill(Stream& stream, float value, float* y, int64_t count) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().fill(value, y, count);
}
void unary(Stream& stream, Unary op, const float* x, float* y, int64_t count) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().unary(op, x, y, count);
}
void binary(Stream& stream, Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().binary(op, dims, a, b, y);
}
#endif

#ifndef CALTROP_HAS_SUM
void sum(Stream& stream, const Dims& dims, uint32_t axes, const float* x, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().sum(dims, axes, x, y);
}
void permute(Stream& stream, const Dims& dims, const int* perm, const float* x, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().permute(dims, perm, x, y);
}
#endif

#ifndef CALTROP_HAS_MATMUL
void matmul(Stream& stream, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a,
            const float* b, float* c, const Epilogue&) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().matmul(trans_a, trans_b, m, n, k, a, b, c);
}
#endif

#ifndef CALTROP_HAS_CONV2D
void conv2d(Stream& stream, const Conv2d& shape, const float* x, const float* w, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().conv2d(shape, x, w, y);
}
void conv2d_dinput(Stream& stream, const Conv2d& shape, const float* g, const float* w, float* dx) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().conv2d_dinput(shape, g, w, dx);
}
void conv2d_dweight(Stream& stream, const Conv2d& shape, const float* x, const float* g, float* dw) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().conv2d_dweight(shape, x, g, dw);
}
#endif

#ifndef CALTROP_HAS_POOL
void maxpool(Stream& stream, const Pool2d& shape, const float* x, float* y, int32_t* index) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().maxpool(shape, x, y, index);
}
void maxpool_scatter(Stream& stream, const Pool2d& shape, const float* g, const int32_t* index, float* dx) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().maxpool_scatter(shape, g, index, dx);
}
void maxpool_gather(Stream& stream, const Pool2d& shape, const float* x, const int32_t* index, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().maxpool_gather(shape, x, index, y);
}
void avgpool(Stream& stream, const Pool2d& shape, const float* x, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().avgpool(shape, x, y);
}
void avgpool_adjoint(Stream& stream, const Pool2d& shape, const float* g, float* dx) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().avgpool_adjoint(shape, g, dx);
}
#endif

#ifndef CALTROP_HAS_CONV_BLOCK
void conv_block(Stream& stream, const ConvBlock& block, const float* x, const float* w, const float* bias,
                float* y, uint8_t* winner, float* slope) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().conv_block(block, x, w, bias, y, winner, slope);
}
void conv_block_dinput(Stream& stream, const ConvBlock& block, const float* g, const uint8_t* winner,
                       const float* slope, const float* w, float* dx) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().conv_block_dinput(block, g, winner, slope, w, dx);
}
void conv_block_dweight(Stream& stream, const ConvBlock& block, const float* x, const float* g,
                        const uint8_t* winner, const float* slope, float* dw, float* dbias) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().conv_block_dweight(block, x, g, winner, slope, dw, dbias);
}
#endif

#ifndef CALTROP_HAS_SOFTMAX
void softmax(Stream& stream, int64_t rows, int64_t cols, const float* x, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().softmax(rows, cols, x, y);
}
void log_softmax(Stream& stream, int64_t rows, int64_t cols, const float* x, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().log_softmax(rows, cols, x, y);
}
void cross_entropy(Stream& stream, int64_t rows, int64_t cols, const float* z, const int32_t* label,
                   float* loss) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().cross_entropy(rows, cols, z, label, loss);
}
void cross_entropy_seed(Stream& stream, int64_t rows, int64_t cols, const float* z, const int32_t* label,
                        bool stable, float* dz) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().cross_entropy_seed(rows, cols, z, label, stable, dz);
}
void argmax(Stream& stream, int64_t rows, int64_t cols, const float* x, int32_t* index) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().argmax(rows, cols, x, index);
}
void one_hot(Stream& stream, int64_t rows, int64_t cols, const int32_t* index, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().one_hot(rows, cols, index, y);
}
#endif

#ifndef CALTROP_HAS_OPTIMIZER
void sgd(Stream& stream, std::span<const ParameterUpdate> updates, const Sgd& rule) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().sgd(updates, rule);
}
void adam(Stream& stream, std::span<const ParameterUpdate> updates, const Adam& rule) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().adam(updates, rule);
}
void rmsprop(Stream& stream, std::span<const ParameterUpdate> updates, const RmsProp& rule) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().rmsprop(updates, rule);
}
void adagrad(Stream& stream, std::span<const ParameterUpdate> updates, const Adagrad& rule) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().adagrad(updates, rule);
}
#endif

#ifndef CALTROP_HAS_RANDOM
void random(Stream& stream, Distribution kind, uint64_t seed, const uint64_t* streams, int64_t rows,
            int64_t cols, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().random(kind, seed, {streams, static_cast<size_t>(rows)}, cols, y);
}
void gather_images(Stream& stream, const uint8_t* set, const int64_t* rows, int64_t count, int64_t cols,
                   float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().gather_images(set, {rows, static_cast<size_t>(count)}, cols, y);
}
#endif

#ifndef CALTROP_HAS_ATTACK_STEP
void attack_step(Stream& stream, const AttackStep& step, const float* x, const float* origin, const float* g,
                 const float* eps, const float* size, float* y) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().attack_step(step, x, origin, g, eps, size, y);
}
void row_stats(Stream& stream, int64_t rows, int64_t cols, const float* x, RowStats* stats) {
  stream.synchronize();
  const DeviceWork work;
  cpu_backend().row_stats(rows, cols, x, stats);
}
#endif

}  // namespace caltrop::emu
