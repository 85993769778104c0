// The contract on one stream of one device, real or emulated. The ops are defined in the .cu file named after
// each (matmul.cu, conv2d.cu, ...), beside the .cpp of the CPU's body.
#pragma once

#include <string>

#include "kernels/backend.h"
#include "kernels/gpu_runtime.h"

namespace caltrop::CALTROP_WORLD {

class GpuBackend final : public Backend {
 public:
  GpuBackend(std::string name, int device);
  std::string name() const override { return name_; }
  std::string description() const override;
  Stream& stream() { return stream_; }

  void* allocate(size_t bytes) override;
  void deallocate(void* block, size_t bytes) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void for_each(int64_t count, const std::function<void(int64_t)>& body) override;
  std::unique_ptr<Replay> capture(std::function<void()> body) override;
  int64_t chunk(int64_t floats, int64_t weights) const override;
  bool fuses_convolutions() const override;

  void fill(float value, float* y, int64_t count) override;
  void unary(Unary op, const float* x, float* y, int64_t count) override;
  void binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) override;
  void where(int64_t rows, int64_t cols, const float* mask, const float* a, const float* b,
             float* y) override;
  void sum(const Dims& dims, uint32_t axes, const float* x, float* y) override;
  void permute(const Dims& dims, const int* perm, const float* x, float* y) override;

  void matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
              float* c, const Epilogue& epilogue) override;
  void batch_matmul(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                    const float* a, const float* b, float* c) override;
  void conv2d(const Conv2d& shape, const float* x, const float* w, float* y,
              const ConvEpilogue& epilogue) override;
  void conv2d_dinput(const Conv2d& shape, const float* g, const float* w, float* dx) override;
  void conv2d_dweight(const Conv2d& shape, const float* x, const float* g, float* dw) override;

  void maxpool(const Pool2d& shape, const float* x, float* y, int32_t* index) override;
  void maxpool_scatter(const Pool2d& shape, const float* g, const int32_t* index, float* dx) override;
  void maxpool_gather(const Pool2d& shape, const float* x, const int32_t* index, float* y) override;
  void rankpool(const Pool2d& shape, int64_t rank, const float* x, float* y, int32_t* index) override;
  void avgpool(const Pool2d& shape, const float* x, float* y) override;
  void avgpool_adjoint(const Pool2d& shape, const float* g, float* dx) override;

  void conv_block(const ConvBlock& block, const float* x, const float* w, const float* bias, float* y,
                  uint8_t* winner, float* slope) override;
  void conv_blocks(const ConvBlock& block, const float* x, std::span<const BlockFilters> networks) override;
  void conv_block_dinput(const ConvBlock& block, const float* g, const uint8_t* winner, const float* slope,
                         const float* w, float* dx) override;
  void conv_block_dweight(const ConvBlock& block, const float* x, const float* g, const uint8_t* winner,
                          const float* slope, float* dw, float* dbias) override;

  void batch_norm(const BatchNorm& shape, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override;
  void batch_norm_backward(const BatchNorm& shape, const float* x, const float* mean, const float* variance,
                           const float* weight, const float* y, const float* g, float* dx, float* dweight,
                           float* dbias, float* dresidual) override;

  void softmax(int64_t rows, int64_t cols, const float* x, float* y) override;
  void log_softmax(int64_t rows, int64_t cols, const float* x, float* y) override;
  void cross_entropy(int64_t rows, int64_t cols, const float* z, const int32_t* label, float* loss) override;
  void cross_entropy_backward(int64_t rows, int64_t cols, const float* z, const int32_t* label, bool stable,
                              float* dz) override;
  void argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) override;
  void vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) override;
  void one_hot(int64_t rows, int64_t cols, const int32_t* index, float* y) override;

  void random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
              float* y) override;
  void gather_images(const uint8_t* set, std::span<const int64_t> rows, int64_t cols, float* y) override;
  void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                   const float* eps, const float* step_size, float* y) override;
  void row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) override;

  void sgd(std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace) override;
  void adam(std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace) override;
  void rmsprop(std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace) override;
  void adagrad(std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace) override;

 private:
  std::string name_;
  int device_;
  Stream stream_;
};

}  // namespace caltrop::CALTROP_WORLD
