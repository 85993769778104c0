// Convolution and its adjoints: which path computes a shape. For forward and d-input the choice depends on
// one image's sizes alone, never on their number, so that an image has the same bits in every batch.

#include "kernels/conv2d_paths.cuh"
#include "kernels/partial_sums.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

// Tensor cores: tiles are 64 x 64, and below this many terms of a sum the splitting of operands could cost
// more than the roundings of a plain sum do (tf32_tile.cuh).
constexpr int64_t kManyChannels = 16, kManyTerms = 64;

bool has_many_channels(const Conv2d& s) {
  return s.cin >= kManyChannels && s.cout >= kManyChannels && s.cin % 4 == 0 && s.cout % 4 == 0;
}

// y holds the sums.
__global__ void epilogue_kernel(ConvEpilogue epilogue, int64_t channels, float* y, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) {
    float sum = y[i];
    if (epilogue.bias) sum += epilogue.bias[i % channels];
    if (epilogue.residual) sum += epilogue.residual[i];
    y[i] = finished({nullptr, epilogue.activation}, sum, 0);
  }
}

}  // namespace

void GpuBackend::conv2d(const Conv2d& s, const float* x, const float* w, float* y,
                        const ConvEpilogue& epilogue) {
  constexpr int kThreads = 256;
  const Stream::Op range(stream_, "conv2d");
  const auto sums = [&] {
    if (conv2d_cudnn(*this, s, x, w, y)) return;
    if (has_many_channels(s) && s.kh * s.kw * s.cin >= kManyTerms) return conv2d_mma(stream_, s, x, w, y);
    if (s.cin < kManyChannels && conv2d_direct(stream_, s, x, w, y)) return;
    conv2d_gemm(stream_, s, x, w, y);
  };
  sums();
  if (!epilogue.bias && !epilogue.residual && epilogue.activation == Activation::none) return;
  const int64_t count = s.n * s.out_h() * s.out_w() * s.cout;
  launch("conv2d", epilogue_kernel, grid_for(count, kThreads), kThreads, 0, stream_, epilogue, s.cout, y,
         count);
}

void GpuBackend::conv2d_dinput(const Conv2d& s, const float* g, const float* w, float* dx) {
  const Stream::Op range(stream_, "conv2d_dinput");
  if (conv2d_dinput_cudnn(*this, s, g, w, dx)) return;
  if (has_many_channels(s) && s.kh * s.kw * s.cout >= kManyTerms)
    return conv2d_dinput_mma(stream_, s, g, w, dx);
  conv2d_dinput_gemm(stream_, s, g, w, dx);
}

void GpuBackend::conv2d_dweight(const Conv2d& s, const float* x, const float* g, float* dw) {
  const Stream::Op range(stream_, "conv2d_dweight");
  if (conv2d_dweight_cudnn(*this, s, x, g, dw)) return;
  if (has_many_channels(s) && s.n * s.out_h() * s.out_w() >= kManyTerms)
    return conv2d_dweight_mma(stream_, s, x, g, dw);
  conv2d_dweight_gemm(stream_, s, x, g, dw);
}

}  // namespace caltrop::CALTROP_WORLD
