#include "kernels/gpu_backend.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "kernels/devices.h"
#include "kernels/error.h"

namespace caltrop::CALTROP_WORLD {

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

int64_t GpuBackend::chunk(int64_t floats, int64_t) const {
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

}  // namespace caltrop::CALTROP_WORLD
