// gpu_runtime.h over the CUDA runtime.
#include "kernels/gpu_runtime.h"

#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/block_cache.h"
#include "kernels/error.h"

#ifdef CALTROP_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace caltrop::gpu {
namespace {

// After a fault in a kernel every call fails with the same error until the program ends.
bool is_sticky(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
      return true;
    default:
      return false;
  }
}

void check(cudaError_t error, const char* op, const char* call) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // one that is not sticky ends here
  if (is_sticky(error)) {
    fail(
        "[{}] {}: {} ({}). The device is lost to this program: a kernel before this call did it; "
        "CALTROP_CUDA_SYNC=1 names it",
        op, call, cudaGetErrorString(error), cudaGetErrorName(error));
  }
  fail("[{}] {}: {} ({})", op, call, cudaGetErrorString(error), cudaGetErrorName(error));
}
#define CALTROP_CUDA_CALL(op, call) check(call, op, #call)

bool synchronous() {
  static const char* const value = std::getenv("CALTROP_CUDA_SYNC");
  return value && *value && std::strcmp(value, "0") != 0;
}

struct PinnedDelete {
  void operator()(void* block) const { (void)cudaFreeHost(block); }
};
using Pinned = std::unique_ptr<void, PinnedDelete>;

Pinned allocate_pinned(const char* op, size_t bytes) {
  void* block = nullptr;
  check(cudaMallocHost(&block, bytes), op, "cudaMallocHost");
  return Pinned(block);
}

// Uploads go through pinned memory, so that the caller's is free at once and the copy needs no wait: pieces
// are laid end to end in one slot after the other, and a slot is used again once its copies are done.
class Staging {
 public:
  ~Staging() {
    for (Slot& slot : slots_) {
      if (slot.copied) (void)cudaEventDestroy(slot.copied);
    }
  }

  void upload(const char* op, cudaStream_t stream, void* device, const void* host, size_t bytes) {
    const char* from = static_cast<const char*>(host);
    char* to = static_cast<char*>(device);
    while (bytes > 0) {
      if (used_ == kSlot) next_slot(op, stream);
      Slot& slot = slots_[current_];
      if (!slot.memory) slot.memory = allocate_pinned(op, kSlot);
      const size_t piece = bytes < kSlot - used_ ? bytes : kSlot - used_;
      char* staged = static_cast<char*>(slot.memory.get()) + used_;
      std::memcpy(staged, from, piece);
      CALTROP_CUDA_CALL(op, cudaMemcpyAsync(to, staged, piece, cudaMemcpyHostToDevice, stream));
      used_ += (piece + 15) / 16 * 16;
      from += piece;
      to += piece;
      bytes -= piece;
    }
  }

 private:
  static constexpr size_t kSlot = size_t{4} << 20;
  static constexpr size_t kSlots = 4;
  struct Slot {
    Pinned memory;
    cudaEvent_t copied = nullptr;
  };

  void next_slot(const char* op, cudaStream_t stream) {
    Slot& full = slots_[current_];
    if (!full.copied) CALTROP_CUDA_CALL(op, cudaEventCreateWithFlags(&full.copied, cudaEventDisableTiming));
    CALTROP_CUDA_CALL(op, cudaEventRecord(full.copied, stream));
    current_ = (current_ + 1) % kSlots;
    used_ = 0;
    if (slots_[current_].copied) CALTROP_CUDA_CALL(op, cudaEventSynchronize(slots_[current_].copied));
  }

  Slot slots_[kSlots];
  size_t current_ = 0, used_ = 0;
};

BlockCache::Source device_source() {
  return {[](size_t bytes) -> void* {
            void* block = nullptr;
            if (cudaMalloc(&block, bytes) == cudaSuccess) return block;
            (void)cudaGetLastError();
            return nullptr;
          },
          [](void* block) {
            (void)cudaFree(block);
          }};
}

}  // namespace

struct Stream::Body {
  int device = 0;
  cudaStream_t stream = nullptr;
  const char* op = "";
  // Shared with graphs, whose blocks return to it.
  std::shared_ptr<BlockCache> cache = std::make_shared<BlockCache>(device_source());
  Staging staging;
  std::unordered_map<const void*, size_t> shared_bytes;  // dynamic shared memory that a kernel was granted
  bool capturing = false;
  std::vector<Pinned> captured_uploads;

  // The current device belongs to the thread, not to the program.
  cudaStream_t enter() {
    CALTROP_CUDA_CALL(op, cudaSetDevice(device));
    return stream;
  }
  void not_in_capture(const char* what) const {
    if (capturing) fail("[{}] expected no {} while a graph is captured", op, what);
  }
};

struct Event::Body {
  cudaEvent_t event = nullptr;
  bool recorded = false;
};

struct Graph::Body {
  std::shared_ptr<BlockCache> cache;  // outlives the reserve, which is declared after it
  std::shared_ptr<BlockCache::Reserve> reserve;
  std::vector<Pinned> uploads;
  int device = 0;
  bool launched = false;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  size_t nodes = 0;

  ~Body() {
    (void)cudaSetDevice(device);
    if (launched) (void)cudaDeviceSynchronize();  // its stream may be gone by now
    if (exec) (void)cudaGraphExecDestroy(exec);
    if (graph) (void)cudaGraphDestroy(graph);
  }
};

Stream::Stream(int device) : body_(std::make_unique<Body>()) {
  body_->device = device;
  body_->enter();
  CALTROP_CUDA_CALL("stream", cudaStreamCreateWithFlags(&body_->stream, cudaStreamNonBlocking));
}
Stream::~Stream() {
  (void)cudaSetDevice(body_->device);
  (void)cudaStreamSynchronize(body_->stream);
  (void)cudaStreamDestroy(body_->stream);
}

