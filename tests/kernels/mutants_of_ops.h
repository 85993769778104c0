// Kernels that are wrong on purpose, in the ways kernels go wrong: memory, element-wise ops, reductions,
// products, convolution and pooling.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu_backend.h"
#include "tests/kernels/checks.h"

namespace caltrop::test::mutants {

using Base = CpuBackend;

// ---- Memory and element-wise ops.
struct MisalignedBlocks : Base {
  void* allocate(size_t bytes) override { return static_cast<char*>(Base::allocate(bytes + 64)) + 16; }
  void deallocate(void* block, size_t bytes) noexcept override {
    Base::deallocate(static_cast<char*>(block) - 16, bytes + 64);
  }
};
struct LosesLastByteUp : Base {
  void upload(void* device, const void* host, size_t bytes) override {
    Base::upload(device, host, bytes > 64 ? bytes - 1 : bytes);
  }
};
struct LosesLastByteDown : Base {
  void download(void* host, const void* device, size_t bytes) override {
    Base::download(host, device, bytes > 64 ? bytes - 1 : bytes);
  }
};
struct CopiesTheWrongWay : Base {
  void copy(void* to, const void* from, size_t bytes) override {
    Base::copy(const_cast<void*>(from), to, bytes);
  }
};
struct SharesSmallBlocks : Base {
  void* allocate(size_t bytes) override {
    return bytes >= 63 && bytes <= 65 ? shared_ : Base::allocate(bytes);
  }
  void deallocate(void* block, size_t bytes) noexcept override {
    if (block != shared_) Base::deallocate(block, bytes);
  }
  alignas(64) char shared_[128];
};
struct SkipsTheLastBody : Base {
  void for_each(int64_t count, const std::function<void(int64_t)>& body) override {
    Base::for_each(count > 2 ? count - 1 : count, body);
  }
};
struct RunsWhatItCaptures : Base {
  std::unique_ptr<Replay> capture(std::function<void()> body) override {
    body();
    return Base::capture(std::move(body));
  }
};
struct ReplaysOnce : Base {
  std::unique_ptr<Replay> capture(std::function<void()> body) override {
    struct Once final : Replay {
      void run() override {
        if (body) body();
        body = nullptr;
      }
      std::function<void()> body;
    };
    auto once = std::make_unique<Once>();
    once->body = std::move(body);
    return once;
  }
};
struct NoImageFits : Base {
  int64_t chunk(int64_t floats, int64_t weights) const override {
    return floats > 100000 ? 0 : Base::chunk(floats, weights);
  }
};
struct SwallowsExceptions : Base {
  void for_each(int64_t count, const std::function<void(int64_t)>& body) override {
    Base::for_each(count, [&](int64_t i) {
      try {
        body(i);
      } catch (const std::exception&) {
        return;
      }
    });
  }
};
struct FillsOneTooMany : Base {
  void fill(float value, float* y, int64_t count) override { Base::fill(value, y, count + 1); }
};
struct ForgetsTheTail : Base {
  void unary(Unary op, const float* x, float* y, int64_t count) override {
    Base::unary(op, x, y, count / 4 * 4);
  }
};
struct ReluEatsNan : Base {
  void unary(Unary op, const float* x, float* y, int64_t count) override {
    Base::unary(op, x, y, count);
    for (int64_t i = 0; op == Unary::relu && i < count; ++i) y[i] = y[i] > 0.0f ? y[i] : 0.0f;
  }
};
struct GeluByTanh : Base {
  void unary(Unary op, const float* x, float* y, int64_t count) override {
    if (op != Unary::gelu) return Base::unary(op, x, y, count);
    for (int64_t i = 0; i < count; ++i) {
      y[i] = 0.5f * x[i] * (1.0f + std::tanh(0.7978845608f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
    }
  }
};
struct StepIsOneAtZero : Base {
  void unary(Unary op, const float* x, float* y, int64_t count) override {
    Base::unary(op, x, y, count);
    for (int64_t i = 0; op == Unary::step && i < count; ++i) y[i] = x[i] >= 0.0f ? 1.0f : 0.0f;
  }
};
struct IgnoresBroadcast : Base {
  void binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) override {
    Strided second = b;
    if (dims.rank == 2 && b.stride[0] == 0) second = a;
    Base::binary(op, dims, a, second, y);
  }
};
struct MaximumTakesTheSecond : Base {
  void binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) override {
    op == Binary::maximum ? Base::binary(op, dims, b, a, y) : Base::binary(op, dims, a, b, y);
  }
};
struct GateIsOpenAtZero : Base {
  void binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) override {
    Base::binary(op, dims, a, b, y);
    if (op != Binary::gate || dims.rank != 1 || a.stride[0] != 1 || b.stride[0] != 1) return;
    for (int64_t i = 0; i < dims.count(); ++i) y[i] = b.data[i] >= 0.0f ? a.data[i] : 0.0f;
  }
};

