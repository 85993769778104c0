// A Backend that passes every call on to another: the base of mutants, which change one method.
#pragma once

#include "kernels/backend.h"

namespace caltrop::test {

class DelegatingBackend : public Backend {
 public:
  explicit DelegatingBackend(Backend& inner) : inner_(inner) {}

  std::string name() const override { return inner_.name(); }
  std::string description() const override { return inner_.description(); }
  void* allocate(size_t bytes) override { return inner_.allocate(bytes); }
  void deallocate(void* block, size_t bytes) noexcept override { inner_.deallocate(block, bytes); }
  void upload(void* device, const void* host, size_t bytes) override { inner_.upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override {
    inner_.download(host, device, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { inner_.copy(to, from, bytes); }
  void for_each(int64_t count, const std::function<void(int64_t)>& body) override {
    inner_.for_each(count, body);
  }
  std::unique_ptr<Replay> capture(std::function<void()> body) override {
    return inner_.capture(std::move(body));
  }
  int64_t chunk(int64_t floats, int64_t weights) const override { return inner_.chunk(floats, weights); }
  bool fuses_convolutions() const override { return inner_.fuses_convolutions(); }

  void fill(float value, float* y, int64_t count) override { inner_.fill(value, y, count); }
  void unary(Unary op, const float* x, float* y, int64_t count) override { inner_.unary(op, x, y, count); }
  void binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) override {
    inner_.binary(op, dims, a, b, y);
  }
  void where(int64_t rows, int64_t cols, const float* mask, const float* a, const float* b,
             float* y) override {
    inner_.where(rows, cols, mask, a, b, y);
  }
  void sum(const Dims& dims, uint32_t axes, const float* x, float* y) override {
    inner_.sum(dims, axes, x, y);
  }
  void permute(const Dims& dims, const int* perm, const float* x, float* y) override {
    inner_.permute(dims, perm, x, y);
  }
  void matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
              float* c, const Epilogue& epilogue) override {
    inner_.matmul(trans_a, trans_b, m, n, k, a, b, c, epilogue);
  }
  void batch_matmul(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                    const float* a, const float* b, float* c) override {
    inner_.batch_matmul(trans_a, trans_b, batch, m, n, k, a, b, c);
  }
  void conv2d(const Conv2d& shape, const float* x, const float* w, float* y,
              const ConvEpilogue& epilogue) override {
    inner_.conv2d(shape, x, w, y, epilogue);
  }
  void conv2d_dinput(const Conv2d& shape, const float* g, const float* w, float* dx) override {
    inner_.conv2d_dinput(shape, g, w, dx);
  }
  void conv2d_dweight(const Conv2d& shape, const float* x, const float* g, float* dw) override {
    inner_.conv2d_dweight(shape, x, g, dw);
  }
  void maxpool(const Pool2d& shape, const float* x, float* y, int32_t* index) override {
    inner_.maxpool(shape, x, y, index);
  }
  void maxpool_scatter(const Pool2d& shape, const float* g, const int32_t* index, float* dx) override {
    inner_.maxpool_scatter(shape, g, index, dx);
  }
  void maxpool_gather(const Pool2d& shape, const float* x, const int32_t* index, float* y) override {
    inner_.maxpool_gather(shape, x, index, y);
  }
  void rankpool(const Pool2d& shape, int64_t rank, const float* x, float* y, int32_t* index) override {
    inner_.rankpool(shape, rank, x, y, index);
  }
  void avgpool(const Pool2d& shape, const float* x, float* y) override { inner_.avgpool(shape, x, y); }
  void avgpool_adjoint(const Pool2d& shape, const float* g, float* dx) override {
    inner_.avgpool_adjoint(shape, g, dx);
  }
  void conv_block(const ConvBlock& block, const float* x, const float* w, const float* bias, float* y,
                  uint8_t* winner, float* slope) override {
    inner_.conv_block(block, x, w, bias, y, winner, slope);
  }
  void conv_blocks(const ConvBlock& block, const float* x, std::span<const BlockFilters> networks) override {
    inner_.conv_blocks(block, x, networks);
  }
  void conv_block_dinput(const ConvBlock& block, const float* g, const uint8_t* winner, const float* slope,
                         const float* w, float* dx) override {
    inner_.conv_block_dinput(block, g, winner, slope, w, dx);
  }
  void conv_block_dweight(const ConvBlock& block, const float* x, const float* g, const uint8_t* winner,
                          const float* slope, float* dw, float* dbias) override {
    inner_.conv_block_dweight(block, x, g, winner, slope, dw, dbias);
  }
  void batch_norm(const BatchNorm& shape, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override {
    inner_.batch_norm(shape, x, weight, bias, residual, y, mean, variance);
  }
  void batch_norm_backward(const BatchNorm& shape, const float* x, const float* mean, const float* variance,
                           const float* weight, const float* y, const float* g, float* dx, float* dweight,
                           float* dbias, float* dresidual) override {
    inner_.batch_norm_backward(shape, x, mean, variance, weight, y, g, dx, dweight, dbias, dresidual);
  }
  void softmax(int64_t rows, int64_t cols, const float* x, float* y) override {
    inner_.softmax(rows, cols, x, y);
  }
  void log_softmax(int64_t rows, int64_t cols, const float* x, float* y) override {
    inner_.log_softmax(rows, cols, x, y);
  }
  void cross_entropy(int64_t rows, int64_t cols, const float* z, const int32_t* label, float* loss) override {
    inner_.cross_entropy(rows, cols, z, label, loss);
  }
  void cross_entropy_backward(int64_t rows, int64_t cols, const float* z, const int32_t* label, bool stable,
                              float* dz) override {
    inner_.cross_entropy_backward(rows, cols, z, label, stable, dz);
  }
  void argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) override {
    inner_.argmax(rows, cols, x, index);
  }
  void vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) override {
    inner_.vote(rows, cols, logits, answer);
  }
  void one_hot(int64_t rows, int64_t cols, const int32_t* index, float* y) override {
    inner_.one_hot(rows, cols, index, y);
  }
  void random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
              float* y) override {
    inner_.random(kind, seed, streams, cols, y);
  }
  void gather_images(const uint8_t* set, std::span<const int64_t> rows, int64_t cols, float* y) override {
    inner_.gather_images(set, rows, cols, y);
  }
  void attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                   const float* eps, const float* step_size, float* y) override {
    inner_.attack_step(step, x, origin, g, eps, step_size, y);
  }
  void row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) override {
    inner_.row_stats(rows, cols, x, stats);
  }
  void sgd(std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace) override {
    inner_.sgd(updates, rule, pace);
  }
  void adam(std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace) override {
    inner_.adam(updates, rule, pace);
  }
  void rmsprop(std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace) override {
    inner_.rmsprop(updates, rule, pace);
  }
  void adagrad(std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace) override {
    inner_.adagrad(updates, rule, pace);
  }

 protected:
  Backend& inner_;
};

}  // namespace caltrop::test
