// Convolution and its adjoints as matrix products whose operand of image patches is never stored: its
// elements are fetched from the images while the tiles of gemm_tile.cuh are filled ("implicit GEMM", Chetlur
// et al., "cuDNN: Efficient Primitives for Deep Learning", 2014).
//
//             rows            columns        sum over
//   forward   output pixels   cout           (ky, kx, cin)
//   d-input   input pixels    cin            (ky, kx, cout)
//   d-weight  (ky, kx, cin)   cout           output pixels of all images
//
// This is the path for any shape, in fp32 multiply-adds. The sum of d-weight is cut into chunks of images, a
// number that depends on the sizes alone; a second kernel adds the chunks in order.

#include "kernels/conv2d_paths.cuh"
#include "kernels/conv_patches.cuh"
#include "kernels/gemm_tile.cuh"
#include "kernels/partial_sums.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

using Large = GemmTile<128, 128, 8, 8, 8>;
using Middle = GemmTile<64, 64, 16, 8, 4>;
using Slim = GemmTile<128, 32, 16, 8, 4>;
using Tall = GemmTile<64, 16, 16, 4, 2>;
using Flat = GemmTile<16, 64, 16, 2, 4>;
using Small = GemmTile<16, 32, 16, 2, 2>;

// A thread's share of the copies of slices of patches: one column of each slice, several pixels.
template <bool kAdjoint, int kRows, int kK, int kThreads>
class PatchCopies {
 public:
  __device__ PatchCopies(const Patches& p, const PixelTable<kRows>& table) : p_(p), table_(table) {}

  __device__ void operator()(float* slice, int number) {
    const int column = static_cast<int>(threadIdx.x) % kK, first = static_cast<int>(threadIdx.x) / kK;
    const uint32_t k = static_cast<uint32_t>(number) * kK + static_cast<uint32_t>(column);
    const uint32_t tap = p_.by_channels.quotient(k), channel = p_.by_channels.rest(k, tap);
    const auto ky = static_cast<int>(p_.by_kw.quotient(tap));
    const auto kx = static_cast<int>(p_.by_kw.rest(tap, static_cast<uint32_t>(ky)));
    const float* from = p_.data + channel;
#pragma unroll
    for (int c = 0; c < kRows * kK / kThreads; ++c) {
      const int i = first + c * (kThreads / kK);
      int y = table_.y[i] + (kAdjoint ? -ky : ky), x = table_.x[i] + (kAdjoint ? -kx : kx);
      bool inside = k < p_.depth && y >= 0 && x >= 0;
      if (kAdjoint && inside) {
        const auto uy = static_cast<uint32_t>(y), ux = static_cast<uint32_t>(x);
        const uint32_t qy = p_.by_stride_h.quotient(uy), qx = p_.by_stride_w.quotient(ux);
        inside = p_.by_stride_h.rest(uy, qy) == 0 && p_.by_stride_w.rest(ux, qx) == 0;
        y = static_cast<int>(qy), x = static_cast<int>(qx);
      }
      inside = inside && y < p_.from_h && x < p_.from_w;
      const int64_t at =
          inside ? table_.image[i] + (static_cast<int64_t>(y) * p_.from_w + x) * p_.channels : 0;
      cp_async4(slice + column * (kRows + 4) + i, from + at, inside ? 4 : 0);
    }
  }

 private:
  const Patches& p_;
  const PixelTable<kRows>& table_;
};

template <int kColumns, int kK, int kThreads>
class TransposedCopies {
 public:
  __device__ TransposedCopies(const TransposedWeights& w, int64_t first)
      : w_(w), first_(static_cast<int>(first)) {}

  __device__ void operator()(float* slice, int number) {
    const int row = static_cast<int>(threadIdx.x) % kK, begin = static_cast<int>(threadIdx.x) / kK;
    const uint32_t k = static_cast<uint32_t>(number) * kK + static_cast<uint32_t>(row);
    const uint32_t tap = w_.by_cout.quotient(k), o = w_.by_cout.rest(k, tap);
    const int64_t filter = static_cast<int64_t>(tap) * w_.cin;
#pragma unroll
    for (int c = 0; c < kColumns * kK / kThreads; ++c) {
      const int j = begin + c * (kThreads / kK);
      const bool inside = k < w_.depth && first_ + j < w_.cin;
      const int64_t at = inside ? (filter + first_ + j) * w_.cout + o : 0;
      cp_async4(slice + row * (kColumns + 4) + j, w_.data + at, inside ? 4 : 0);
    }
  }