struct WhereIsASum : Base {
  void where(int64_t rows, int64_t cols, const float* mask, const float* a, const float* b,
             float* y) override {
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float share = mask[i / cols] != 0.0f ? 1.0f : 0.0f;
      y[i] = a[i] * share + b[i] * (1.0f - share);
    }
  }
};
struct WhereTakesNanForNo : Base {
  void where(int64_t rows, int64_t cols, const float* mask, const float* a, const float* b,
             float* y) override {
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float m = mask[i / cols];
      y[i] = m != 0.0f && m == m ? a[i] : b[i];
    }
  }
};

// ---- Reductions, permutations, products.
struct SumForgetsAnAxis : Base {
  void sum(const Dims& dims, uint32_t axes, const float* x, float* y) override {
    Dims shorter = dims;
    if (dims.rank > 0 && dims.size[0] > 1) --shorter.size[0];
    Base::sum((axes & 1u) ? shorter : dims, axes, x, y);
  }
};
struct InvertsThePermutation : Base {
  void permute(const Dims& dims, const int* perm, const float* x, float* y) override {
    int inverse[kMaxRank];
    for (int k = 0; k < dims.rank; ++k) inverse[perm[k]] = k;
    Base::permute(dims, inverse, x, y);
  }
};
struct IgnoresTransposeB : Base {
  void matmul(bool trans_a, bool, int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
              const Epilogue& epilogue) override {
    Base::matmul(trans_a, false, m, n, k, a, b, c, epilogue);
  }
};
struct DropsTheLastTerm : Base {
  void matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
              float* c, const Epilogue& epilogue) override {
    Base::matmul(trans_a, trans_b, m, n, k, a, b, c, epilogue);
    if (m > 0 && n > 0 && k > 100) c[m * n - 1] -= a[m * k - 1] * b[n * k - 1];
  }
};
struct BatchRepeatsTheFirst : Base {
  void batch_matmul(bool trans_a, bool trans_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                    const float* a, const float* b, float* c) override {
    for (int64_t i = 0; i < batch; ++i) Base::batch_matmul(trans_a, trans_b, 1, m, n, k, a, b, c + i * m * n);
  }
};
// Inputs rounded to 11 bits, as TF32 tensor cores do.
struct ReducedPrecision : Base {
  static std::vector<float> rounded(const float* x, int64_t count) {
    std::vector<float> y(x, x + count);
    for (float& v : y) {
      uint32_t bits;
      std::memcpy(&bits, &v, sizeof v);
      bits = (bits + 0x1000u) & 0xFFFFE000u;
      std::memcpy(&v, &bits, sizeof v);
    }
    return y;
  }
  void matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
              float* c, const Epilogue& epilogue) override {
    Base::matmul(trans_a, trans_b, m, n, k, rounded(a, m * k).data(), rounded(b, k * n).data(), c, epilogue);
  }
  void conv2d(const Conv2d& s, const float* x, const float* w, float* y,
              const ConvEpilogue& epilogue) override {
    const auto size = static_cast<int64_t>(reference::x_size(s));
    Base::conv2d(s, rounded(x, size).data(), rounded(w, static_cast<int64_t>(reference::w_size(s))).data(), y,
                 epilogue);
  }
};

