// Temporary: the convolution block, whose .cu has not landed, runs on the CPU backend in the emulation.
#include "kernels/gpu_ops.cuh"

#ifdef __CUDACC__
#include "kernels/error.h"
#define CALTROP_MISSING(op, call) fail("[" #op "] has no CUDA kernel yet")
#else
#include "kernels/emulation/memory.h"
#define CALTROP_MISSING(op, call) \
  stream.synchronize();           \
  const DeviceWork work;          \
  cpu_backend().call
#endif

#pragma GCC diagnostic ignored "-Wunused-parameter"
namespace caltrop::CALTROP_WORLD {

void conv_block(Stream& stream, const ConvBlock& block, const float* x, const float* w, const float* bias,
                float* y, uint8_t* winner, float* slope) {
  CALTROP_MISSING(conv_block, conv_block(block, x, w, bias, y, winner, slope));
}
void conv_block_dinput(Stream& stream, const ConvBlock& block, const float* g, const uint8_t* winner,
                       const float* slope, const float* w, float* dx) {
  CALTROP_MISSING(conv_block_dinput, conv_block_dinput(block, g, winner, slope, w, dx));
}
void conv_block_dweight(Stream& stream, const ConvBlock& block, const float* x, const float* g,
                        const uint8_t* winner, const float* slope, float* dw, float* dbias) {
  CALTROP_MISSING(conv_block_dweight, conv_block_dweight(block, x, g, winner, slope, dw, dbias));
}

}  // namespace caltrop::CALTROP_WORLD
