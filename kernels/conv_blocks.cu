// The first blocks of several networks over the same images. For 2 x 2 windows over few input channels a block
// of threads reads the patch of its quads into shared memory once, and takes the filters of all networks past
// it, 32 channels at a time. Anything else goes network by network.

#include "kernels/conv_block_pooled.cuh"
#include "kernels/gpu_backend.h"

namespace caltrop::CALTROP_WORLD {
namespace {

struct Network {
  const float *w, *bias;
  float* y;
  int cout;
  bool vectors;  // y is aligned for 4 channels at a time
};
struct Networks {
  Network at[kMostNetworks];
  int count;
};

template <bool k3x3, Activation kActivation>
__global__ void __launch_bounds__(128, 5) blocks_quad_kernel(QuadShape s, Networks networks, const float* x) {
  const QuadPlace at(s);
  float* filters = dynamic_shared<float>();
  float* patch = filters + s.depth * static_cast<int>(s.filters_of_channel());
  load_quad_patch(s, at, x, 0, patch);
  for (int m = 0; m < networks.count; ++m) {
    const Network& network = networks.at[m];
    for (int first = 0; first < network.cout; first += s.warps * kQuadChannels) {
      __syncthreads();
      load_quad_filters(s, network.w, network.cout, first, 0, filters);
      __syncthreads();
      float z[4][kQuadChannels];
      start_quad(network.bias, network.cout, first + at.o, z);
      add_quad<k3x3>(s, at, patch, filters, s.conv.cin, z);
      store_quad<kActivation>(s, at, first + at.o, network.cout, network.vectors, z,
                              {network.y, nullptr, nullptr});
    }
  }
}

template <Activation kActivation>
void run(Stream& stream, const QuadShape& s, bool three, const Networks& networks, const float* x) {
  const dim3 grid(static_cast<unsigned>(s.tiles * s.conv.n));
  launch("conv_blocks",
         three ? blocks_quad_kernel<true, kActivation> : blocks_quad_kernel<false, kActivation>, grid,
         s.block(), s.shared_bytes(), stream, s, networks, x);
}

}  // namespace

void GpuBackend::conv_blocks(const ConvBlock& b, const float* x, std::span<const BlockFilters> filters) {
  const Stream::Op range(stream_, "conv_blocks");
  if (b.pooled() == 0) return;
  ConvBlock own = b;
  own.conv.cout = 0;
  Networks networks{{}, static_cast<int>(filters.size())};
  for (size_t m = 0; m < filters.size(); ++m) {
    const BlockFilters& f = filters[m];
    own.conv.cout = f.cout > own.conv.cout ? f.cout : own.conv.cout;
    networks.at[m] = {f.w, f.bias, f.y, static_cast<int>(f.cout), f.cout % 4 == 0 && is_aligned16(f.y)};
  }
  const QuadShape s(own.conv, own.out_h(), own.out_w());
  if (b.pool_h != 2 || b.pool_w != 2 || !s.fits() || s.depth < b.conv.cin) {
    for (const BlockFilters& f : filters) {
      own.conv.cout = f.cout;
      conv_block(own, x, f.w, f.bias, f.y, nullptr, nullptr);
    }
    return;
  }
  switch (b.activation) {
    case Activation::none:
      return run<Activation::none>(stream_, s, is_3x3(b.conv), networks, x);
    case Activation::relu:
      return run<Activation::relu>(stream_, s, is_3x3(b.conv), networks, x);
    case Activation::gelu:
      return run<Activation::gelu>(stream_, s, is_3x3(b.conv), networks, x);
  }
}

}  // namespace caltrop::CALTROP_WORLD
