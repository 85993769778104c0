// Forward convolution with few input channels, without a matrix product: see conv_quads.cuh.

#include "kernels/conv2d_paths.cuh"
#include "kernels/conv_quads.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

template <bool k3x3>
__global__ void __launch_bounds__(128, 5)
    conv_direct_kernel(QuadShape s, bool vectors, const float* x, const float* w, float* y) {
  const QuadPlace at(s);
  float z[4][kQuadChannels];
  quad_sums<k3x3>(s, at, x, w, nullptr, z);
  if (!at.valid) return;
  const ConvShape& conv = s.conv;
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const int oy = 2 * at.qy + p / 2, ox = 2 * at.qx + p % 2;
    if (oy >= conv.out_h || ox >= conv.out_w) continue;
    float* to = y + ((at.image * conv.out_h + oy) * conv.out_w + ox) * conv.cout + at.o;
#pragma unroll
    for (int o = 0; o < kQuadChannels; o += 4) {
      if (vectors && at.o + o < conv.cout) {
        *reinterpret_cast<float4*>(to + o) = make_float4(z[p][o], z[p][o + 1], z[p][o + 2], z[p][o + 3]);
        continue;
      }
#pragma unroll
      for (int i = o; i < o + 4; ++i) {
        if (at.o + i < conv.cout) to[i] = z[p][i];
      }
    }
  }
}

}  // namespace

bool conv2d_direct(Stream& stream, const Conv2d& s, const float* x, const float* w, float* y) {
  if (s.n == 0 || s.cout == 0 || s.out_h() <= 0 || s.out_w() <= 0) return true;
  const QuadShape shape(s, (s.out_h() + 1) / 2, (s.out_w() + 1) / 2);
  if (!shape.fits()) return false;
  const bool vectors = s.cout % 4 == 0 && is_aligned16(y);
  launch("conv2d", is_3x3(s) ? conv_direct_kernel<true> : conv_direct_kernel<false>, shape.grid(),
         shape.block(), shape.shared_bytes(), stream, shape, vectors, x, w, y);
  return true;
}

}  // namespace caltrop::CALTROP_WORLD