// ---- Convolution.
struct ForgetsPadding : Base {
  void conv2d(const Conv2d& s, const float* x, const float* w, float* y,
              const ConvEpilogue& epilogue) override {
    Base::conv2d(s, x, w, y, epilogue);
    if (s.pad_w == 0 || s.n == 0) return;
    for (int64_t o = 0; o < s.cout; ++o) y[o] = y[s.cout * (s.out_w() > 1) + o];  // the corner sees no border
  }
};
struct ConvAddsTheFirstImage : Base {
  void conv2d(const Conv2d& s, const float* x, const float* w, float* y,
              const ConvEpilogue& epilogue) override {
    const size_t size = reference::y_size(s), image = s.n > 0 ? size / static_cast<size_t>(s.n) : 0;
    std::vector<float> repeated;
    for (size_t i = 0; epilogue.residual && i < size; ++i) repeated.push_back(epilogue.residual[i % image]);
    Base::conv2d(s, x, w, y,
                 {epilogue.bias, epilogue.residual ? repeated.data() : nullptr, epilogue.activation});
  }
};
struct ConvActivatesBeforeItAdds : Base {
  void conv2d(const Conv2d& s, const float* x, const float* w, float* y,
              const ConvEpilogue& epilogue) override {
    Base::conv2d(s, x, w, y, {epilogue.bias, nullptr, epilogue.activation});
    for (size_t i = 0; epilogue.residual && i < reference::y_size(s); ++i) y[i] += epilogue.residual[i];
  }
};
struct DinputTurnsARow : Base {
  void conv2d_dinput(const Conv2d& s, const float* g, const float* w, float* dx) override {
    Base::conv2d_dinput(s, g, w, dx);
    if (s.stride_w > 1 && s.n > 0 && s.cin > 0) std::swap(dx[0], dx[s.cin * (s.w - 1)]);
  }
};
struct DinputLosesAnImage : Base {
  void conv2d_dinput(const Conv2d& s, const float* g, const float* w, float* dx) override {
    Base::conv2d_dinput(s, g, w, dx);
    const int64_t image = s.h * s.w * s.cin;
    if (s.n > 1) std::copy_n(dx, image, dx + (s.n - 1) * image);
  }
};
struct DweightLosesAChunk : Base {
  void conv2d_dweight(const Conv2d& s, const float* x, const float* g, float* dw) override {
    Conv2d fewer = s;
    fewer.n = s.n > 16 ? s.n / 16 * 16 : s.n;
    Base::conv2d_dweight(fewer, x, g, dw);
  }
};
struct DweightIsAMean : Base {
  void conv2d_dweight(const Conv2d& s, const float* x, const float* g, float* dw) override {
    Base::conv2d_dweight(s, x, g, dw);
    for (size_t i = 0; i < reference::w_size(s) && s.n > 0; ++i) dw[i] /= static_cast<float>(s.n);
  }
};