 private:
  const TransposedWeights& w_;
  int first_;
};

template <typename T>
__device__ void store_tile(const float (&sums)[T::kTM][T::kTN], int64_t first_m, int64_t first_n, int64_t m,
                           int64_t n, bool vectors, float* y) {
  const GemmThread<T> thread;
  const int rows = static_cast<int>(m - first_m < T::kM ? m - first_m : T::kM) - thread.m;
  const int columns = static_cast<int>(n - first_n < T::kN ? n - first_n : T::kN) - thread.n;
  float* out = y + (first_m + thread.m) * n + first_n + thread.n;
#pragma unroll
  for (int i = 0; i < T::kTM; ++i) {
    constexpr bool kAdd = false;
    const int row = GemmThread<T>::row(i);
    if (row < rows) store_row<T>(sums[i], columns, vectors, kAdd, out + row * n);
  }
}

// B is Operand (forward) or TransposedWeights (adjoint).
template <bool kAdjoint, typename T, typename B>
__global__ void __launch_bounds__(T::kThreads, 512 / T::kThreads)
    conv_gemm_kernel(Patches p, B weights, int64_t channels, bool vectors, float* y) {
  alignas(16) __shared__ float shared[T::kShared];
  __shared__ PixelTable<T::kM> table;
  const int64_t tiles_n = (channels + T::kN - 1) / T::kN;
  const int64_t first_m = blockIdx.x / tiles_n * T::kM, first_n = blockIdx.x % tiles_n * T::kN;
  fill_pixel_table<kAdjoint>(p, first_m, table);
  __syncthreads();
  PatchCopies<kAdjoint, T::kM, T::kK, T::kThreads> a(p, table);
  float sums[T::kTM][T::kTN];
  const int slices = static_cast<int>((p.depth + T::kK - 1) / T::kK);
  if constexpr (kAdjoint) {
    TransposedCopies<T::kN, T::kK, T::kThreads> b(weights, first_n);
    accumulate<T>(shared, slices, GemmThread<T>(), a, b, sums);
  } else {
    OperandCopies<T::kN, T::kK, T::kThreads> b(weights, first_n, 0, p.depth);
    accumulate<T>(shared, slices, GemmThread<T>(), a, b, sums);
  }
  store_tile<T>(sums, first_m, first_n, p.pixels, channels, vectors, y);
}

template <int kRows, int kK, int kThreads>
class TransposedPatchCopies {
 public:
  __device__ TransposedPatchCopies(const TransposedPatches& p, int64_t first, int64_t image, int pixels)
      : p_(p), pixels_(pixels) {
    const ConvShape& s = p.shape;
    const auto row = static_cast<uint32_t>(first) + threadIdx.x % kRows;
    const uint32_t tap = p.by_cin.quotient(row), channel = p.by_cin.rest(row, tap);
    const uint32_t ky = p.by_kw.quotient(tap);
    y_ = static_cast<int>(ky) - s.pad_h;
    x_ = static_cast<int>(p.by_kw.rest(tap, ky)) - s.pad_w;
    inside_ = static_cast<int>(ky) < s.kh;
    from_ = p.data + image * s.h * s.w * s.cin + channel;
  }

  __device__ void operator()(float* slice, int number) {
    const ConvShape& s = p_.shape;
    const int row = static_cast<int>(threadIdx.x) % kRows, first = static_cast<int>(threadIdx.x) / kRows;
#pragma unroll
    for (int c = 0; c < kRows * kK / kThreads; ++c) {
      const int k = first + c * (kThreads / kRows), pixel = number * kK + k;
      const auto position = static_cast<uint32_t>(pixel);
      const uint32_t n = p_.by_out.quotient(position), in_image = p_.by_out.rest(position, n);
      const uint32_t oy = p_.by_out_w.quotient(in_image), ox = p_.by_out_w.rest(in_image, oy);
      const int y = y_ + static_cast<int>(oy) * s.stride_h, x = x_ + static_cast<int>(ox) * s.stride_w;
      const bool inside = inside_ && pixel < pixels_ && y >= 0 && y < s.h && x >= 0 && x < s.w;
      const int64_t at = inside ? ((static_cast<int64_t>(n) * s.h + y) * s.w + x) * s.cin : 0;
      cp_async4(slice + k * (kRows + 4) + row, from_ + at, inside ? 4 : 0);
    }
  }