void* Stream::allocate(size_t bytes) {
  body_->enter();
  void* block = body_->cache->take(bytes);
  if (block) return block;
  size_t free = 0, total = 0;
  CALTROP_CUDA_CALL(body_->op, cudaMemGetInfo(&free, &total));
  fail("[{}] out of device memory: {} bytes ({:.1f} MiB) were asked for, {:.1f} MiB of {:.1f} MiB are free",
       body_->op, bytes, static_cast<double>(bytes) / 1048576.0, static_cast<double>(free) / 1048576.0,
       static_cast<double>(total) / 1048576.0);
}

void Stream::deallocate(void* block, size_t bytes) noexcept {
  body_->cache->give(block, bytes);
}

void Stream::upload(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t stream = body_->enter();
  if (!body_->capturing) return body_->staging.upload(body_->op, stream, device, host, bytes);
  // A graph copies from the same place at every launch.
  Pinned kept = allocate_pinned(body_->op, bytes);
  std::memcpy(kept.get(), host, bytes);
  CALTROP_CUDA_CALL(body_->op, cudaMemcpyAsync(device, kept.get(), bytes, cudaMemcpyHostToDevice, stream));
  body_->captured_uploads.push_back(std::move(kept));
}

void Stream::download(void* host, const void* device, size_t bytes) {
  body_->not_in_capture("download");
  if (bytes == 0) return;
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL(body_->op, cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
  CALTROP_CUDA_CALL(body_->op, cudaStreamSynchronize(stream));
}

void Stream::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL(body_->op, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}

void Stream::fill_bytes(void* to, uint8_t value, size_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL(body_->op, cudaMemsetAsync(to, value, bytes, stream));
}

void Stream::record(Event& event) {
  body_->not_in_capture("event");
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL(body_->op, cudaEventRecord(event.body().event, stream));
  event.body().recorded = true;
}

void Stream::wait(const Event& event) {
  body_->not_in_capture("event");
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL(body_->op, cudaStreamWaitEvent(stream, event.body().event, 0));
}

void Stream::synchronize() {
  body_->not_in_capture("wait");
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL(body_->op, cudaStreamSynchronize(stream));
}

void Stream::begin_capture() {
  body_->not_in_capture("second capture");
  const cudaStream_t stream = body_->enter();
  // Relaxed: allocations that the cache cannot serve go to the driver, which the capture does not see.
  CALTROP_CUDA_CALL(body_->op, cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  body_->capturing = true;
  body_->cache->begin_reserve();
}

Graph Stream::end_capture() {
  if (!body_->capturing) fail("[graph] expected begin_capture() before end_capture()");
  body_->capturing = false;
  auto body = std::make_shared<Graph::Body>();
  body->cache = body_->cache;
  body->reserve = body_->cache->end_reserve();
  body->uploads = std::exchange(body_->captured_uploads, {});
  body->device = body_->device;
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL("graph", cudaStreamEndCapture(stream, &body->graph));
  CALTROP_CUDA_CALL("graph", cudaGraphGetNodes(body->graph, nullptr, &body->nodes));
  CALTROP_CUDA_CALL("graph", cudaGraphInstantiate(&body->exec, body->graph, 0));
  return Graph(std::move(body));
}

void Stream::launch(const Graph& graph) {
  body_->not_in_capture("launch of a graph");
  const cudaStream_t stream = body_->enter();
  CALTROP_CUDA_CALL(body_->op, cudaGraphLaunch(graph.shared_body()->exec, stream));
  graph.shared_body()->launched = true;
  if (synchronous()) synchronize();
}

Stream::Op::Op(Stream& stream, const char* name)
    : stream_(stream), outer_(std::exchange(stream.body().op, name)) {
#ifdef CALTROP_NVTX
  nvtxRangePushA(name);
#endif
}
Stream::Op::~Op() {
#ifdef CALTROP_NVTX
  nvtxRangePop();
#endif
  stream_.body().op = outer_;
}

Event::Event() : body_(std::make_unique<Body>()) {
  CALTROP_CUDA_CALL("event", cudaEventCreate(&body_->event));
}
Event::~Event() {
  (void)cudaEventDestroy(body_->event);
}
void Event::synchronize() const {
  CALTROP_CUDA_CALL("event", cudaEventSynchronize(body_->event));
}
double Event::elapsed_ms(const Event& start) const {
  if (!body_->recorded || !start.body_->recorded)
    fail("[event] expected both events to be recorded and waited for");
  float ms = 0.0f;
  CALTROP_CUDA_CALL("event", cudaEventElapsedTime(&ms, start.body_->event, body_->event));
  return static_cast<double>(ms);
}

Graph::Graph(std::shared_ptr<Body> body) : body_(std::move(body)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;
size_t Graph::nodes() const {
  return body_->nodes;
}

void launch_raw(const char* op, const void* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                Stream& stream, void** arguments) {
  Stream::Body& body = stream.body();
  const Stream::Op range(stream, op);
  const cudaStream_t queue = body.enter();
  // More than 48 KB is granted to a kernel once, by name.
  if (shared_bytes > 48 * 1024 && body.shared_bytes[kernel] < shared_bytes) {
    CALTROP_CUDA_CALL(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(shared_bytes)));
    body.shared_bytes[kernel] = shared_bytes;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = queue;
  CALTROP_CUDA_CALL(op, cudaLaunchKernelExC(&config, kernel, arguments));
  if (synchronous() && !body.capturing) CALTROP_CUDA_CALL(op, cudaStreamSynchronize(queue));
}

cudaStream_t native_stream(Stream& stream) {
  return stream.body().enter();
}

}  // namespace caltrop::gpu
