#include "kernels/gpu_backend.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "kernels/devices.h"
#include "kernels/error.h"
#include "kernels/gpu_ops.cuh"

namespace caltrop::CALTROP_WORLD {
namespace {

// A host array that an op reads on the device.
template <typename T>
class Staged {
 public:
  Staged(Stream& stream, const T* values, size_t count) : memory_(stream, static_cast<int64_t>(count)) {
    stream.upload(memory_.data(), values, count * sizeof(T));
  }
  const T* data() const { return memory_.data(); }

 private:
  Scratch<T> memory_;
};

}  // namespace

GpuBackend::GpuBackend(std::string name, int device)
    : name_(std::move(name)), device_(device), stream_(device) {}

std::string GpuBackend::description() const {
  return describe_device(device_);
}

void* GpuBackend::allocate(size_t bytes) {
  return stream_.allocate(bytes);
}
void GpuBackend::deallocate(void* block, size_t bytes) noexcept {
  stream_.deallocate(block, bytes);
}
void GpuBackend::upload(void* device, const void* host, size_t bytes) {
  const Stream::Op op(stream_, "upload");
  stream_.upload(device, host, bytes);
}
void GpuBackend::download(void* host, const void* device, size_t bytes) {
  const Stream::Op op(stream_, "download");
  stream_.download(host, device, bytes);
}
void GpuBackend::copy(void* to, const void* from, size_t bytes) {
  const Stream::Op op(stream_, "copy");
  stream_.copy(to, from, bytes);
}

// One stream runs one op at a time; what keeps a GPU busy is the width of each.
void GpuBackend::for_each(int64_t count, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i);
}

std::unique_ptr<Replay> GpuBackend::capture(std::function<void()> body) {
  // For profilers: every op of every step on the timeline, instead of one launch for all.
  if (const char* graphs = std::getenv("CALTROP_CUDA_GRAPHS"); graphs && std::string_view(graphs) == "0")
    return std::make_unique<RepeatedCalls>(std::move(body));
  struct Launches final : Replay {
    Launches(Stream& on, Graph captured) : stream(on), graph(std::move(captured)) {}
    void run() override { stream.launch(graph); }
    Stream& stream;
    Graph graph;
  };
  stream_.begin_capture();
  try {
    body();
  } catch (...) {
    // What went wrong in the body is the news; that the capture is invalid too follows from it.
    try {
      stream_.end_capture();
    } catch (const Error&) {
    }
    throw;
  }
  return std::make_unique<Launches>(stream_, stream_.end_capture());
}

int64_t GpuBackend::chunk(int64_t floats) const {
  constexpr int64_t kFloats = int64_t{1} << 28;  // 1 GiB of a layer's activations: enough to fill any GPU
  return std::clamp<int64_t>(kFloats / std::max<int64_t>(1, floats), 1, 8192);
}

bool GpuBackend::fuses_convolutions() const {
#ifdef __CUDACC__
  return cuda_convolutions() == Convolutions::own;
#else
  return true;
#endif
}

void GpuBackend::random(Distribution kind, uint64_t seed, std::span<const uint64_t> streams, int64_t cols,
                        float* y) {
  const Stream::Op op(stream_, "random");
  const Staged<uint64_t> list(stream_, streams.data(), streams.size());
  CALTROP_WORLD::random(stream_, kind, seed, list.data(), static_cast<int64_t>(streams.size()), cols, y);
}
void GpuBackend::gather_images(const uint8_t* set, std::span<const int64_t> rows, int64_t cols, float* y) {
  const Stream::Op op(stream_, "gather_images");
  const Staged<int64_t> list(stream_, rows.data(), rows.size());
  CALTROP_WORLD::gather_images(stream_, set, list.data(), static_cast<int64_t>(rows.size()), cols, y);
}
void GpuBackend::attack_step(const AttackStep& step, const float* x, const float* origin, const float* g,
                             const float* eps, const float* size, float* y) {
  const Stream::Op op(stream_, "attack_step");
  const auto rows = static_cast<size_t>(step.rows);
  const Staged<float> all_eps(stream_, eps, rows), all_sizes(stream_, size, rows);
  CALTROP_WORLD::attack_step(stream_, step, x, origin, g, all_eps.data(), all_sizes.data(), y);
}
void GpuBackend::row_stats(int64_t rows, int64_t cols, const float* x, RowStats* stats) {
  const Stream::Op op(stream_, "row_stats");
  const Scratch<RowStats> results(stream_, rows);
  CALTROP_WORLD::row_stats(stream_, rows, cols, x, results.data());
  stream_.download(stats, results.data(), static_cast<size_t>(rows) * sizeof(RowStats));
}

