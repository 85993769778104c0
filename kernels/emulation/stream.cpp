// gpu_runtime.h over the host: a stream is a queue of closures that nobody runs before somebody waits for
// them, so work that was not waited for is visibly missing.
#include <chrono>
#include <deque>
#include <list>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/emulation/memory.h"
#include "kernels/error.h"
#include "kernels/gpu_runtime.h"

namespace caltrop::emu {
namespace {

// One launch at a time: threadIdx and its like are globals, as they look in a kernel.
std::recursive_mutex& device_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

constexpr size_t kMostQueued = 512;                // a queue that nobody waits for still ends
constexpr size_t kMostPending = size_t{64} << 20;  // bytes of freed blocks that wait in it

std::string readable(size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / 1048576.0);
}

}  // namespace

struct Graph::Body {
  std::vector<std::function<void()>> work;
  size_t nodes = 0;
  std::vector<void*> held;  // blocks that were freed during the capture
  ~Body() {
    for (void* block : held) free_device(block);
  }
};

struct Event::Body {
  Stream::Body* stream = nullptr;  // null until recorded
  bool done = false;
  std::chrono::steady_clock::time_point time;
};

struct Stream::Body {
  std::deque<std::function<void()>> queue;
  size_t pending = 0;
  std::shared_ptr<Graph::Body> capture;
  const char* op = "";

  void add(std::function<void()> work, bool node = true) {
    if (capture) {
      capture->work.push_back(std::move(work));
      capture->nodes += node;
      return;
    }
    queue.push_back(std::move(work));
    if (queue.size() > kMostQueued || pending > kMostPending) run_all();
  }

  // Runs work from the front of the queue until `enough()` or none is left.
  template <typename Enough>
  void run_until(const Enough& enough) {
    const std::lock_guard lock(device_mutex());
    const DeviceWork work;
    while (!queue.empty() && !enough()) {
      const std::function<void()> next = std::move(queue.front());
      queue.pop_front();
      next();
    }
  }
  void run_all() {
    run_until([] { return false; });
    pending = 0;
  }
};

namespace {

void not_in_capture(const Stream::Body& body, const char* what) {
  if (body.capture) fail("[{}] expected no {} while a graph is captured", body.op, what);
}

}  // namespace

std::string describe_device(int) {
  const Schedule schedule = current_schedule();
  const char* const orders[] = {"forward", "reverse", "shuffled"};
  return fmt::format("CUDA kernels as C++ on one CPU thread, threads {}, copies {}",
                     orders[static_cast<int>(schedule.order)], schedule.late_copies ? "late" : "eager");
}

Stream::Stream(int) : body_(std::make_unique<Body>()) {}
Stream::~Stream() {
  while (!body_->queue.empty()) {
    try {
      body_->run_all();
    } catch (const Error&) {  // of work that nobody waited for
    }
  }
}

void* Stream::allocate(size_t bytes) {
  if (body_->pending > kMostPending && !body_->capture) body_->run_all();
  void* block = allocate_device(bytes);
  if (block) return block;
  if (!body_->capture) body_->run_all();  // freed blocks come back
  block = allocate_device(bytes);
  if (block) return block;
  fail("[{}] out of device memory: {} bytes ({}) were asked for, {} of {} are free", body_->op, bytes,
       readable(bytes), readable(device_bytes_limit() - device_bytes_used()), readable(device_bytes_limit()));
}

void Stream::deallocate(void* block, size_t bytes) noexcept {
  if (body_->capture) {
    body_->capture->held.push_back(block);
    return;
  }
  // Work that is queued may still use the block; what comes later must not.
  body_->pending += bytes;
  body_->queue.push_back([block] { free_device(block); });
}

void Stream::upload(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  check_argument(body_->op, 1, device);
  const auto* first = static_cast<const unsigned char*>(host);
  body_->add([device, staged = std::vector<unsigned char>(first, first + bytes)] {
    std::memcpy(device, staged.data(), staged.size());
  });
}

void Stream::download(void* host, const void* device, size_t bytes) {
  not_in_capture(*body_, "download");
  if (bytes == 0) return;
  check_argument(body_->op, 2, device);
  body_->add([=] { std::memcpy(host, device, bytes); });
  synchronize();
}

void Stream::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  check_argument(body_->op, 1, to);
  check_argument(body_->op, 2, from);
  body_->add([=] { std::memcpy(to, from, bytes); });
}

void Stream::fill_bytes(void* to, uint8_t value, size_t bytes) {
  if (bytes == 0) return;
  check_argument(body_->op, 1, to);
  body_->add([=] { std::memset(to, value, bytes); });
}

void Stream::record(Event& event) {
  not_in_capture(*body_, "event");
  event.body().stream = body_.get();
  event.body().done = false;
  body_->add(
      [&state = event.body()] {
        state.done = true;
        state.time = std::chrono::steady_clock::now();
      },
      false);
}

void Stream::wait(const Event& event) {
  not_in_capture(*body_, "event");
  body_->add(
      [&state = event.body()] {
        if (state.stream && !state.done) state.stream->run_until([&] { return state.done; });
      },
      false);
}

void Stream::synchronize() {
  not_in_capture(*body_, "wait");
  body_->run_all();
}

void Stream::begin_capture() {
  not_in_capture(*body_, "second capture");
  body_->capture = std::make_shared<Graph::Body>();
}

Graph Stream::end_capture() {
  if (!body_->capture) fail("[graph] expected begin_capture() before end_capture()");
  return Graph(std::exchange(body_->capture, nullptr));
}

void Stream::launch(const Graph& graph) {
  not_in_capture(*body_, "launch of a graph");
  // The queue keeps the graph until it has run.
  body_->add([kept = graph.shared_body()] {
    for (const std::function<void()>& work : kept->work) work();
  });
}

Stream::Op::Op(Stream& stream, const char* name)
    : stream_(stream), outer_(std::exchange(stream.body().op, name)) {}
Stream::Op::~Op() {
  stream_.body().op = outer_;
}

Event::Event() : body_(std::make_unique<Body>()) {}
Event::~Event() {
  // A queue may still hold the marker.
  try {
    synchronize();
  } catch (const Error&) {
  }
}
void Event::synchronize() const {
  if (body_->stream && !body_->done) body_->stream->run_until([this] { return body_->done; });
}
double Event::elapsed_ms(const Event& start) const {
  if (!body_->done || !start.body_->done) fail("[event] expected both events to be recorded and waited for");
  return std::chrono::duration<double, std::milli>(body_->time - start.body_->time).count();
}

Graph::Graph(std::shared_ptr<Body> body) : body_(std::move(body)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;
size_t Graph::nodes() const {
  return body_->nodes;
}

void enqueue_kernel(Stream& stream, KernelCall call) {
  stream.body().add([call = std::move(call)] { run_kernel(call); });
}

void check_argument(const char* op, int position, const void* pointer) {
  if (pointer == nullptr || device_block(pointer).begin) return;
  fail("[{}] expected argument {} to point into device memory, got {}", op, position, pointer);
}

}  // namespace caltrop::emu