// ---- Pooling.
struct LastMaximumWins : Base {
  void maxpool(const Pool2d& s, const float* x, float* y, int32_t* index) override {
    Base::maxpool(s, x, y, index);
    const Values wide = reference::widen(std::vector<float>(x, x + reference::x_size(s)));
    reference::for_windows(s, [&](size_t to, size_t from, int64_t position) {
      if (wide[from] == static_cast<double>(y[to])) index[to] = static_cast<int32_t>(position);
    });
  }
};
struct MaxpoolDropsNan : Base {
  void maxpool(const Pool2d& s, const float* x, float* y, int32_t* index) override {
    Base::maxpool(s, x, y, index);
    for (size_t i = 0; i < reference::y_size(s); ++i) y[i] = std::isnan(y[i]) ? 0.0f : y[i];
  }
};
struct RankFromAbove : Base {
  void rankpool(const Pool2d& s, int64_t rank, const float* x, float* y, int32_t* index) override {
    std::vector<float> turned(x, x + reference::x_size(s));
    for (float& v : turned) v = -v;
    Base::rankpool(s, rank, turned.data(), y, index);
    for (size_t i = 0; i < reference::y_size(s); ++i) y[i] = -y[i];
  }
};
struct RankDropsNan : Base {
  void rankpool(const Pool2d& s, int64_t rank, const float* x, float* y, int32_t* index) override {
    std::vector<float> filled(x, x + reference::x_size(s));
    for (float& v : filled) v = std::isnan(v) ? std::numeric_limits<float>::infinity() : v;
    Base::rankpool(s, rank, filled.data(), y, index);
  }
};
struct ScatterOverwrites : Base {
  void maxpool_scatter(const Pool2d& s, const float* g, const int32_t* index, float* dx) override {
    std::fill_n(dx, reference::x_size(s), 0.0f);
    for (size_t to = 0; to < reference::y_size(s); ++to) {
      const auto per_image = static_cast<size_t>(s.out_h() * s.out_w() * s.c), c = static_cast<size_t>(s.c);
      dx[(to / per_image * static_cast<size_t>(s.h * s.w) + static_cast<size_t>(index[to])) * c + to % c] =
          g[to];
    }
  }
};
struct GatherReadsTheFirst : Base {
  void maxpool_gather(const Pool2d& s, const float* x, const int32_t* index, float* y) override {
    std::vector<int32_t> near(index, index + reference::y_size(s));
    for (int32_t& at : near) at -= at > 0 ? 1 : 0;
    Base::maxpool_gather(s, x, near.data(), y);
  }
};
struct AverageOfTheWrongCount : Base {
  void avgpool(const Pool2d& s, const float* x, float* y) override {
    Base::avgpool(s, x, y);
    if (s.kh == s.kw) return;
    const float wrong = static_cast<float>(s.kw) / static_cast<float>(s.kh);
    for (size_t i = 0; i < reference::y_size(s); ++i) y[i] *= wrong;
  }
};
struct AdjointScaledBy03 : Base {
  void avgpool_adjoint(const Pool2d& s, const float* g, float* dx) override {
    Base::avgpool_adjoint(s, g, dx);
    for (size_t i = 0; i < reference::x_size(s); ++i) dx[i] *= 0.3f;
  }
};