// The rest take device memory alone.
void GpuBackend::fill(float value, float* y, int64_t count) {
  const Stream::Op range(stream_, "fill");
  CALTROP_WORLD::fill(stream_, value, y, count);
}
void GpuBackend::unary(Unary op, const float* x, float* y, int64_t count) {
  const Stream::Op range(stream_, "unary");
  CALTROP_WORLD::unary(stream_, op, x, y, count);
}
void GpuBackend::binary(Binary op, const Dims& dims, const Strided& a, const Strided& b, float* y) {
  const Stream::Op range(stream_, "binary");
  CALTROP_WORLD::binary(stream_, op, dims, a, b, y);
}
void GpuBackend::sum(const Dims& dims, uint32_t axes, const float* x, float* y) {
  const Stream::Op range(stream_, "sum");
  CALTROP_WORLD::sum(stream_, dims, axes, x, y);
}
void GpuBackend::permute(const Dims& dims, const int* perm, const float* x, float* y) {
  const Stream::Op range(stream_, "permute");
  CALTROP_WORLD::permute(stream_, dims, perm, x, y);
}
void GpuBackend::matmul(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a,
                        const float* b, float* c, const Epilogue& epilogue) {
  const Stream::Op range(stream_, "matmul");
  CALTROP_WORLD::matmul(stream_, trans_a, trans_b, m, n, k, a, b, c, epilogue);
}
void GpuBackend::conv2d(const Conv2d& shape, const float* x, const float* w, float* y) {
  const Stream::Op range(stream_, "conv2d");
  CALTROP_WORLD::conv2d(stream_, shape, x, w, y);
}
void GpuBackend::conv2d_dinput(const Conv2d& shape, const float* g, const float* w, float* dx) {
  const Stream::Op range(stream_, "conv2d_dinput");
  CALTROP_WORLD::conv2d_dinput(stream_, shape, g, w, dx);
}
void GpuBackend::conv2d_dweight(const Conv2d& shape, const float* x, const float* g, float* dw) {
  const Stream::Op range(stream_, "conv2d_dweight");
  CALTROP_WORLD::conv2d_dweight(stream_, shape, x, g, dw);
}
void GpuBackend::maxpool(const Pool2d& shape, const float* x, float* y, int32_t* index) {
  const Stream::Op range(stream_, "maxpool");
  CALTROP_WORLD::maxpool(stream_, shape, x, y, index);
}
void GpuBackend::maxpool_scatter(const Pool2d& shape, const float* g, const int32_t* index, float* dx) {
  const Stream::Op range(stream_, "maxpool_scatter");
  CALTROP_WORLD::maxpool_scatter(stream_, shape, g, index, dx);
}
void GpuBackend::maxpool_gather(const Pool2d& shape, const float* x, const int32_t* index, float* y) {
  const Stream::Op range(stream_, "maxpool_gather");
  CALTROP_WORLD::maxpool_gather(stream_, shape, x, index, y);
}
void GpuBackend::avgpool(const Pool2d& shape, const float* x, float* y) {
  const Stream::Op range(stream_, "avgpool");
  CALTROP_WORLD::avgpool(stream_, shape, x, y);
}
void GpuBackend::avgpool_adjoint(const Pool2d& shape, const float* g, float* dx) {
  const Stream::Op range(stream_, "avgpool_adjoint");
  CALTROP_WORLD::avgpool_adjoint(stream_, shape, g, dx);
}
void GpuBackend::conv_block(const ConvBlock& block, const float* x, const float* w, const float* bias,
                            float* y, uint8_t* winner, float* slope) {
  const Stream::Op range(stream_, "conv_block");
  CALTROP_WORLD::conv_block(stream_, block, x, w, bias, y, winner, slope);
}
void GpuBackend::conv_blocks(const ConvBlock& block, const float* x,
                             std::span<const BlockFilters> networks) {
  const Stream::Op range(stream_, "conv_blocks");
  CALTROP_WORLD::conv_blocks(stream_, block, x, networks);
}
void GpuBackend::conv_block_dinput(const ConvBlock& block, const float* g, const uint8_t* winner,
                                   const float* slope, const float* w, float* dx) {
  const Stream::Op range(stream_, "conv_block_dinput");
  CALTROP_WORLD::conv_block_dinput(stream_, block, g, winner, slope, w, dx);
}
void GpuBackend::conv_block_dweight(const ConvBlock& block, const float* x, const float* g,
                                    const uint8_t* winner, const float* slope, float* dw, float* dbias) {
  const Stream::Op range(stream_, "conv_block_dweight");
  CALTROP_WORLD::conv_block_dweight(stream_, block, x, g, winner, slope, dw, dbias);
}
void GpuBackend::softmax(int64_t rows, int64_t cols, const float* x, float* y) {
  const Stream::Op range(stream_, "softmax");
  CALTROP_WORLD::softmax(stream_, rows, cols, x, y);
}
void GpuBackend::log_softmax(int64_t rows, int64_t cols, const float* x, float* y) {
  const Stream::Op range(stream_, "log_softmax");
  CALTROP_WORLD::log_softmax(stream_, rows, cols, x, y);
}
void GpuBackend::cross_entropy(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                               float* loss) {
  const Stream::Op range(stream_, "cross_entropy");
  CALTROP_WORLD::cross_entropy(stream_, rows, cols, z, label, loss);
}
void GpuBackend::cross_entropy_seed(int64_t rows, int64_t cols, const float* z, const int32_t* label,
                                    bool stable, float* dz) {
  const Stream::Op range(stream_, "cross_entropy_seed");
  CALTROP_WORLD::cross_entropy_seed(stream_, rows, cols, z, label, stable, dz);
}
void GpuBackend::argmax(int64_t rows, int64_t cols, const float* x, int32_t* index) {
  const Stream::Op range(stream_, "argmax");
  CALTROP_WORLD::argmax(stream_, rows, cols, x, index);
}
void GpuBackend::vote(int64_t rows, int64_t cols, std::span<const float* const> logits, int32_t* answer) {
  const Stream::Op range(stream_, "vote");
  CALTROP_WORLD::vote(stream_, rows, cols, logits, answer);
}
void GpuBackend::one_hot(int64_t rows, int64_t cols, const int32_t* index, float* y) {
  const Stream::Op range(stream_, "one_hot");
  CALTROP_WORLD::one_hot(stream_, rows, cols, index, y);
}
void GpuBackend::sgd(std::span<const ParameterUpdate> updates, const Sgd& rule, const Pace* pace) {
  const Stream::Op range(stream_, "sgd");
  CALTROP_WORLD::sgd(stream_, updates, rule, pace);
}
void GpuBackend::adam(std::span<const ParameterUpdate> updates, const Adam& rule, const Pace* pace) {
  const Stream::Op range(stream_, "adam");
  CALTROP_WORLD::adam(stream_, updates, rule, pace);
}
void GpuBackend::rmsprop(std::span<const ParameterUpdate> updates, const RmsProp& rule, const Pace* pace) {
  const Stream::Op range(stream_, "rmsprop");
  CALTROP_WORLD::rmsprop(stream_, updates, rule, pace);
}
void GpuBackend::adagrad(std::span<const ParameterUpdate> updates, const Adagrad& rule, const Pace* pace) {
  const Stream::Op range(stream_, "adagrad");
  CALTROP_WORLD::adagrad(stream_, updates, rule, pace);
}

}  // namespace caltrop::CALTROP_WORLD