 private:
  const TransposedPatches& p_;
  const float* from_;
  int pixels_, y_, x_;
  bool inside_;
};

template <typename T>
__global__ void __launch_bounds__(T::kThreads, 512 / T::kThreads)
    dweight_gemm_kernel(TransposedPatches p, Operand g, int64_t rows, bool vectors, float* partial) {
  alignas(16) __shared__ float shared[T::kShared];
  const ConvShape& s = p.shape;
  const int64_t tiles_n = (s.cout + T::kN - 1) / T::kN;
  const int64_t first_m = blockIdx.x / tiles_n * T::kM, first_n = blockIdx.x % tiles_n * T::kN;
  const int64_t image = blockIdx.y * p.chunk, images = s.n - image < p.chunk ? s.n - image : p.chunk;
  const int out = s.out_h * s.out_w, pixels = static_cast<int>(images) * out;
  TransposedPatchCopies<T::kM, T::kK, T::kThreads> a(p, first_m, image, pixels);
  OperandCopies<T::kN, T::kK, T::kThreads> b(g, first_n, image * out, image * out + pixels);
  float sums[T::kTM][T::kTN];
  accumulate<T>(shared, (pixels + T::kK - 1) / T::kK, GemmThread<T>(), a, b, sums);
  store_tile<T>(sums, first_m, first_n, rows, s.cout, vectors, partial + blockIdx.y * rows * s.cout);
}

template <typename T>
unsigned tiles_of(int64_t m, int64_t n) {
  return static_cast<unsigned>((m + T::kM - 1) / T::kM * ((n + T::kN - 1) / T::kN));
}

template <bool kAdjoint, typename B>
void run(Stream& stream, const char* op, const Patches& p, const B& weights, int64_t channels, float* y) {
  if (p.pixels == 0 || channels == 0) return;
  const auto tile = [&]<typename T>(T) {
    launch(op, conv_gemm_kernel<kAdjoint, T, B>, tiles_of<T>(p.pixels, channels), T::kThreads, 0, stream, p,
           weights, channels, channels % 4 == 0 && is_aligned16(y), y);
  };
  if (channels <= Tall::kN) return tile(Tall());
  if (channels <= Slim::kN) return tile(Slim());
  if (channels > Middle::kN && tiles_of<Large>(p.pixels, channels) >= 128) return tile(Large());
  tile(Middle());
}

Operand columns(const float* data, int64_t rows) {
  return {data, rows, 1, rows, rows % 4 == 0 && is_aligned16(data)};
}

}  // namespace

void conv2d_gemm(Stream& stream, const Conv2d& s, const float* x, const float* w, float* y) {
  const Patches p = patches_of(s, x);
  run<false>(stream, "conv2d", p, columns(w, s.cout), s.cout, y);
}

void conv2d_dinput_gemm(Stream& stream, const Conv2d& s, const float* g, const float* w, float* dx) {
  const Patches p = adjoint_patches_of(s, g);
  const TransposedWeights weights = transposed_weights_of(s, w);
  run<true>(stream, "conv2d_dinput", p, weights, s.cin, dx);
}

void conv2d_dweight_gemm(Stream& stream, const Conv2d& s, const float* x, const float* g, float* dw) {
  const int64_t rows = s.kh * s.kw * s.cin, count = rows * s.cout;
  if (count == 0) return;
  const TransposedPatches p = transposed_patches_of(s, x);
  const int64_t chunks = s.n == 0 ? 1 : (s.n + p.chunk - 1) / p.chunk;
  const Scratch<float> partial(stream, chunks > 1 ? chunks * count : 0);
  float* const out = chunks > 1 ? partial.data() : dw;
  const auto tile = [&]<typename T>(T) {
    launch("conv2d_dweight", dweight_gemm_kernel<T>,
           dim3(tiles_of<T>(rows, s.cout), static_cast<unsigned>(chunks)), T::kThreads, 0, stream, p,
           columns(g, s.cout), rows, s.cout % 4 == 0 && is_aligned16(out), out);
  };
  if (rows <= Flat::kM) {
    s.cout <= Small::kN ? tile(Small()) : tile(Flat());
  } else {
    s.cout <= Tall::kN ? tile(Tall()) : tile(Middle());
  }
  if (chunks > 1) add_partial_sums(stream, "conv2d_dweight", chunks, count, s.cout, partial.data(), {}, dw);
}

}  // namespace caltrop::CALTROP_WORLD