// ---- Batch norm.
struct VarianceIsUnbiased : Base {
  void batch_norm(const BatchNorm& s, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override {
    Base::batch_norm(s, x, weight, bias, residual, y, mean, variance);
    for (int64_t c = 0; c < s.channels && s.rows > 1; ++c)
      variance[c] *= static_cast<float>(s.rows) / static_cast<float>(s.rows - 1);
  }
};
// The mean of squares less the square of the mean: in fp32 nothing is left of a small variance around a large mean.
struct VarianceOfSquares : Base {
  void batch_norm(const BatchNorm& s, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override {
    Base::batch_norm(s, x, weight, bias, residual, y, mean, variance);
    for (int64_t c = 0; c < s.channels && s.rows > 0; ++c) {
      float sum = 0.0f;
      for (int64_t r = 0; r < s.rows; ++r) sum += x[r * s.channels + c] * x[r * s.channels + c];
      variance[c] = sum / static_cast<float>(s.rows) - mean[c] * mean[c];
    }
  }
};
struct NormForgetsTheLastRow : Base {
  void batch_norm(const BatchNorm& s, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override {
    const BatchNorm fewer{s.rows > 1 ? s.rows - 1 : s.rows, s.channels, s.epsilon, s.activation};
    std::copy_n(x, s.rows * s.channels, y);
    Base::batch_norm(fewer, x, weight, bias, residual, y, mean, variance);
  }
};
struct NormDropsNan : Base {
  void batch_norm(const BatchNorm& s, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override {
    Base::batch_norm(s, x, weight, bias, residual, y, mean, variance);
    for (int64_t i = 0; i < s.rows * s.channels; ++i) y[i] = std::isnan(y[i]) ? 0.0f : y[i];
  }
};
struct NormActivatesBeforeItAdds : Base {
  void batch_norm(const BatchNorm& s, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override {
    Base::batch_norm(s, x, weight, bias, nullptr, y, mean, variance);
    for (int64_t i = 0; residual && i < s.rows * s.channels; ++i) y[i] += residual[i];
  }
};
struct NormForgetsRelu : Base {
  void batch_norm(const BatchNorm& s, const float* x, const float* weight, const float* bias,
                  const float* residual, float* y, float* mean, float* variance) override {
    Base::batch_norm({s.rows, s.channels, s.epsilon}, x, weight, bias, residual, y, mean, variance);
  }
};
struct MomentsAreConstants : Base {
  void batch_norm_backward(const BatchNorm& s, const float* x, const float* mean, const float* variance,
                           const float* weight, const float* y, const float* g, float* dx, float* dweight,
                           float* dbias, float* dresidual) override {
    Base::batch_norm_backward(s, x, mean, variance, weight, y, g, dx, dweight, dbias, dresidual);
    for (int64_t i = 0; dx && i < s.rows * s.channels; ++i)
      dx[i] = g[i] * weight[i % s.channels] / std::sqrt(variance[i % s.channels] + s.epsilon);
  }
};
struct GradientPassesRelu : Base {
  void batch_norm_backward(const BatchNorm& s, const float* x, const float* mean, const float* variance,
                           const float* weight, const float* y, const float* g, float* dx, float* dweight,
                           float* dbias, float* dresidual) override {
    Base::batch_norm_backward(s, x, mean, variance, weight, y, g, dx, dweight, dbias, dresidual);
    Base::batch_norm_backward({s.rows, s.channels, s.epsilon}, x, mean, variance, weight, y, g, dx, nullptr,
                              nullptr, nullptr);
  }
};
struct ResidualGetsAllOfTheGradient : Base {
  void batch_norm_backward(const BatchNorm& s, const float* x, const float* mean, const float* variance,
                           const float* weight, const float* y, const float* g, float* dx, float* dweight,
                           float* dbias, float* dresidual) override {
    Base::batch_norm_backward(s, x, mean, variance, weight, y, g, dx, dweight, dbias, dresidual);
    if (dresidual) std::copy_n(g, s.rows * s.channels, dresidual);
  }
};
struct WeightGradientOfRawInputs : Base {
  void batch_norm_backward(const BatchNorm& s, const float* x, const float* mean, const float* variance,
                           const float* weight, const float* y, const float* g, float* dx, float* dweight,
                           float* dbias, float* dresidual) override {
    Base::batch_norm_backward(s, x, mean, variance, weight, y, g, dx, dweight, dbias, dresidual);
    const std::vector<float> zeros(static_cast<size_t>(s.channels));
    if (dweight)
      Base::batch_norm_backward(s, x, zeros.data(), variance, weight, y, g, nullptr, dweight, nullptr,
                                nullptr);
  }
};
struct BackwardWritesNoBiasAlone : Base {
  void batch_norm_backward(const BatchNorm& s, const float* x, const float* mean, const float* variance,
                           const float* weight, const float* y, const float* g, float* dx, float* dweight,
                           float* dbias, float* dresidual) override {
    if (dx || dweight || dresidual)
      Base::batch_norm_backward(s, x, mean, variance, weight, y, g, dx, dweight, dbias, dresidual);
  }
};

}  // namespace caltrop::test::mutants
